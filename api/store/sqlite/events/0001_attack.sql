-- The record of attacks, in a file of its own. Times are milliseconds since 1970-01-01 UTC.

CREATE TABLE attack (
    seq INTEGER NOT NULL PRIMARY KEY,
    waf_id INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    node TEXT NOT NULL,
    -- The node's name for it.
    event_id TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    action TEXT NOT NULL,
    bt INTEGER NOT NULL,
    rule INTEGER,
    zone TEXT,
    -- 16 bytes, IPv4 as mapped IPv6: ordered as addresses are.
    address BLOB,
    country TEXT,
    host TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- Requests it stands for.
    count INTEGER NOT NULL,
    -- JSON, as the journal has it.
    event TEXT NOT NULL
) STRICT;

-- The time belongs to it because partitions of another engine cannot do without.
CREATE UNIQUE INDEX attack_once ON attack (waf_id, node, event_id, at_ms);
-- The order of the record, with everything that is filtered and counted: pages of rare
-- attacks and summaries never read the lines in between.
CREATE INDEX attack_time ON attack
    (waf_id, at_ms, seq, bt, action, country, zone, node, rule, host, address, count);
CREATE INDEX attack_address ON attack (waf_id, address, at_ms, seq);
CREATE INDEX attack_host ON attack (waf_id, host, at_ms, seq);
CREATE INDEX attack_rule ON attack (waf_id, rule, at_ms, seq) WHERE rule IS NOT NULL;
CREATE INDEX attack_request ON attack (waf_id, request_id);
