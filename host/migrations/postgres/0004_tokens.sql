-- Access tokens of destinations, for all nodes and the next start. A cache: what is lost is fetched again. Sealed, and with
-- the token the fingerprint of the settings that it was fetched with.
CREATE TABLE tokens (
    carrier     TEXT COLLATE "C" NOT NULL,
    destination TEXT COLLATE "C" NOT NULL,
    sealed      BYTEA  NOT NULL,
    expires_ms  BIGINT NOT NULL,
    PRIMARY KEY (carrier, destination)
);
