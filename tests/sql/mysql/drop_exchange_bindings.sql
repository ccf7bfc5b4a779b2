-- Delete the bindings of an exchange.
DELETE FROM depqueue_binding WHERE depqueue_binding.exchange = %(p_name)s
