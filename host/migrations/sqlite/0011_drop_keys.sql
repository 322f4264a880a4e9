-- The public keys with which carriers fetch their files from the drop folder.
-- The PostgreSQL twin of this file has the same number, name, tables and columns; a test compares them.

CREATE TABLE drop_keys (
    carrier     TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    public_key  TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    created_ms  BIGINT NOT NULL,
    updated_ms  BIGINT NOT NULL,
    PRIMARY KEY (carrier, name)
);
