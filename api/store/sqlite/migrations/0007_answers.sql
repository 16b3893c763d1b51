-- Answers to writes with an Idempotency-Key, for who asks again.
CREATE TABLE answer (
    waf_id INTEGER NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    -- Name of the API key of who asked.
    author TEXT NOT NULL,
    -- The client's name for what it asked.
    key TEXT NOT NULL,
    -- Grows with every answer of a WAF id: the smallest is the oldest.
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    -- Of what was asked.
    digest TEXT NOT NULL,
    -- JSON.
    answer TEXT NOT NULL,
    PRIMARY KEY (waf_id, author, key)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX answer_number ON answer (waf_id, number);
CREATE INDEX answer_at ON answer (waf_id, at_ms);
