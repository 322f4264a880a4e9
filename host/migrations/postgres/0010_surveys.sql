-- Surveys that customers have begun to answer, and the keys that the host makes for itself.
-- The SQLite twin of this file has the same number, name, tables and columns; a test compares them.

-- A row for each link that was answered, in part or in whole. `context` is what the carrier is told of the case.
CREATE TABLE surveys (
    carrier      TEXT COLLATE "C" NOT NULL,
    event        TEXT COLLATE "C" NOT NULL,
    subscription TEXT COLLATE "C" NOT NULL,
    id           TEXT COLLATE "C" NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,
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
    purpose    TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    sealed     BYTEA  NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (purpose, name)
);
