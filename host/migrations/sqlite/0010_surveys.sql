-- Surveys that customers have begun to answer, and the keys that the host makes for itself.
-- The PostgreSQL twin of this file has the same number, name, tables and columns; a test compares them.

-- A row for each link that was answered, in part or in whole. `context` is what the carrier is told of the case.
CREATE TABLE surveys (
    carrier      TEXT   NOT NULL,
    event        TEXT   NOT NULL,
    subscription TEXT   NOT NULL,
    id           TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    rating       BIGINT NOT NULL,
    feedback     TEXT,
    initiated_ms BIGINT NOT NULL,
    left_ms      BIGINT,
    completed_ms BIGINT,
    leave_ms     BIGINT NOT NULL,
    expires_ms   BIGINT NOT NULL,
    updated_ms   BIGINT NOT NULL,
    context      TEXT   NOT NULL,
    PRIMARY KEY (carrier, event, subscription)
);
CREATE UNIQUE INDEX surveys_by_id ON surveys (carrier, id);
CREATE INDEX surveys_by_state ON surveys (carrier, state, id);
CREATE INDEX surveys_under_way ON surveys (leave_ms, carrier, id) WHERE state = 'initiated';
CREATE INDEX surveys_by_age ON surveys (updated_ms, carrier, id) WHERE state <> 'initiated';

-- Sealed with the master key, and sealed anew when that is rotated.
CREATE TABLE host_keys (
    purpose    TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    sealed     BLOB   NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (purpose, name)
) WITHOUT ROWID;
