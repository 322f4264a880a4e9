-- Access tokens of destinations, for all nodes and the next start. A cache: what is lost is fetched again. Sealed, and with
-- the token the fingerprint of the settings that it was fetched with.
CREATE TABLE tokens (
    carrier     TEXT   NOT NULL,
    destination TEXT   NOT NULL,
    sealed      BLOB   NOT NULL,
    expires_ms  BIGINT NOT NULL,
    PRIMARY KEY (carrier, destination)
) WITHOUT ROWID;
