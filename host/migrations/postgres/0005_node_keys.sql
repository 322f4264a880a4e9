-- The ids of the master keys that a node can open secrets with, with spaces between; the first one seals. A rotation goes
-- on only when every node that runs knows the new key.
ALTER TABLE nodes ADD COLUMN master_keys TEXT COLLATE "C";
