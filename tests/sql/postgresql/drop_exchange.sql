-- Delete an exchange.
DELETE FROM depqueue.exchange WHERE depqueue.exchange.name = %(p_name)s::VARCHAR
