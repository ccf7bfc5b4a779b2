"""PostgreSQL's own statements, as text: what Core cannot say (ctid, data-modifying WITH, unnest).

How rows are found by key: `ctid = ANY(ARRAY(SELECT ... CROSS JOIN LATERAL (... LIMIT 1)))`
cannot be planned as a join over the whole table, whatever the statistics say.
The outer condition is checked again on the row's newest version when the
statement had to wait for a lock, so it repeats what must still be true.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table

from kombu_depqueue.schema import Flag, Tables
from kombu_depqueue.statements import ENVELOPE_ROOM, Statements, StoredJob

__all__ = ["COMMON", "texts"]

COMMON = ("attempt", "max_attempts", "flags", "run_at", "expires_in")
"""What rows inserted in one statement have in common."""

_DONE = (
    "job_id, queue_id, status, flags, attempt, created_at, started_at, finished_at, keep_until, reason, result, meta"
)
# A job that Celery published again in the very moment of its end has an end record already: the newer counts.
_NEWER = "ON CONFLICT (job_id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _DONE.split(", ") if name != "job_id"
)
_CLAIMED = (
    "queue_id, rank, seq, lease_token, attempt, max_attempts, flags, job_id, run_at, "
    "coalesce(expires_at <= statement_timestamp(), false), "
    "CASE WHEN octet_length(envelope) <= {largest_envelope} THEN envelope END AS envelope, "
    "CASE WHEN octet_length(body) <= {largest} AND coalesce(octet_length(envelope) <= {largest_envelope}, true) "
    "THEN body END AS body"
)
_ONLY_SEQ = f"NULL, NULL, seq{', NULL' * 9}"
"""Of a row like `_CLAIMED`."""
_NOW_KEEP = "statement_timestamp(), statement_timestamp() + make_interval(secs => %(keep)s)"
_NIL = "'00000000-0000-0000-0000-000000000000'::uuid"
# A job that ended before, and was published again since, may have left a note.
_ANEW = "ON CONFLICT (dep_id) DO UPDATE SET status = excluded.status, after_id = excluded.after_id"
_LEASE = """consumer_id = %(consumer)s, lease_token = %(token)s, attempt = attempt + 1,
  claimed_at = statement_timestamp()"""

# Those who wait for the end of a job have flagged it: nobody else's end costs a NOTIFY.
_TOLD = f"""told AS (SELECT pg_notify({{results}}, '') FROM gone WHERE flags & {Flag.WATCHED} <> 0 LIMIT 1)"""
_HEARD = "WHERE (SELECT count(*) FROM told) >= 0"

# The primary key is the claim order of a queue; NO KEY UPDATE is the weakest lock that excludes other claims.
CLAIM = f"""
UPDATE {{job}} SET {_LEASE} WHERE ctid = ANY (ARRAY(
  SELECT j.ctid FROM {{queue}} q CROSS JOIN LATERAL (
    SELECT ctid, rank, seq FROM {{job}} WHERE queue_id = q.id AND consumer_id IS NULL
    ORDER BY rank, seq LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) j
  WHERE q.id = ANY (%(queues)s::int[]) AND NOT q.paused
  ORDER BY j.rank, j.seq LIMIT %(limit)s)) AND consumer_id IS NULL
RETURNING {_CLAIMED}"""

CLAIM_LANES = f"""
UPDATE {{job}} SET {_LEASE} WHERE ctid = ANY (ARRAY(
  SELECT j.ctid FROM unnest(%(queues)s::int[], %(ranks)s::int[], %(afters)s::bigint[], %(untils)s::int[])
    AS c(q, r, s, u)
  JOIN {{queue}} q ON q.id = c.q AND NOT q.paused CROSS JOIN LATERAL (
    SELECT ctid, rank, seq FROM {{job}}
    WHERE queue_id = c.q AND (rank, seq) > (c.r, c.s) AND rank < c.u AND consumer_id IS NULL
    ORDER BY rank, seq LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) j
  ORDER BY j.rank, j.seq LIMIT %(limit)s)) AND consumer_id IS NULL
