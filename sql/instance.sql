-- The installation's own facts.

-- name: interval  Minutes between cycles, if an admin has set them.
SELECT scheduler_interval_minutes FROM instance

-- name: set_interval  Keeps them.
UPDATE instance SET scheduler_interval_minutes = $1

-- name: tick  Which interval of $2 seconds since $1 this is, rounded: a tick may come a moment early.
SELECT round(extract(epoch FROM now() - $1::timestamptz) / $2::float8)::bigint

-- name: world_at  Where the world's clock stands, if it is simulated.
SELECT world_at FROM instance

-- name: set_world_at  It stands at $1 from now on; null: it is real again.
UPDATE instance SET world_at = $1

-- name: run_of_slot  The run that has a slot.
SELECT id FROM runs WHERE slot = $1

-- name: ready  Whether the database answers, writes, and is where the schema should be.
SELECT version_num, pg_is_in_recovery() AS read_only, now() AS now FROM alembic_version

-- name: slots  How many connections the server has for users like us, and how many of them are taken.
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())::int AS taken
