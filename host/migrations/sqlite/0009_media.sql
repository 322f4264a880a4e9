-- What the host may fetch for a carrier's deliveries.
-- The PostgreSQL twin of this file has the same number, name, tables and columns; a test compares them.

CREATE TABLE media_rules (
    carrier    TEXT   NOT NULL,
    rules      TEXT   NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (carrier)
);
