-- Signature exclusions, and what behavioural analysis is told.

ALTER TABLE waf ADD COLUMN next_exclusion_id BIGINT NOT NULL DEFAULT 1;

CREATE TABLE exclusion (
    waf_id BIGINT NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    id BIGINT NOT NULL CHECK (id > 0),
    rl_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    mz TEXT NOT NULL,
    extension TEXT NOT NULL,
    pattern TEXT NOT NULL,
    comment TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    author TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (waf_id, id)
);

CREATE TABLE mlc_setting (
    waf_id BIGINT NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    -- JSON: a flag, a number or an array of texts.
    value TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    author TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (waf_id, name)
);

-- Virtual hosts, each with its training.
CREATE TABLE vhost (
    waf_id BIGINT NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    state TEXT NOT NULL,
    duration_days BIGINT NOT NULL,
    started_ms BIGINT,
    -- Per cent.
    progress BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    PRIMARY KEY (waf_id, name)
);

CREATE TABLE model (
    waf_id BIGINT NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    vhost TEXT COLLATE "C" NOT NULL,
    -- The generation that stored it.
    version BIGINT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    author TEXT NOT NULL,
    updated_ms BIGINT NOT NULL,
    -- Last: what is asked about all models must not read it.
    bytes BYTEA NOT NULL,
    PRIMARY KEY (waf_id, vhost)
);
