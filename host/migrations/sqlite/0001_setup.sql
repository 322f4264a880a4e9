-- What carriers and the operator have set up, and the nodes that work on it. Every key leads with the carrier.
-- The PostgreSQL twin of this file has the same number, name, tables and columns; a test compares them.

CREATE TABLE nodes (
    id         TEXT   NOT NULL PRIMARY KEY,
    started_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE carriers (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    created_ms BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    role       TEXT   NOT NULL,
    carrier    TEXT,
    name       TEXT   NOT NULL,
    digest     BLOB   NOT NULL,
    created_ms BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE destinations (
    carrier          TEXT   NOT NULL,
    name             TEXT   NOT NULL,
    spec             TEXT   NOT NULL,
    sealed           BLOB   NOT NULL,
    state            TEXT   NOT NULL,
    disabled_reason  TEXT,
    failing_since_ms BIGINT,
    created_ms       BIGINT NOT NULL,
    updated_ms       BIGINT NOT NULL,
    PRIMARY KEY (carrier, name)
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    carrier    TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    spec       TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (carrier, id)
) WITHOUT ROWID;

-- `owner` is a carrier, or the empty text for the shared plugins.
CREATE TABLE plugins (
    owner        TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    latest       BIGINT NOT NULL,
    active       BIGINT,
    previous     BIGINT,
    activated_ms BIGINT,
    PRIMARY KEY (owner, name)
) WITHOUT ROWID;

CREATE TABLE plugin_versions (
    owner      TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    sha256     TEXT   NOT NULL,
    size       BIGINT NOT NULL,
    limits     TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (owner, name, version)
) WITHOUT ROWID;

-- With a row number of its own: rows of megabytes do not belong into an index.
CREATE TABLE components (
    owner  TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (owner, sha256)
);

CREATE TABLE lookup_tables (
    carrier    TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    entries    TEXT   NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (carrier, name)
);

CREATE TABLE idempotency (
    api_key    TEXT   NOT NULL,
    key        TEXT   NOT NULL,
    request    BLOB   NOT NULL,
    status     BIGINT NOT NULL,
    body       TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (api_key, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_ms);
