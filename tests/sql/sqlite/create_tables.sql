-- The tables and indexes.
CREATE TABLE IF NOT EXISTS depqueue_binding (
  exchange VARCHAR(255) NOT NULL,
  routing_key VARCHAR(255) NOT NULL,
  queue_id INTEGER NOT NULL,
  PRIMARY KEY (exchange, routing_key, queue_id)
);

CREATE INDEX IF NOT EXISTS depqueue_binding_queue ON depqueue_binding (queue_id);

CREATE TABLE IF NOT EXISTS depqueue_blocked (
  job_id CHAR(36) NOT NULL,
  pending INTEGER NOT NULL,
  PRIMARY KEY (job_id)
);

CREATE TABLE IF NOT EXISTS depqueue_consumer (
  id BIGINT NOT NULL,
  kind SMALLINT NOT NULL,
  name VARCHAR(255) NOT NULL,
  channel VARCHAR(255) DEFAULT '' NOT NULL,
  info TEXT,
  waiting BOOLEAN DEFAULT false NOT NULL,
  session VARCHAR(64),
  started_at BIGINT NOT NULL,
  beat_at BIGINT NOT NULL,
  leased_until BIGINT,
  orphan_after DOUBLE,
  schema_version SMALLINT,
  PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS depqueue_dep (
  dep_id CHAR(36) NOT NULL,
  job_id CHAR(36) NOT NULL,
  ordinal INTEGER NOT NULL,
  policy SMALLINT NOT NULL,
  met BOOLEAN NOT NULL,
  PRIMARY KEY (dep_id, job_id)
)
 WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS depqueue_dep_job ON depqueue_dep (job_id, ordinal);

CREATE TABLE IF NOT EXISTS depqueue_done (
  job_id CHAR(36) NOT NULL,
  queue_id INTEGER NOT NULL,
  status SMALLINT NOT NULL,
  flags SMALLINT NOT NULL,
  attempt INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  started_at BIGINT,
  finished_at BIGINT NOT NULL,
  keep_until BIGINT NOT NULL,
  reason TEXT,
  result BLOB,
  meta BLOB,
  PRIMARY KEY (job_id)
);

CREATE INDEX IF NOT EXISTS depqueue_done_failed ON depqueue_done (finished_at) WHERE status = 2;

CREATE INDEX IF NOT EXISTS depqueue_done_keep ON depqueue_done (keep_until);

CREATE TABLE IF NOT EXISTS depqueue_ended_body (
  job_id CHAR(36) NOT NULL,
  rank SMALLINT NOT NULL,
  max_attempts INTEGER NOT NULL,
  envelope BLOB,
  body BLOB NOT NULL,
  PRIMARY KEY (job_id)
);

CREATE TABLE IF NOT EXISTS depqueue_exchange (
  name VARCHAR(255) NOT NULL,
  type VARCHAR(20) NOT NULL,
  durable BOOLEAN NOT NULL,
  auto_delete BOOLEAN NOT NULL,
  arguments TEXT,
  PRIMARY KEY (name)
);

CREATE TABLE IF NOT EXISTS depqueue_job (
  seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  consumer_id BIGINT,
  lease_token BIGINT,
  created_at BIGINT NOT NULL,
  claimed_at BIGINT,
  expires_at BIGINT,
  run_at BIGINT,
  queue_id INTEGER NOT NULL,
  attempt INTEGER DEFAULT '0' NOT NULL,
  max_attempts INTEGER DEFAULT '0' NOT NULL,
  rank SMALLINT NOT NULL,
  flags SMALLINT DEFAULT '0' NOT NULL,
  job_id CHAR(36),
  meta BLOB,
  envelope BLOB,
  body BLOB NOT NULL
);

CREATE INDEX IF NOT EXISTS depqueue_job_expires ON depqueue_job (expires_at)
    WHERE expires_at IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS depqueue_job_id ON depqueue_job (job_id) WHERE job_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS depqueue_job_order ON depqueue_job (queue_id, rank, seq);

CREATE TABLE IF NOT EXISTS depqueue_memo (
  name VARCHAR(255) NOT NULL,
  value BLOB NOT NULL,
  keep_until BIGINT NOT NULL,
  PRIMARY KEY (name)
);

CREATE INDEX IF NOT EXISTS depqueue_memo_keep ON depqueue_memo (keep_until);

CREATE TABLE IF NOT EXISTS depqueue_meta (
  "key" VARCHAR(50) NOT NULL,
  value TEXT,
  PRIMARY KEY ("key")
);

CREATE TABLE IF NOT EXISTS depqueue_queue (
  id INTEGER NOT NULL,
  channel VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  paused BOOLEAN DEFAULT false NOT NULL,
  ephemeral BOOLEAN DEFAULT false NOT NULL,
  auto_delete BOOLEAN DEFAULT false NOT NULL,
  declared BOOLEAN DEFAULT false NOT NULL,
  arguments TEXT,
  idle_limit DOUBLE,
  used_at BIGINT,
  owner_id BIGINT,
  PRIMARY KEY (id),
  CONSTRAINT depqueue_queue_name UNIQUE (channel, name)
);

CREATE TABLE IF NOT EXISTS depqueue_release (
  dep_id CHAR(36) NOT NULL,
  status SMALLINT NOT NULL,
  after_id CHAR(36) NOT NULL,
  PRIMARY KEY (dep_id)
);

CREATE TABLE IF NOT EXISTS depqueue_subscription (
  queue_id INTEGER NOT NULL,
  consumer_id BIGINT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (queue_id, consumer_id)
);

CREATE TABLE IF NOT EXISTS depqueue_wait (
  seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  due_at BIGINT,
  run_at BIGINT,
  claimed_at BIGINT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  queue_id INTEGER NOT NULL,
  attempt INTEGER DEFAULT '0' NOT NULL,
  max_attempts INTEGER DEFAULT '0' NOT NULL,
  rank SMALLINT NOT NULL,
  flags SMALLINT DEFAULT '0' NOT NULL,
  job_id CHAR(36),
  meta BLOB,
  envelope BLOB,
  body BLOB NOT NULL
);

CREATE INDEX IF NOT EXISTS depqueue_wait_due ON depqueue_wait (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS depqueue_wait_expires ON depqueue_wait (expires_at)
    WHERE expires_at IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS depqueue_wait_id ON depqueue_wait (job_id)
    WHERE job_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS depqueue_wait_queue ON depqueue_wait (queue_id, due_at)
