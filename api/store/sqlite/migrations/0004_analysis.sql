-- Signature exclusions, and what behavioural analysis is told.

ALTER TABLE waf ADD COLUMN next_exclusion_id INTEGER NOT NULL DEFAULT 1;

CREATE TABLE exclusion (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    id INTEGER NOT NULL CHECK (id > 0),
    rl_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    mz TEXT NOT NULL,
    extension TEXT NOT NULL,
    pattern TEXT NOT NULL,
    comment TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    author TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (waf_id, id)
) STRICT;

CREATE TABLE mlc_setting (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- JSON: a flag, a number or an array of texts.
    value TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    author TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (waf_id, name)
) STRICT, WITHOUT ROWID;

-- Virtual hosts, each with its training.
CREATE TABLE vhost (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    duration_days INTEGER NOT NULL,
    started_ms INTEGER,
    -- Per cent.
    progress INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    PRIMARY KEY (waf_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE model (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    vhost TEXT NOT NULL,
    -- The generation that stored it.
    version INTEGER NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    author TEXT NOT NULL,
    updated_ms INTEGER NOT NULL,
    -- Last: what is asked about all models must not read it.
    bytes BLOB NOT NULL,
    PRIMARY KEY (waf_id, vhost)
) STRICT;
