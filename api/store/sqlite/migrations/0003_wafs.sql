-- Several policies in one installation: everything belongs to a WAF id. What was there
-- belongs to the first one, `default`.

-- One row: what is true of the whole database.
CREATE TABLE installation (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- Moves with every change of keys.
    keys_version INTEGER NOT NULL
) STRICT;

INSERT INTO installation (id, keys_version) VALUES (1, 1);

CREATE TABLE waf (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    name TEXT NOT NULL UNIQUE,
    session INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    forced_at INTEGER NOT NULL,
    next_rule_id INTEGER NOT NULL,
    block_list_active INTEGER NOT NULL CHECK (block_list_active IN (0, 1))
) STRICT;

INSERT INTO waf (id, name, session, generation, forced_at, next_rule_id, block_list_active)
SELECT 1, 'default', session, generation, forced_at, next_rule_id, block_list_active FROM meta;

DROP TABLE meta;

ALTER TABLE setting RENAME TO setting_before;
CREATE TABLE setting (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    author TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (waf_id, name)
) STRICT, WITHOUT ROWID;
INSERT INTO setting (waf_id, name, value, active, author, created_ms, updated_ms)
SELECT 1, name, value, active, author, created_ms, updated_ms FROM setting_before;
DROP TABLE setting_before;

ALTER TABLE block_entry RENAME TO block_entry_before;
CREATE TABLE block_entry (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    entry TEXT NOT NULL,
    position INTEGER NOT NULL,
    author TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (waf_id, entry)
) STRICT, WITHOUT ROWID;
INSERT INTO block_entry (waf_id, entry, position, author, created_ms)
SELECT 1, entry, position, author, created_ms FROM block_entry_before ORDER BY entry;
DROP TABLE block_entry_before;

ALTER TABLE rule RENAME TO rule_before;
CREATE TABLE rule (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    id INTEGER NOT NULL CHECK (id > 0),
    ip TEXT,
    domain TEXT,
    country TEXT,
    url TEXT,
    args TEXT,
    body TEXT,
    cookie TEXT,
    ua TEXT,
    referer TEXT,
    -- A JSON array of texts.
    other_headers TEXT NOT NULL,
    no_cookie INTEGER NOT NULL CHECK (no_cookie IN (0, 1)),
    lm INTEGER NOT NULL CHECK (lm IN (0, 1)),
    api INTEGER NOT NULL CHECK (api IN (0, 1)),
    noban INTEGER NOT NULL CHECK (noban IN (0, 1)),
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    author TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (waf_id, id)
) STRICT;
INSERT INTO rule (waf_id, id, ip, domain, country, url, args, body, cookie, ua, referer,
    other_headers, no_cookie, lm, api, noban, active, author, created_ms, updated_ms)
SELECT 1, id, ip, domain, country, url, args, body, cookie, ua, referer,
    other_headers, no_cookie, lm, api, noban, active, author, created_ms, updated_ms
FROM rule_before;
DROP TABLE rule_before;

ALTER TABLE api_key RENAME TO api_key_before;
CREATE TABLE api_key (
    name TEXT NOT NULL PRIMARY KEY,
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    -- The program knows which scopes there are.
    scope TEXT NOT NULL,
    -- No key can be computed from it, nor used in place of one.
    digest TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO api_key (name, waf_id, scope, digest, created_ms)
SELECT name, 1, scope, digest, created_ms FROM api_key_before;
DROP TABLE api_key_before;

DROP INDEX action_at;
ALTER TABLE action RENAME TO action_before;
-- The action log. `before` and `after` are JSON.
CREATE TABLE action (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    author TEXT NOT NULL,
    address TEXT NOT NULL,
    call TEXT NOT NULL,
    generation INTEGER NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL
) STRICT;
INSERT INTO action (id, waf_id, at_ms, author, address, call, generation, before, after)
SELECT id, 1, at_ms, author, address, call, generation, before, after FROM action_before;
DROP TABLE action_before;
CREATE INDEX action_at ON action (at_ms);
CREATE INDEX action_waf ON action (waf_id, id);

ALTER TABLE agent RENAME TO agent_before;
CREATE TABLE agent (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    node TEXT NOT NULL,
    session INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('published', 'refused')),
    reason TEXT,
    address TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (waf_id, node)
) STRICT, WITHOUT ROWID;
INSERT INTO agent (waf_id, node, session, generation, state, reason, address, at_ms)
SELECT 1, node, session, generation, state, reason, address, at_ms FROM agent_before;
DROP TABLE agent_before;

-- What nodes can take whole instead is not worth moving.
DROP TABLE delta;
-- What each of the latest generations changed in the bundle, for nodes that have an
-- older one. Rows are without gaps: what cannot be written down empties the table.
CREATE TABLE delta (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    -- The generation the change made.
    generation INTEGER NOT NULL,
    session INTEGER NOT NULL,
    -- The digest of the bundle before.
    base TEXT NOT NULL,
    -- The length of `changes`, in front of it: counting must not read it.
    bytes INTEGER NOT NULL,
    -- JSON.
    changes TEXT NOT NULL,
    PRIMARY KEY (waf_id, generation)
) STRICT;
