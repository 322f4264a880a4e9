-- What carriers and the operator have set up, and the nodes that work on it. Every key leads with the carrier.
-- The SQLite twin of this file has the same number, name, tables and columns; a test compares them.
-- Ids are compared byte by byte, as SQLite does it.

CREATE TABLE nodes (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    started_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);

CREATE TABLE carriers (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    role       TEXT   NOT NULL,
    carrier    TEXT COLLATE "C",
    name       TEXT COLLATE "C" NOT NULL,
    digest     BYTEA   NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE destinations (
    carrier          TEXT COLLATE "C" NOT NULL,
    name             TEXT COLLATE "C" NOT NULL,
    spec             TEXT   NOT NULL,
    sealed           BYTEA   NOT NULL,
    state            TEXT   NOT NULL,
    disabled_reason  TEXT,
    failing_since_ms BIGINT,
    created_ms       BIGINT NOT NULL,
    updated_ms       BIGINT NOT NULL,
    PRIMARY KEY (carrier, name)
);

CREATE TABLE subscriptions (
    carrier    TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    spec       TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (carrier, id)
);

-- `owner` is a carrier, or the empty text for the shared plugins.
CREATE TABLE plugins (
    owner        TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    latest       BIGINT NOT NULL,
    active       BIGINT,
    previous     BIGINT,
    activated_ms BIGINT,
    PRIMARY KEY (owner, name)
);

CREATE TABLE plugin_versions (
    owner      TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    sha256     TEXT COLLATE "C" NOT NULL,
    size       BIGINT NOT NULL,
    limits     TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (owner, name, version)
);

CREATE TABLE components (
    owner  TEXT COLLATE "C" NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL,
    bytes  BYTEA NOT NULL,
    PRIMARY KEY (owner, sha256)
);

CREATE TABLE lookup_tables (
    carrier    TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    entries    TEXT   NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (carrier, name)
);

CREATE TABLE idempotency (
    api_key    TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    request    BYTEA   NOT NULL,
    status     BIGINT NOT NULL,
    body       TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (api_key, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_ms);
