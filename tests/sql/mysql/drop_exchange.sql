-- Delete an exchange.
DELETE FROM depqueue_exchange WHERE depqueue_exchange.name = %(p_name)s
