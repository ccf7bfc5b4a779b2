-- Where a window of `keep_until` must end, lest more than p_rows records be in it (none: it may stay).
SELECT depqueue.done.keep_until
FROM depqueue.done
WHERE depqueue.done.keep_until > %(p_from)s::TIMESTAMP WITH TIME ZONE
    AND depqueue.done.keep_until <= %(p_to)s::TIMESTAMP WITH TIME ZONE
    ORDER BY depqueue.done.keep_until
LIMIT 1 OFFSET %(p_rows)s::INTEGER
