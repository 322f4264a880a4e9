-- The way of an event: accepted, routed, delivered. Bodies stand apart from state, so that a change of state never
-- rewrites a page that holds a body. What happens to every event touches no index of open work, except the small ones
-- that say so.

-- One row for each event ever accepted (within retention): what tells a repeat from a conflict.
CREATE TABLE events (
    carrier     TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    received_ms BIGINT NOT NULL,
    digest      BYTEA   NOT NULL,
    PRIMARY KEY (carrier, id)
);

-- The events themselves, in the order of time.
CREATE TABLE event_bodies (
    carrier     TEXT COLLATE "C" NOT NULL,
    received_ms BIGINT NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    type        TEXT   NOT NULL,
    attributes  TEXT   NOT NULL,
    payload     BYTEA   NOT NULL,
    PRIMARY KEY (carrier, received_ms, id)
);

-- The events that are not routed yet: as many rows as there is work. An event is routed when its row here is gone.
CREATE TABLE open_events (
    carrier     TEXT COLLATE "C" NOT NULL,
    received_ms BIGINT NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    held_by     TEXT COLLATE "C",
    PRIMARY KEY (carrier, received_ms, id)
);
CREATE INDEX open_events_waiting ON open_events (carrier, received_ms, id) WHERE held_by IS NULL;

CREATE TABLE routings (
    carrier      TEXT COLLATE "C" NOT NULL,
    received_ms  BIGINT NOT NULL,
    event        TEXT COLLATE "C" NOT NULL,
    subscription TEXT COLLATE "C" NOT NULL,
    state        TEXT   NOT NULL,
    verdict      TEXT,
    reason       TEXT,
    versions     TEXT   NOT NULL,
    tries        BIGINT NOT NULL,
    due_ms       BIGINT,
    cost_us      BIGINT NOT NULL,
    log          TEXT,
    held_by      TEXT COLLATE "C",
    PRIMARY KEY (carrier, received_ms, event, subscription)
);
CREATE INDEX routings_waiting ON routings (due_ms, carrier, received_ms, event, subscription)
    WHERE state = 'later' AND held_by IS NULL;
CREATE INDEX routings_taken ON routings (held_by) WHERE held_by IS NOT NULL;
CREATE INDEX routings_held ON routings (carrier, subscription) WHERE state = 'held';

-- `id` begins with the time of the event, so the key is in the order of time and an event's deliveries are neighbours.
-- `lane` is `carrier/destination` in one column, so that the lanes with work are found by skipping along an index.
CREATE TABLE deliveries (
    carrier      TEXT COLLATE "C" NOT NULL,
    id           TEXT COLLATE "C" NOT NULL,
    event        TEXT COLLATE "C" NOT NULL,
    event_type   TEXT   NOT NULL,
    received_ms  BIGINT NOT NULL,
    subscription TEXT COLLATE "C" NOT NULL,
    place        BIGINT NOT NULL,
    lane         TEXT COLLATE "C" NOT NULL,
    state        TEXT   NOT NULL,
    held_by      TEXT COLLATE "C",
    attempts     BIGINT NOT NULL,
    due_ms       BIGINT NOT NULL,
    updated_ms   BIGINT NOT NULL,
    last_status  BIGINT,
    last_error   TEXT,
    order_key    TEXT,
    PRIMARY KEY (carrier, id)
);
CREATE INDEX deliveries_waiting ON deliveries (lane, due_ms, id) WHERE state = 'pending' AND held_by IS NULL;
-- Touched twice by every delivery, but never larger than what the nodes hold in memory.
CREATE INDEX deliveries_taken ON deliveries (held_by) WHERE held_by IS NOT NULL;
CREATE INDEX deliveries_held ON deliveries (lane) WHERE state = 'held';
CREATE INDEX deliveries_ended ON deliveries (carrier, id) WHERE state IN ('dead', 'failed');

-- What a plugin made of the event. Without a row here a delivery sends the event's payload by the destination's own
-- settings, which is what `forward` means.
CREATE TABLE delivery_bodies (
    carrier   TEXT COLLATE "C" NOT NULL,
    id        TEXT COLLATE "C" NOT NULL,
    message   TEXT NOT NULL,
    body_kind TEXT NOT NULL,
    body      BYTEA,
    PRIMARY KEY (carrier, id)
);

CREATE TABLE attempts (
    carrier          TEXT COLLATE "C" NOT NULL,
    delivery         TEXT COLLATE "C" NOT NULL,
    number           BIGINT NOT NULL,
    started_ms       BIGINT NOT NULL,
    duration_us      BIGINT NOT NULL,
    outcome          TEXT   NOT NULL,
    status           BIGINT,
    error            TEXT,
    request          TEXT   NOT NULL,
    response_headers TEXT,
    response_body    BYTEA,
    PRIMARY KEY (carrier, delivery, number)
);
