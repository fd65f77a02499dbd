-- Backups: what a database holds, whatever its schema is.

-- name: facts  What a dump is made of: the server's version, the schema's revision, and a snapshot that pg_dump can join.
SELECT current_setting('server_version_num')::int / 10000 AS server, version_num AS revision, pg_export_snapshot() AS snapshot
FROM alembic_version

-- name: server  The server's major version.
SELECT current_setting('server_version_num')::int / 10000

-- name: tables  All tables with rows of their own, and their columns that hold what was put there. Types that an extension
-- brought have other numbers in another database, and count as text.
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       array_agg(quote_ident(a.attname) || CASE WHEN a.atttypid < 16384 THEN '' ELSE '::text' END ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
GROUP BY n.nspname, c.relname ORDER BY 1

-- name: admins  How many may manage the installation.
SELECT count(*) FROM admin

-- name: forget_worlds  Worlds whose databases are not on this server are no more.
UPDATE worlds SET state = 'dropped', dropped_at = now()
WHERE state <> 'dropped' AND NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = worlds.database) RETURNING name

-- name: nothing  What a restore that did not come out right leaves of an empty database.
DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS queue CASCADE; CREATE SCHEMA public
