-- The worlds beside the home world: rows of the home database, and the databases they stand for.

-- name: list  All that are not dropped, oldest first, with their size in bytes while the database is there.
SELECT w.id, w.name, w.database, w.kind, w.state, s.name AS source, w.run_id, w.note, a.username AS created_by, w.created_at,
       (SELECT pg_database_size(d.oid) FROM pg_database d WHERE d.datname = w.database) AS bytes
FROM worlds w LEFT JOIN worlds s ON s.id = w.source LEFT JOIN admin a ON a.id = w.created_by
WHERE w.state <> 'dropped' AND ($1::text IS NULL OR lower(w.name) = lower($1)) ORDER BY w.id

-- name: home  The home world's own database and size.
SELECT current_database() AS database, pg_database_size(current_database()) AS bytes

-- name: found  A world by its name, unless it is dropped.
SELECT id, name, database, kind, state FROM worlds WHERE lower(name) = lower($1) AND state <> 'dropped'

-- name: begin  It is being made.
INSERT INTO worlds (name, database, kind, source, note, created_by) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id

-- name: ready  It is made; $2 is the newest run in it.
UPDATE worlds SET state = 'ready', run_id = $2 WHERE id = $1 AND state = 'making' RETURNING id

-- name: dropping  From now on nobody opens it.
UPDATE worlds SET state = 'dropping' WHERE id = $1 AND state IN ('making', 'ready') RETURNING id

-- name: dropped  Its database is gone.
UPDATE worlds SET state = 'dropped', dropped_at = now() WHERE id = $1 AND state <> 'dropped' RETURNING id

-- name: unfinished  What somebody is making or dropping, or has left so.
SELECT id, name, database, state FROM worlds WHERE state IN ('making', 'dropping') ORDER BY id

-- name: newest_run  The newest run of the world that is asked.
SELECT max(id) FROM runs

-- name: may  Whether this role may create databases, and copy this one ($1) as a template.
SELECT r.rolname AS role, r.rolsuper OR r.rolcreatedb AS create,
       r.rolsuper OR d.datistemplate OR pg_has_role(d.datdba, 'USAGE') AS copy
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = $1

-- name: size  Bytes of a database.
SELECT pg_database_size($1::name)

-- name: hold  Whoever makes or drops a database holds this for the life of the connection; false: somebody else does.
SELECT pg_try_advisory_lock(hashtextextended('simfeed world ' || $1, 0))

-- name: let_go  The opposite of `hold`.
SELECT pg_advisory_unlock(hashtextextended('simfeed world ' || $1, 0))

-- name: connected  Who is connected to a database. Ours are those that we may end.
SELECT pid, usename, application_name, application_name LIKE 'simfeed%' AND pg_has_role(usesysid, 'USAGE') AS ours
FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'

-- name: disperse  Ends our connections to a database that are at rest, or ($2) all of ours.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = $1 AND backend_type = 'client backend' AND application_name LIKE 'simfeed%' AND pg_has_role(usesysid, 'USAGE')
  AND (state = 'idle' OR $2)

-- name: locale  What a database sorts and folds by, as options of CREATE DATABASE; older servers lack some of it.
SELECT pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype,
       to_jsonb(d) ->> 'datlocprovider' AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale
FROM pg_database d WHERE datname = $1

-- name: strange  Tables and schemas that no migration of ours made and no extension brought.
SELECT 'SCHEMA' AS kind, quote_ident(n.nspname) AS name FROM pg_namespace n
WHERE n.nspname <> 'public' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.deptype = 'e')
UNION ALL
SELECT CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
       'public.' || quote_ident(c.relname)
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f') AND c.relname <> ALL ($1::text[])
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype IN ('e', 'i'))

-- name: links  Foreign keys that begin or end in one of these tables (null: all), and how to make them.
SELECT quote_ident(k.conname) AS name, k.conrelid::regclass::text AS of, pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k
WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
  AND ($1::text[] IS NULL OR k.conrelid = ANY ($1::text[]::regclass[]) OR k.confrelid = ANY ($1::text[]::regclass[]))
ORDER BY 2, 1

-- name: columns  A table's columns that hold what was put there, in their order, and their types.
SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum

-- name: sequences  Where the numbers of these tables go on.
SELECT quote_ident(s.relname) AS name FROM pg_class s
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('i', 'a')
WHERE s.relkind = 'S' AND d.refobjid = ANY ($1::text[]::regclass[]) ORDER BY 1

-- name: forget_statistics  What ANALYZE has kept of these tables and their indexes; for superusers.
DELETE FROM pg_statistic WHERE starelid = ANY (
    SELECT t::regclass FROM unnest($1::text[]) t UNION SELECT i.indexrelid FROM unnest($1::text[]) t JOIN pg_index i ON i.indrelid = t::regclass
)

-- name: park_turns  Turns that somebody played in the world this was copied from wait; nothing is held for their calls.
UPDATE turns SET state = CASE WHEN state = 'running' THEN 'queued' ELSE state END, lease_until = NULL,
    held_tokens = 0, held_usd = 0, held_day = NULL
WHERE lease_until IS NOT NULL OR held_day IS NOT NULL OR state = 'running'

-- name: stop_runs  Runs that were open when their world was copied stand still in the copy.
UPDATE runs SET state = 'stopped', reason = 'copied while open', ended_at = now() WHERE state IN ('queued', 'running', 'paused')
