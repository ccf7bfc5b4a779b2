SELECT pg_notify('depqueue_depqueue__0', '')
