-- Times are milliseconds since 1970-01-01 UTC. Flags are 0 or 1.

-- One row: where in history this database stands.
CREATE TABLE meta (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    session INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    forced_at INTEGER NOT NULL,
    next_rule_id INTEGER NOT NULL,
    block_list_active INTEGER NOT NULL CHECK (block_list_active IN (0, 1))
) STRICT;

CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    author TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE block_entry (
    entry TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,
    author TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE rule (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id > 0),
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
    updated_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE api_key (
    name TEXT NOT NULL PRIMARY KEY,
    scope TEXT NOT NULL CHECK (scope IN ('admin', 'node', 'read')),
    -- See key.rs: no key can be computed from it, nor used in place of one.
    digest TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The action log. `before` and `after` are JSON.
CREATE TABLE action (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    author TEXT NOT NULL,
    address TEXT NOT NULL,
    call TEXT NOT NULL,
    generation INTEGER NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL
) STRICT;

CREATE INDEX action_at ON action (at_ms);

CREATE TABLE agent (
    node TEXT NOT NULL PRIMARY KEY,
    session INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('published', 'refused')),
    reason TEXT,
    address TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
