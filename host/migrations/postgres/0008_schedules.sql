-- Scheduled subscriptions: what they have collected, and how far their ticks have come.
-- The SQLite twin of this file has the same number, name, tables and columns; a test compares them.

-- One row for each subscription that has, or had, a schedule. `watermark_ms` is the tick up to which everything that was
-- collected has become digests. The columns `run_…` are absent, or zero, unless a run is under way; `held_by` is the node
-- that makes it. `run_group` is the last group that the run has begun; `run_part` of `run_parts` digests of it are written.
CREATE TABLE schedules (
    carrier         TEXT COLLATE "C" NOT NULL,
    subscription    TEXT COLLATE "C" NOT NULL,
    schedule        TEXT,
    created_ms      BIGINT NOT NULL,
    set_ms          BIGINT NOT NULL,
    watermark_ms    BIGINT NOT NULL,
    run_to_ms       BIGINT,
    run_kind        TEXT,
    run_started_ms  BIGINT,
    run_group       TEXT COLLATE "C",
    run_part        BIGINT NOT NULL,
    run_parts       BIGINT NOT NULL,
    run_digests     BIGINT NOT NULL,
    run_events      BIGINT NOT NULL,
    held_by         TEXT COLLATE "C",
    last_to_ms      BIGINT,
    last_kind       TEXT,
    last_started_ms BIGINT,
    last_ended_ms   BIGINT,
    last_digests    BIGINT,
    last_events     BIGINT,
    PRIMARY KEY (carrier, subscription)
);
CREATE INDEX schedules_taken ON schedules (held_by) WHERE held_by IS NOT NULL;

-- The events that wait for a tick: written by the plan that closes the event, removed by the digest that holds it, so that
-- each is in exactly one digest of each subscription. `grp` is the value that events are grouped by, as JSON.
CREATE TABLE collected (
    carrier      TEXT COLLATE "C" NOT NULL,
    received_ms  BIGINT NOT NULL,
    event        TEXT COLLATE "C" NOT NULL,
    subscription TEXT COLLATE "C" NOT NULL,
    grp          TEXT COLLATE "C" NOT NULL,
    bytes        BIGINT NOT NULL,
    PRIMARY KEY (carrier, received_ms, event, subscription)
);
CREATE INDEX collected_by_group ON collected (carrier, subscription, grp, received_ms, event, bytes);