RETURNING {_CLAIMED}"""

ACK_ONE = f"""
WITH gone AS (
  DELETE FROM {{job}} WHERE queue_id = %(queue)s AND rank = %(rank)s AND seq = %(seq)s
    AND lease_token = %(token)s AND flags & {Flag.HAS_DEPENDENTS} = 0 RETURNING *),
kept AS (
  INSERT INTO {{done}} ({_DONE})
  SELECT job_id, queue_id, 1, flags, attempt, created_at, claimed_at, {_NOW_KEEP}, NULL, %(result)s::bytea,
    %(meta)s::bytea
  FROM gone WHERE job_id IS NOT NULL {_NEWER}),
{_TOLD}
SELECT seq FROM gone {_HEARD}"""

_KEYED = """ctid = ANY (ARRAY(
    SELECT j.ctid FROM unnest(
        %(held_queues)s::int[], %(held_ranks)s::int[], %(held_seqs)s::bigint[], %(held_tokens)s::bigint[])
      AS k(q, r, s, t) CROSS JOIN LATERAL (
        SELECT ctid FROM {job} WHERE queue_id = k.q AND rank = k.r AND seq = k.s AND lease_token = k.t LIMIT 1) j))
    AND lease_token = ANY (%(held_tokens)s::bigint[])"""

_ACKED = f"""
WITH gone AS (DELETE FROM {{job}} WHERE {_KEYED} AND flags & {Flag.HAS_DEPENDENTS} = 0
    RETURNING seq, job_id, queue_id, flags, attempt, created_at, claimed_at),
kept AS (
  INSERT INTO {{done}} ({_DONE})
  SELECT job_id, queue_id, 1, flags, attempt, created_at, claimed_at, {_NOW_KEEP}, NULL, NULL, NULL
  FROM gone WHERE job_id IS NOT NULL {_NEWER}),
{_TOLD}"""

# With a result for each; the arrays are in the order of the keys, and short.
_NTH = "[array_position(%(held_seqs)s::bigint[], seq)]"
_WITH_RESULTS = _ACKED.replace(
    f"{_NOW_KEEP}, NULL, NULL, NULL",
    f"""statement_timestamp(),
    statement_timestamp() + make_interval(secs => (%(keeps)s::float8[]){_NTH}), NULL,
    (%(results)s::bytea[]){_NTH}, (%(metas)s::bytea[]){_NTH}""",
)

ACK_MANY, ACK_MANY_RESULTS = (f"{acked}\nSELECT seq FROM gone {_HEARD}" for acked in (_ACKED, _WITH_RESULTS))
# To be ready for a record that is there already costs each job 1.6 us of 9, and 50 bytes of WAL: the store is.
ACK_MANY = ACK_MANY.replace(_NEWER, "")

# What is acked may be ready in the snapshot that both see: its lease has expired, and nobody was given it yet.
_NOT_ACKED = """consumer_id IS NULL
      AND (lease_token IS NULL OR lease_token <> ALL (%(held_tokens)s::bigint[]))"""
_AND_CLAIM = f"""
SELECT * FROM taken UNION ALL SELECT {_ONLY_SEQ} FROM gone {_HEARD}"""
ACK_AND_CLAIM, ACK_AND_CLAIM_LANES, ACK_RESULTS_AND_CLAIM, ACK_RESULTS_AND_CLAIM_LANES = (
    f"{acked},\ntaken AS ({claim.replace('consumer_id IS NULL', _NOT_ACKED)}){_AND_CLAIM}"
    for acked in (_ACKED, _WITH_RESULTS)
    for claim in (CLAIM, CLAIM_LANES)
)

# Also ends jobs with dependents, and leaves a note for the release that follows in the same transaction.
END_FLAGGED = f"""
WITH gone AS (DELETE FROM {{job}} WHERE {_KEYED}
    RETURNING seq, job_id, queue_id, flags, attempt, created_at, claimed_at),
