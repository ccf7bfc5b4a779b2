-- The tables and indexes.
SELECT VERSION();

CREATE TABLE IF NOT EXISTS depqueue_binding (
  exchange VARCHAR(255) NOT NULL,
  routing_key VARCHAR(255) NOT NULL,
  queue_id INTEGER NOT NULL,
  PRIMARY KEY (exchange, routing_key, queue_id),
  KEY depqueue_binding_queue (`queue_id`)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_blocked (
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  pending INTEGER NOT NULL,
  PRIMARY KEY (job_id)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_consumer (
  id BIGINT NOT NULL,
  kind SMALLINT NOT NULL,
  name VARCHAR(255) NOT NULL,
  channel VARCHAR(255) NOT NULL DEFAULT '',
  info TEXT(16777215),
  waiting BOOL NOT NULL DEFAULT false,
  session VARCHAR(64),
  started_at BIGINT NOT NULL,
  beat_at BIGINT NOT NULL,
  leased_until BIGINT,
  orphan_after DOUBLE,
  schema_version SMALLINT,
  PRIMARY KEY (id)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_dep (
  dep_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  ordinal INTEGER NOT NULL,
  policy SMALLINT NOT NULL,
  met BOOL NOT NULL,
  PRIMARY KEY (dep_id, job_id),
  KEY depqueue_dep_job (`job_id`, `ordinal`)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_done (
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  queue_id INTEGER NOT NULL,
  status SMALLINT NOT NULL,
  flags SMALLINT NOT NULL,
  attempt INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  started_at BIGINT,
  finished_at BIGINT NOT NULL,
  keep_until BIGINT NOT NULL,
  reason TEXT,
  result BLOB(4294967295),
  meta BLOB(4294967295),
  PRIMARY KEY (job_id),
  KEY depqueue_done_keep (`keep_until`)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_ended_body (
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `rank` SMALLINT NOT NULL,
  max_attempts INTEGER NOT NULL,
  envelope BLOB(4294967295),
  body BLOB(4294967295) NOT NULL,
  PRIMARY KEY (job_id)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_exchange (
  name VARCHAR(255) NOT NULL,
  type VARCHAR(20) NOT NULL,
  durable BOOL NOT NULL,
  auto_delete BOOL NOT NULL,
  arguments TEXT(16777215),
  PRIMARY KEY (name)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_job (
  seq BIGINT NOT NULL AUTO_INCREMENT,
  consumer_id BIGINT,
  lease_token BIGINT,
  created_at BIGINT NOT NULL,
  claimed_at BIGINT,
  expires_at BIGINT,
  run_at BIGINT,
  queue_id INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT '0',
  max_attempts INTEGER NOT NULL DEFAULT '0',
  `rank` SMALLINT NOT NULL,
  flags SMALLINT NOT NULL DEFAULT '0',
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
  meta BLOB(4294967295),
  envelope BLOB(4294967295),
  body BLOB(4294967295) NOT NULL,
  PRIMARY KEY (queue_id, `rank`, seq),
  KEY depqueue_job_expires (`expires_at`),
  UNIQUE KEY depqueue_job_id (`job_id`),
  KEY depqueue_job_seq (`seq`)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_memo (
  name VARCHAR(255) NOT NULL,
  value BLOB(4294967295) NOT NULL,
  keep_until BIGINT NOT NULL,
  PRIMARY KEY (name),
  KEY depqueue_memo_keep (`keep_until`)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_meta (
  `key` VARCHAR(50) NOT NULL,
  value TEXT,
  PRIMARY KEY (`key`)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_queue (
  id INTEGER NOT NULL AUTO_INCREMENT,
  channel VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  paused BOOL NOT NULL DEFAULT false,
  ephemeral BOOL NOT NULL DEFAULT false,
  auto_delete BOOL NOT NULL DEFAULT false,
  declared BOOL NOT NULL DEFAULT false,
  arguments TEXT(16777215),
  idle_limit DOUBLE,
  used_at BIGINT,
  owner_id BIGINT,
  PRIMARY KEY (id),
  CONSTRAINT depqueue_queue_name UNIQUE (channel, name)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_release (
  dep_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status SMALLINT NOT NULL,
  after_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (dep_id)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_subscription (
  queue_id INTEGER NOT NULL,
  consumer_id BIGINT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (queue_id, consumer_id)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE IF NOT EXISTS depqueue_wait (
  seq BIGINT NOT NULL AUTO_INCREMENT,
  due_at BIGINT,
  run_at BIGINT,
  claimed_at BIGINT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  queue_id INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT '0',
  max_attempts INTEGER NOT NULL DEFAULT '0',
  `rank` SMALLINT NOT NULL,
  flags SMALLINT NOT NULL DEFAULT '0',
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
  meta BLOB(4294967295),
  envelope BLOB(4294967295),
  body BLOB(4294967295) NOT NULL,
  PRIMARY KEY (seq),
  KEY depqueue_wait_due (`due_at`),
  KEY depqueue_wait_expires (`expires_at`),
  UNIQUE KEY depqueue_wait_id (`job_id`),
  KEY depqueue_wait_queue (`queue_id`, `due_at`)
)ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
