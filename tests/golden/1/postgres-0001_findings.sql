-- Names and texts are compared by their bytes, as SQLite does, so that both stores order alike.
CREATE TABLE finding (
    id text COLLATE "C" PRIMARY KEY,
    severity smallint NOT NULL,
    first_seen bigint NOT NULL,
    last_seen bigint NOT NULL,
    rule text COLLATE "C" NOT NULL,
    concept text COLLATE "C" NOT NULL,
    -- Who and what it is about, made by store/postgres/label.rs.
    labels text[] COLLATE "C" NOT NULL,
    -- What a text search looks at, in lower case.
    words text COLLATE "C" NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX finding_worst ON finding (severity, last_seen, id);
CREATE INDEX finding_newest ON finding (last_seen, id);
CREATE INDEX finding_of_rule ON finding (concept, severity, last_seen, id);
CREATE INDEX finding_labels ON finding USING gin (labels);

-- Text search without reading every finding. Where the extension is missing or may not be made, a
-- search reads them all and finds the same.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX finding_words ON finding USING gin (words gin_trgm_ops);
EXCEPTION
    WHEN insufficient_privilege OR undefined_file OR undefined_object OR feature_not_supported THEN
        RAISE NOTICE 'text search has no index: %', SQLERRM;
END
$$;

-- Counts for the overview, so that it does not count findings.
CREATE TABLE rule_day (
    day bigint NOT NULL,
    concept text COLLATE "C" NOT NULL,
    severity smallint NOT NULL,
    findings bigint NOT NULL,
    PRIMARY KEY (day, concept, severity)
);
-- `thing` stands for kind and name without regard to case, `spelling` for the name as it is written.
CREATE TABLE entity_day (
    day bigint NOT NULL,
    thing text COLLATE "C" NOT NULL,
    spelling text COLLATE "C" NOT NULL,
    severity smallint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    findings bigint NOT NULL,
    PRIMARY KEY (day, thing, spelling, severity)
);

CREATE TABLE consumed (
    topic text COLLATE "C" NOT NULL,
    part bigint NOT NULL,
    next bigint NOT NULL,
    PRIMARY KEY (topic, part)
);
CREATE TABLE unreadable (
    topic text COLLATE "C" NOT NULL,
    part bigint NOT NULL,
    position bigint NOT NULL,
    reason text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (topic, part, position)
);
