-- What each of the latest generations changed in the bundle, for nodes that have an
-- older one. Rows are without gaps: what cannot be written down empties the table.
CREATE TABLE delta (
    -- The generation the change made.
    generation INTEGER NOT NULL PRIMARY KEY,
    session INTEGER NOT NULL,
    -- The digest of the bundle before.
    base TEXT NOT NULL,
    -- The length of `changes`, in front of it: counting must not read it.
    bytes INTEGER NOT NULL,
    -- JSON.
    changes TEXT NOT NULL
) STRICT;
