-- Event types that carriers describe for their own; the catalogue itself is no table.
-- The PostgreSQL twin of this file has the same number, name, tables and columns; a test compares them.

CREATE TABLE event_types (
    carrier    TEXT   NOT NULL,
    event_type TEXT   NOT NULL,
    about      TEXT   NOT NULL,
    example    TEXT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (carrier, event_type)
);
