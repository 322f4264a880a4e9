-- Whom to trust with what: keys and permissions.

-- The ids of the master keys that a node can open secrets with, with spaces between; the first one seals. A rotation goes
-- on only when every node that runs knows the new key.
ALTER TABLE nodes ADD COLUMN master_keys TEXT COLLATE "C";

-- The permission that a receiver was asked for (CloudEvents, HTTP 1.1 Web Hooks, section 4). `token` is the SHA-256 of what
-- makes the callback's address unguessable; `rate` was asked for and `granted_rate` granted, both per minute.
CREATE TABLE handshakes (
    carrier      TEXT COLLATE "C" NOT NULL,
    destination  TEXT COLLATE "C" NOT NULL,
    url          TEXT COLLATE "C" NOT NULL,
    origin       TEXT COLLATE "C" NOT NULL,
    rate         BIGINT,
    token        BYTEA NOT NULL,
    permission   TEXT COLLATE "C" NOT NULL,
    granted_rate BIGINT,
    note         TEXT COLLATE "C",
    asked_ms     BIGINT NOT NULL,
    answered_ms  BIGINT,
    PRIMARY KEY (carrier, destination)
);
CREATE UNIQUE INDEX handshakes_by_token ON handshakes (token);