kept AS (
  INSERT INTO {{done}} ({_DONE})
  SELECT job_id, queue_id, 1, flags, attempt, created_at, claimed_at, {_NOW_KEEP}, NULL, %(result)s::bytea,
    %(meta)s::bytea
  FROM gone WHERE job_id IS NOT NULL {_NEWER}),
{_TOLD},
note AS (
  INSERT INTO {{release}} (dep_id, status, after_id)
  SELECT job_id, 1, {_NIL} FROM gone WHERE flags & {Flag.HAS_DEPENDENTS} <> 0 {_ANEW})
SELECT seq FROM gone {_HEARD}"""

# The same of one job, by its key: a row that was updated meanwhile (flagged, say) has another ctid, and `_KEYED`
# would pass it over.
END_ONE_FLAGGED = END_FLAGGED.replace(
    _KEYED,
    """queue_id = %(queue)s AND rank = %(rank)s AND seq = %(seq)s AND lease_token = %(token)s""",
)

RELEASE = f"""
WITH note AS MATERIALIZED (
  SELECT dep_id, status, after_id FROM {{release}} WHERE dep_id = ANY (%(notes)s::uuid[]) FOR UPDATE SKIP LOCKED),
edge AS MATERIALIZED (
  SELECT d.dep_id, d.job_id, note.status, (d.policy >> note.status) & 1 = 1 AS met
  FROM note CROSS JOIN LATERAL (
    SELECT dep_id, job_id, policy FROM {{dep}} WHERE dep_id = note.dep_id AND job_id > note.after_id AND NOT met
    ORDER BY job_id LIMIT %(limit)s) d
  ORDER BY d.dep_id, d.job_id LIMIT %(limit)s),
seen AS (SELECT count(*) >= %(limit)s AS cut FROM edge),
last AS (SELECT dep_id, job_id FROM edge ORDER BY dep_id DESC, job_id DESC LIMIT 1),
hopeless AS MATERIALIZED (
  SELECT DISTINCT ON (job_id) job_id, dep_id, status FROM edge WHERE NOT met ORDER BY job_id, dep_id),
dropped AS MATERIALIZED (
  SELECT b.job_id FROM {{blocked}} b JOIN hopeless USING (job_id) ORDER BY b.job_id FOR UPDATE OF b),
canceled AS (
  DELETE FROM {{wait}} w USING hopeless h WHERE w.job_id = h.job_id AND w.flags & {Flag.HOLD} = 0
    AND w.job_id = ANY (ARRAY(SELECT job_id FROM dropped)) RETURNING w.*, h.dep_id, h.status),
counter AS MATERIALIZED (
  SELECT b.job_id, b.pending, c.n FROM {{blocked}} b
  JOIN (SELECT job_id, count(*)::int AS n FROM edge WHERE met GROUP BY job_id) c USING (job_id)
  WHERE b.job_id NOT IN (SELECT job_id FROM canceled) ORDER BY b.job_id FOR UPDATE OF b),
counted AS (
  UPDATE {{blocked}} b SET pending = b.pending - c.n FROM counter c WHERE b.job_id = c.job_id AND c.pending > c.n),
free AS (
  DELETE FROM {{blocked}} b USING counter c WHERE b.job_id = c.job_id AND c.pending <= c.n RETURNING b.job_id),
forgot AS (DELETE FROM {{blocked}} b USING canceled c WHERE b.job_id = c.job_id),
moved AS (
  DELETE FROM {{wait}} w USING free WHERE w.job_id = free.job_id
    AND (w.run_at IS NULL OR w.run_at <= statement_timestamp()) RETURNING w.*),
delayed AS (
  UPDATE {{wait}} w SET due_at = w.run_at FROM free WHERE w.job_id = free.job_id AND w.run_at > statement_timestamp()
  RETURNING w.queue_id),
ready AS (
  INSERT INTO {{job}} ({{columns}}) SELECT {{columns}} FROM moved ORDER BY moved.seq
  ON CONFLICT DO NOTHING RETURNING queue_id),
