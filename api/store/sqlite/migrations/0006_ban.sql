-- Bans: addresses shut out for a while. They have a number of their own, which grows with
-- every change of one, and never move a generation.

CREATE TABLE ban_state (
    waf_id INTEGER NOT NULL PRIMARY KEY REFERENCES waf (id) ON DELETE CASCADE,
    -- The number of the last change.
    revision INTEGER NOT NULL,
    -- Changes up to this number are not all remembered.
    floor INTEGER NOT NULL
) STRICT;

CREATE TABLE ban (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    address TEXT NOT NULL,
    -- 16 bytes each, IPv4 as mapped IPv6.
    first BLOB NOT NULL,
    last BLOB NOT NULL,
    domain TEXT NOT NULL,
    bt INTEGER NOT NULL,
    rule INTEGER NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    -- The last end that was ever told of it: until then a node may have to be told more.
    kept_until_ms INTEGER NOT NULL,
    lifted INTEGER NOT NULL CHECK (lifted IN (0, 1)),
    -- The number of its last change.
    revision INTEGER NOT NULL,
    UNIQUE (waf_id, address, domain, bt)
) STRICT;

CREATE UNIQUE INDEX ban_revision ON ban (waf_id, revision);
CREATE INDEX ban_until ON ban (waf_id, lifted, until_ms);
CREATE INDEX ban_kept ON ban (kept_until_ms);
