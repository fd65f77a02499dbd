-- What the processes of a world tell each other, about once a second.

-- name: beat  Worker $1 lives; and what concerns all. $1 is null for a process that plays no turns.
WITH me AS (
    INSERT INTO workers (id, host, pid) SELECT $1::text, $2, $3 WHERE $1::text IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET seen_at = now()
),
gone AS (DELETE FROM workers WHERE seen_at < now() - interval '1 hour')
SELECT i.halted_at IS NOT NULL AS halted,
       (SELECT count(*) FROM workers w WHERE w.seen_at > now() - interval '5 seconds' AND w.id IS DISTINCT FROM $1::text) AS others,
       (
           SELECT coalesce(jsonb_agg(jsonb_build_object(
               'name', p.name, 'blocked', p.blocked, 'detail', p.detail, 'key', encode(p.key_sha256, 'hex'),
               'wait', greatest(0, extract(epoch FROM p.paused_until - now()))
           )), '[]') FROM providers p
       ) AS providers
FROM instance i

-- name: leave  A worker ends.
DELETE FROM workers WHERE id = $1

-- name: workers  Who plays turns.
SELECT id, host, pid, started_at, seen_at, seen_at > now() - interval '5 seconds' AS alive FROM workers ORDER BY started_at

-- name: pause  A provider asked to wait $2 seconds; the longest wish counts.
INSERT INTO providers (name, paused_until, changed_at) VALUES ($1, now() + make_interval(secs => $2), now())
ON CONFLICT (name) DO UPDATE SET paused_until = greatest(providers.paused_until, excluded.paused_until), changed_at = now()

-- name: block  A provider refuses us for a reason that no waiting mends.
INSERT INTO providers (name, blocked, detail, key_sha256, changed_at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT (name) DO UPDATE
SET blocked = excluded.blocked, detail = excluded.detail, key_sha256 = excluded.key_sha256, changed_at = now()

-- name: unblock  It takes us again.
UPDATE providers SET blocked = NULL, detail = '', key_sha256 = NULL, paused_until = NULL, changed_at = now() WHERE name = $1

-- name: providers  How the providers stand.
SELECT name, blocked, detail, paused_until, changed_at FROM providers ORDER BY name

-- name: halt  The kill switch: $1 is whether models may not be asked.
UPDATE instance SET halted_at = CASE WHEN $1::bool THEN coalesce(halted_at, now()) END RETURNING halted_at

-- name: halted  Whether it is on.
SELECT halted_at IS NOT NULL FROM instance
