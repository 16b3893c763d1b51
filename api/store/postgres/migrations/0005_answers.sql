-- Answers to writes with an Idempotency-Key, for who asks again.
CREATE TABLE answer (
    waf_id BIGINT NOT NULL REFERENCES waf (id) ON DELETE CASCADE,
    -- Name of the API key of who asked.
    author TEXT COLLATE "C" NOT NULL,
    -- The client's name for what it asked.
    key TEXT COLLATE "C" NOT NULL,
    -- Grows with every answer of a WAF id: the smallest is the oldest.
    number BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    -- Of what was asked.
    digest TEXT NOT NULL,
    -- JSON.
    answer TEXT NOT NULL,
    PRIMARY KEY (waf_id, author, key)
);

CREATE UNIQUE INDEX answer_number ON answer (waf_id, number);
CREATE INDEX answer_at ON answer (waf_id, at_ms);

-- The reference was checked for each of a million entries, which took as long as writing
-- them. Entries are written under a lock on their row of `waf`, and removed with it.
ALTER TABLE block_entry DROP CONSTRAINT block_entry_waf_id_fkey;
