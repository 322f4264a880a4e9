-- What the nodes agree on: every change of what is set up has a number, and every node says up to which it has come.
-- The SQLite twin of this file has the same number, name, tables and columns; a test compares them.

-- The number of the latest change, by what was changed: a carrier's set-up (`setup`), what attempts say of its destinations
-- (`health`), the shared plugins (`setup` of the empty owner), the API keys (`keys`), anything at all (`last`). The row `last` is locked from the moment that a number is
-- taken until its commit, so numbers become visible in their order.
CREATE TABLE changes (
    owner  TEXT COLLATE "C" NOT NULL,
    kind   TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (owner, kind)
);
CREATE INDEX changes_by_number ON changes (number);
INSERT INTO changes (owner, kind, number) VALUES ('', 'last', 0);

-- Absent before the node begins to work and when it begins no more: nobody waits for it then.
ALTER TABLE nodes ADD COLUMN applied BIGINT;
-- The plugin versions that it cannot load, as JSON.
ALTER TABLE nodes ADD COLUMN troubles TEXT;
