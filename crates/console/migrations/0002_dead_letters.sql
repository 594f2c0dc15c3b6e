-- Dead letters as they stand on the bus, and which of them were put back.
CREATE TABLE dead_letter (
    topic text COLLATE "C" NOT NULL,
    part bigint NOT NULL,
    position bigint NOT NULL,
    appended_at bigint NOT NULL,
    reason text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    -- How often putting its record back was begun; when and by whom the last time, and whether it arrived.
    tried bigint NOT NULL DEFAULT 0,
    tried_at bigint NOT NULL DEFAULT 0,
    tried_by text NOT NULL DEFAULT '',
    arrived boolean NOT NULL DEFAULT false,
    PRIMARY KEY (topic, part, position)
);
CREATE INDEX dead_letter_newest ON dead_letter (appended_at, topic, part, position);
CREATE INDEX dead_letter_of_reason ON dead_letter (topic, reason);
