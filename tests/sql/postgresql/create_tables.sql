-- The tables and indexes.
SELECT to_regnamespace(%s);

CREATE SCHEMA "depqueue";

CREATE SEQUENCE IF NOT EXISTS depqueue.seq;

CREATE TABLE IF NOT EXISTS depqueue.binding (
  exchange VARCHAR(255) NOT NULL,
  routing_key VARCHAR(255) NOT NULL,
  queue_id INTEGER NOT NULL,
  PRIMARY KEY (exchange, routing_key, queue_id)
);

CREATE INDEX IF NOT EXISTS binding_queue ON depqueue.binding (queue_id);

CREATE TABLE IF NOT EXISTS depqueue.blocked (
  job_id UUID NOT NULL,
  pending INTEGER NOT NULL,
  PRIMARY KEY (job_id)
)
 WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS depqueue.consumer (
  id BIGINT NOT NULL,
  kind SMALLINT NOT NULL,
  name VARCHAR(255) NOT NULL,
  channel VARCHAR(255) DEFAULT '' NOT NULL,
  info TEXT,
  waiting BOOLEAN DEFAULT false NOT NULL,
  session VARCHAR(64),
  started_at TIMESTAMP WITH TIME ZONE NOT NULL,
  beat_at TIMESTAMP WITH TIME ZONE NOT NULL,
  leased_until TIMESTAMP WITH TIME ZONE,
  orphan_after DOUBLE PRECISION,
  schema_version SMALLINT,
  PRIMARY KEY (id)
)
 WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS depqueue.dep (
  dep_id UUID NOT NULL,
  job_id UUID NOT NULL,
  ordinal INTEGER NOT NULL,
  policy SMALLINT NOT NULL,
  met BOOLEAN NOT NULL,
  PRIMARY KEY (dep_id, job_id)
);

CREATE INDEX IF NOT EXISTS dep_job ON depqueue.dep (job_id, ordinal);

CREATE TABLE IF NOT EXISTS depqueue.done (
  job_id UUID NOT NULL,
  queue_id INTEGER NOT NULL,
  status SMALLINT NOT NULL,
  flags SMALLINT NOT NULL,
  attempt INTEGER NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE,
  finished_at TIMESTAMP WITH TIME ZONE NOT NULL,
  keep_until TIMESTAMP WITH TIME ZONE NOT NULL,
  reason TEXT,
  result BYTEA,
  meta BYTEA,
  PRIMARY KEY (job_id)
);

CREATE INDEX IF NOT EXISTS done_failed ON depqueue.done (finished_at) WHERE status = 2;

CREATE INDEX IF NOT EXISTS done_keep ON depqueue.done (keep_until);

CREATE TABLE IF NOT EXISTS depqueue.ended_body (
  job_id UUID NOT NULL,
  rank SMALLINT NOT NULL,
  max_attempts INTEGER NOT NULL,
  envelope BYTEA,
  body BYTEA NOT NULL,
  PRIMARY KEY (job_id)
);

CREATE TABLE IF NOT EXISTS depqueue.exchange (
  name VARCHAR(255) NOT NULL,
  type VARCHAR(20) NOT NULL,
  durable BOOLEAN NOT NULL,
  auto_delete BOOLEAN NOT NULL,
  arguments TEXT,
  PRIMARY KEY (name)
);

CREATE TABLE IF NOT EXISTS depqueue.job (
  seq BIGINT DEFAULT nextval('depqueue.seq') NOT NULL,
  consumer_id BIGINT,
  lease_token BIGINT,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  claimed_at TIMESTAMP WITH TIME ZONE,
  expires_at TIMESTAMP WITH TIME ZONE,
  run_at TIMESTAMP WITH TIME ZONE,
  queue_id INTEGER NOT NULL,
  attempt INTEGER DEFAULT '0' NOT NULL,
  max_attempts INTEGER DEFAULT '0' NOT NULL,
  rank SMALLINT NOT NULL,
  flags SMALLINT DEFAULT '0' NOT NULL,
  job_id UUID,
  meta BYTEA,
  envelope BYTEA,
  body BYTEA NOT NULL,
  PRIMARY KEY (queue_id, rank, seq)
)
 WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
     autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,
     autovacuum_vacuum_cost_delay = 0);

CREATE INDEX IF NOT EXISTS job_expires ON depqueue.job (expires_at) WHERE expires_at IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS job_id ON depqueue.job (job_id) WHERE job_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS depqueue.memo (
  name VARCHAR(255) NOT NULL,
  value BYTEA NOT NULL,
  keep_until TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (name)
);

CREATE INDEX IF NOT EXISTS memo_keep ON depqueue.memo (keep_until);

CREATE TABLE IF NOT EXISTS depqueue.meta (
  key VARCHAR(50) NOT NULL,
  value TEXT,
  PRIMARY KEY (key)
);

CREATE TABLE IF NOT EXISTS depqueue.queue (
  id SERIAL NOT NULL,
  channel VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  paused BOOLEAN DEFAULT false NOT NULL,
  ephemeral BOOLEAN DEFAULT false NOT NULL,
  auto_delete BOOLEAN DEFAULT false NOT NULL,
  declared BOOLEAN DEFAULT false NOT NULL,
  arguments TEXT,
  idle_limit DOUBLE PRECISION,
  used_at TIMESTAMP WITH TIME ZONE,
  owner_id BIGINT,
  PRIMARY KEY (id),
  CONSTRAINT queue_name UNIQUE (channel, name)
);

CREATE TABLE IF NOT EXISTS depqueue.release (
  dep_id UUID NOT NULL,
  status SMALLINT NOT NULL,
  after_id UUID NOT NULL,
  PRIMARY KEY (dep_id)
);

CREATE TABLE IF NOT EXISTS depqueue.subscription (
  queue_id INTEGER NOT NULL,
  consumer_id BIGINT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (queue_id, consumer_id)
);

CREATE TABLE IF NOT EXISTS depqueue.wait (
  seq BIGINT DEFAULT nextval('depqueue.seq') NOT NULL,
  due_at TIMESTAMP WITH TIME ZONE,
  run_at TIMESTAMP WITH TIME ZONE,
  claimed_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  queue_id INTEGER NOT NULL,
  attempt INTEGER DEFAULT '0' NOT NULL,
  max_attempts INTEGER DEFAULT '0' NOT NULL,
  rank SMALLINT NOT NULL,
  flags SMALLINT DEFAULT '0' NOT NULL,
  job_id UUID,
  meta BYTEA,
  envelope BYTEA,
  body BYTEA NOT NULL,
  PRIMARY KEY (seq)
);

CREATE INDEX IF NOT EXISTS wait_due ON depqueue.wait (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS wait_expires ON depqueue.wait (expires_at) WHERE expires_at IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS wait_id ON depqueue.wait (job_id) WHERE job_id IS NOT NULL;

CREATE INDEX IF NOT EXISTS wait_queue ON depqueue.wait (queue_id, due_at)
