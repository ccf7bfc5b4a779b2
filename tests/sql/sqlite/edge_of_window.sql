-- Where a window of `keep_until` must end, lest more than p_rows records be in it (none: it may stay).
SELECT depqueue_done.keep_until
FROM depqueue_done
WHERE depqueue_done.keep_until > :p_from AND depqueue_done.keep_until <= :p_to
    ORDER BY depqueue_done.keep_until
LIMIT 1 OFFSET :p_rows
