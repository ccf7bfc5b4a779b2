-- Where a window of `keep_until` must end, lest more than p_rows records be in it (none: it may stay).
SELECT depqueue_done.keep_until
FROM depqueue_done
WHERE depqueue_done.keep_until > %(p_from)s AND depqueue_done.keep_until <= %(p_to)s
    ORDER BY depqueue_done.keep_until
LIMIT %(p_rows)s, 1
