-- Delete the bindings of an exchange.
DELETE FROM depqueue.binding WHERE depqueue.binding.exchange = %(p_name)s::VARCHAR
