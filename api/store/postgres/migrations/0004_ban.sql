-- Bans: addresses shut out for a while. They have a number of their own, which grows with
-- every change of one, and never move a generation.

CREATE TABLE ban_state (
    waf_id BIGINT NOT NULL PRIMARY KEY REFERENCES waf (id) ON DELETE CASCADE,
    -- The number of the last change.
    revision BIGINT NOT NULL,
    -- Changes up to this number are not all remembered.
    floor BIGINT NOT NULL
);

CREATE TABLE ban (
    id BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    waf_id BIGINT NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    address TEXT COLLATE "C" NOT NULL,
    -- 16 bytes each, IPv4 as mapped IPv6.
    first BYTEA NOT NULL,
    last BYTEA NOT NULL,
    domain TEXT COLLATE "C" NOT NULL,
    bt SMALLINT NOT NULL,
    rule BIGINT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    -- The last end that was ever told of it: until then a node may have to be told more.
    kept_until_ms BIGINT NOT NULL,
    lifted BOOLEAN NOT NULL,
    -- The number of its last change.
    revision BIGINT NOT NULL,
    UNIQUE (waf_id, address, domain, bt)
);

CREATE UNIQUE INDEX ban_revision ON ban (waf_id, revision);
CREATE INDEX ban_until ON ban (waf_id, lifted, until_ms);
CREATE INDEX ban_kept ON ban (kept_until_ms);