ended AS (
  INSERT INTO {{done}} ({_DONE})
  SELECT job_id, queue_id, 3, flags, attempt, created_at, claimed_at, {_NOW_KEEP},
    'dependency ' || dep_id || (ARRAY[' succeeded', ' failed', ' canceled', ' expired'])[status], NULL, NULL
  FROM canceled {_NEWER}),
body AS (
  INSERT INTO {{ended_body}} (job_id, rank, max_attempts, envelope, body)
  SELECT job_id, rank, max_attempts, envelope, body FROM canceled
  ON CONFLICT DO NOTHING),
further AS (
  INSERT INTO {{release}} (dep_id, status, after_id)
  SELECT job_id, 3, {_NIL} FROM canceled WHERE flags & {Flag.HAS_DEPENDENTS} <> 0 {_ANEW} RETURNING dep_id),
heard AS (SELECT pg_notify({{results}}, '') FROM canceled WHERE flags & {Flag.WATCHED} <> 0 LIMIT 1),
told AS (
  DELETE FROM {{release}} r USING note, seen WHERE r.dep_id = note.dep_id
    AND (NOT seen.cut OR r.dep_id < (SELECT dep_id FROM last)) RETURNING r.dep_id),
advanced AS (
  UPDATE {{release}} r SET after_id = last.job_id FROM last, seen WHERE seen.cut AND r.dep_id = last.dep_id)
SELECT ARRAY(SELECT queue_id FROM ready UNION SELECT queue_id FROM delayed),
  ARRAY(SELECT dep_id FROM further UNION ALL SELECT dep_id FROM note WHERE dep_id NOT IN (SELECT dep_id FROM told))
WHERE (SELECT count(*) FROM heard) >= 0"""

PROMOTE = """
WITH due AS (
  DELETE FROM {wait} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {wait} WHERE due_at <= statement_timestamp() ORDER BY due_at
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) AND due_at <= statement_timestamp() RETURNING *)
INSERT INTO {job} ({columns}) SELECT {columns} FROM due ORDER BY due.due_at, due.seq
ON CONFLICT DO NOTHING RETURNING queue_id"""

HINT = """
SELECT pg_notify(%(prefix)s::text || q, '') FROM unnest(%(queues)s::int[]) AS u(q)
WHERE EXISTS (SELECT 1 FROM {consumer} WHERE waiting)"""

# This transaction's commit does not wait for the disk. Not for claims: if a crash took one back, another would be given
# what its holder is still working on.
_SOON = "(SELECT set_config('synchronous_commit', 'off', true)) = 'off'"
# NOTIFY writes a commit record, and is heard when the commit is done.
HINT_SOON = f"{HINT} AND {_SOON}"

TELL_WATCHERS = "SELECT pg_notify({results}, '')"

# A pid is used again, so the time belongs to it; NULL: the session of a role that we may not look at.
# After a restart, or on a standby that was promoted, no session is left: what another server began is not judged.
_SERVER = "extract(epoch FROM pg_postmaster_start_time())"
SESSION = f"""
SELECT pid || ' ' || extract(epoch FROM backend_start) || ' ' || {_SERVER}
FROM pg_stat_get_activity(pg_backend_pid())"""

ENDED_SESSIONS = f"""
WITH alive AS MATERIALIZED (SELECT pid, backend_start FROM pg_stat_get_activity(NULL))
SELECT c.id, c.session, c.beat_at FROM {{consumer}} c
WHERE split_part(c.session, ' ', 3) = {_SERVER}::text AND NOT EXISTS (
  SELECT FROM alive a WHERE a.pid = split_part(c.session, ' ', 1)::int
    AND coalesce(extract(epoch FROM a.backend_start)::text = split_part(c.session, ' ', 2), true))"""

# It has to write something: a commit waits for the standby only up to what it has written itself, and for nothing
# where it has written nothing.
MAKE_SURE = "SELECT pg_logical_emit_message(true, 'depqueue', ''::text)"

# Not a lock for each id: a batch of 100,000 would exhaust the server's table of locks.
LOCK_IDS = """
SELECT pg_advisory_xact_lock(%(space)s::int4, u.bucket) FROM unnest(%(buckets)s::int4[]) AS u(bucket)"""

# Celery publishes an id again that may wait, in another table, or have ended: nothing is inserted then. It is
# looked for only: to take an end away in the same statement costs all that are new 30 us.
ADD_JOB_ANEW = """
INSERT INTO {job} (
  created_at, job_id, queue_id, rank, attempt, max_attempts, flags, run_at, envelope, body, expires_at)
