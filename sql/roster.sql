-- The members as admins look through them; lists are composed in app/world/roster.py.

-- name: set_status  Pauses or wakes personas $1.
WITH locked AS (
    SELECT id FROM personas WHERE id = ANY ($1::bigint[])
      AND (status NOT IN ('departed', 'cast', $2) OR (status = $2 AND paused_by IS NOT NULL))
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE personas p SET status = $2, paused_by = NULL FROM locked l WHERE p.id = l.id RETURNING p.id, p.username

-- name: depart  Personas $1 leave; what they made stays, and their open turns end. Turns are locked first, as commits do.
WITH open_turns AS MATERIALIZED (
    SELECT t.id FROM turns t JOIN personas p ON p.id = t.persona_id
    WHERE t.persona_id = ANY ($1::bigint[]) AND t.state IN ('queued', 'running') AND p.status IN ('active', 'paused')
    ORDER BY t.id FOR NO KEY UPDATE OF t
),
locked AS MATERIALIZED (
    SELECT id FROM personas
    WHERE (SELECT count(*) FROM open_turns) >= 0 AND id = ANY ($1::bigint[]) AND status IN ('active', 'paused')
    ORDER BY id FOR NO KEY UPDATE
),
ended AS (
    UPDATE turns t
    SET state = 'failed', reason = 'departed', epoch = t.epoch + 1, ended_at = now(), lease_until = NULL
    FROM open_turns o WHERE t.id = o.id
)
UPDATE personas p SET status = 'departed', departed_at = now(), paused_by = NULL FROM locked l WHERE p.id = l.id
RETURNING p.id, p.username

-- name: some  These personas, by id.
SELECT id, username, profile ->> 'display_name' AS display_name, status, posts_count, comments_count
FROM personas WHERE id = ANY ($1::bigint[]) ORDER BY id

-- name: counts  How many personas are in each state.
SELECT count(*) FILTER (WHERE status = 'active') AS active, count(*) FILTER (WHERE status = 'paused') AS paused,
       count(*) FILTER (WHERE status = 'departed') AS departed
FROM personas
