-- Partitions of the two tables that grow with the traffic, for PostgreSQL 17 or newer:
--
--   psql --set ON_ERROR_STOP=1 --file infra/postgres/partitioning.sql "$POSTGRES_URL"
--
-- It copies both tables under a lock: run it early, or while nothing writes (docs/production.md).
-- The code needs no change. A partition key must be part of every unique key; what the keys guard
-- stays: an event with a known id is of the same user, a list has one time.
BEGIN;
LOCK TABLE interactions, recommendations IN ACCESS EXCLUSIVE MODE;

-- Interactions by user, since histories are read by user: 16 partitions.
ALTER TABLE interactions RENAME TO interactions_whole;
CREATE TABLE interactions (
    LIKE interactions_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING IDENTITY
) PARTITION BY HASH (user_id);
DO $$
BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE interactions_p%s PARTITION OF interactions FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
            n, n
        );
    END LOOP;
END
$$;
INSERT INTO interactions OVERRIDING SYSTEM VALUE SELECT * FROM interactions_whole;
SELECT setval(
    pg_get_serial_sequence('interactions', 'id'),
    (SELECT coalesce(max(id), 0) + 1 FROM interactions_whole),
    false
);
DROP TABLE interactions_whole;
ALTER TABLE interactions ADD CONSTRAINT pk_interactions PRIMARY KEY (id, user_id);
CREATE INDEX ix_interactions_user ON interactions (catalog_id, user_id, occurred_at, id);
CREATE UNIQUE INDEX uq_interactions_event ON interactions (catalog_id, event_id, user_id)
    WHERE event_id IS NOT NULL;
CREATE INDEX ix_interactions_recommendation ON interactions (catalog_id, recommendation_id)
    WHERE recommendation_id IS NOT NULL;

-- Recommendations by day, since they are forgotten by age: dropping a day costs nothing.
ALTER TABLE recommendations RENAME TO recommendations_whole;
CREATE TABLE recommendations (
    LIKE recommendations_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS
) PARTITION BY RANGE (served_at);
CREATE TABLE recommendations_other PARTITION OF recommendations DEFAULT;
DO $$
DECLARE
    day date;
BEGIN
    FOR n IN -31..31 LOOP
        day := (now() AT TIME ZONE 'UTC')::date + n;
        EXECUTE format(
            'CREATE TABLE recommendations_%s PARTITION OF recommendations FOR VALUES FROM (%L) TO (%L)',
            to_char(day, 'YYYYMMDD'), day || ' 00:00+00', (day + 1) || ' 00:00+00'
        );
    END LOOP;
END
$$;
INSERT INTO recommendations SELECT * FROM recommendations_whole;
DROP TABLE recommendations_whole;
ALTER TABLE recommendations ADD CONSTRAINT pk_recommendations
    PRIMARY KEY (catalog_id, recommendation_id, served_at);
CREATE INDEX ix_recommendations_bundle ON recommendations (catalog_id, bundle, served_at);
CREATE INDEX ix_recommendations_user ON recommendations (catalog_id, user_id)
    WHERE user_id IS NOT NULL;
CREATE INDEX ix_recommendations_served_at ON recommendations USING brin (served_at);
COMMIT;
