-- The record of attacks. A day has a partition, so that forgetting one takes no time.
-- Partitions are made by the program, as is everything that depends on the day.
--
-- It refers to no other table: each reference would make a batch of attacks wait for a
-- change of that WAF id's policy, and the other way round.

CREATE SEQUENCE attack_seq AS BIGINT CACHE 100;

CREATE TABLE attack (
    seq BIGINT NOT NULL DEFAULT nextval('attack_seq'),
    waf_id BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    -- The node's name for it.
    event_id TEXT COLLATE "C" NOT NULL,
    received_ms BIGINT NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    bt SMALLINT NOT NULL,
    rule BIGINT,
    zone TEXT COLLATE "C",
    -- 16 bytes, IPv4 as mapped IPv6: ordered as addresses are.
    address BYTEA,
    country TEXT COLLATE "C",
    host TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    -- Requests it stands for.
    count BIGINT NOT NULL,
    -- JSON, as the journal has it.
    event TEXT NOT NULL
) PARTITION BY RANGE (at_ms);

CREATE UNIQUE INDEX attack_once ON attack (waf_id, node, event_id, at_ms);
-- The order of the record, with everything that is filtered and counted: pages of rare
-- attacks and summaries never read the lines in between.
CREATE INDEX attack_time ON attack
    (waf_id, at_ms, seq, bt, action, country, zone, node, rule, host, address, count);
CREATE INDEX attack_address ON attack (waf_id, address, at_ms, seq);
CREATE INDEX attack_host ON attack (waf_id, host, at_ms, seq);
CREATE INDEX attack_rule ON attack (waf_id, rule, at_ms, seq) WHERE rule IS NOT NULL;
CREATE INDEX attack_request ON attack (waf_id, request_id);