SELECT statement_timestamp(), %(p_job_id)s::uuid, %(p_queue_id)s::int4, %(p_rank)s::int2, %(p_attempt)s::int4,
  %(p_max_attempts)s::int4, %(p_flags)s::int2, %(p_run_at)s::timestamptz, %(p_envelope)s::bytea, %(p_body)s::bytea,
  statement_timestamp() + make_interval(secs => %(p_expires_in)s::float8)
WHERE NOT EXISTS (SELECT FROM {wait} WHERE job_id = %(p_job_id)s::uuid)
  AND NOT EXISTS (SELECT FROM {done} WHERE job_id = %(p_job_id)s::uuid)"""

# The order of the arrays is the order of the rows, and so of their numbers.
ADD_JOBS = """
INSERT INTO {job} (created_at, job_id, queue_id, rank, attempt, max_attempts, flags, run_at, envelope, body, expires_at)
SELECT statement_timestamp(), u.id, u.queue_id, u.rank, %(attempt)s::int4, %(max_attempts)s::int4,
  %(flags)s::int2, %(run_at)s::timestamptz, u.envelope, u.body,
  statement_timestamp() + make_interval(secs => %(expires_in)s::float8)
FROM unnest(%(queues)s::int4[], %(ranks)s::int2[], %(ids)s::uuid[], %(envelope)s::bytea[], %(body)s::bytea[])
  AS u(queue_id, rank, id, envelope, body)"""

# Messages that do not last (events, replies): they end with those who wait for them.
ADD_JOBS_SOON = f"{ADD_JOBS}\nWHERE {_SOON}"


def texts(t: Tables, sql: Statements, channel: str) -> dict[str, str]:
    """The statements for one schema; names come from validated options, and are quoted where they must be.

    `channel`: that of NOTIFY for ends of jobs.
    """
    quote = sql.dialect.identifier_preparer.format_table
    found: dict[str, Any] = {n: quote(v) for n, v in vars(t).items() if isinstance(v, Table)}
    found["columns"] = ", ".join(StoredJob._fields)
    found["results"] = f"'{channel}'"
    found |= {"largest": sql.largest, "largest_envelope": sql.largest + ENVELOPE_ROOM}
    templates = {
        "claim": CLAIM,
        "claim_lanes": CLAIM_LANES,
        "ack_and_claim": ACK_AND_CLAIM,
        "ack_and_claim_lanes": ACK_AND_CLAIM_LANES,
        "ack_one": ACK_ONE,
        "ack_many": ACK_MANY,
        "ack_many_results": ACK_MANY_RESULTS,
        "ack_results_and_claim": ACK_RESULTS_AND_CLAIM,
        "ack_results_and_claim_lanes": ACK_RESULTS_AND_CLAIM_LANES,
        "tell_watchers": TELL_WATCHERS,
        "end_flagged": END_FLAGGED,
        "end_one_flagged": END_ONE_FLAGGED,
        "release": RELEASE,
        "promote": PROMOTE,
        "hint": HINT,
        "hint_soon": HINT_SOON,
        "lock_ids": LOCK_IDS,
        "session": SESSION,
        "make_sure": MAKE_SURE,
        "ended_sessions": ENDED_SESSIONS,
        "add_job_anew": ADD_JOB_ANEW,
        "add_jobs": ADD_JOBS,
        "add_jobs_soon": ADD_JOBS_SOON,
    }
    return {name: text.format_map(found).strip() for name, text in templates.items()}
