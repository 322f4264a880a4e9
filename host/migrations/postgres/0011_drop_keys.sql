-- The public keys with which carriers fetch their files from the drop folder.
-- The SQLite twin of this file has the same number, name, tables and columns; a test compares them.

CREATE TABLE drop_keys (
    carrier     TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    public_key  TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    created_ms  BIGINT NOT NULL,
    updated_ms  BIGINT NOT NULL,
    PRIMARY KEY (carrier, name)
);
