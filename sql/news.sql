-- News: what the world is told from outside it. An item is shown from `published_at` in the world's time on, until it is withdrawn.
-- Personas see what was there when their cycle was opened ($2 of `for_persona`), so that a cycle played again reads the same.

-- name: publish  New items, in order (titles $1, texts $2, sources $3, addresses $4, guids $5, times $6) by admin $7; $8: now in the world. What has the address or guid of another is left out.
WITH wanted AS MATERIALIZED (
    SELECT u.*, nextval(pg_get_serial_sequence('news', 'id')) AS id
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
         WITH ORDINALITY AS u (title, body, source, url, guid, published_at, place)
    WHERE NOT EXISTS (SELECT FROM news n WHERE n.url = u.url) AND NOT EXISTS (SELECT FROM news n WHERE n.guid = u.guid)
    ORDER BY u.place
),
made AS (
    INSERT INTO news (id, title, body, source, url, guid, published_at, created_by) OVERRIDING SYSTEM VALUE
    SELECT id, title, body, source, url, guid, published_at, $7::bigint FROM wanted ORDER BY place
    ON CONFLICT DO NOTHING
    RETURNING id, published_at
),
told AS (
    INSERT INTO events (kind, object_id) SELECT 'news', id FROM made WHERE published_at <= $8::timestamptz ORDER BY id
)
SELECT w.place, m.id, pg_notify('simfeed_events', '') FROM made m JOIN wanted w USING (id) ORDER BY w.place

-- name: latest  What is shown at time $1, newest first, behind (time $2, item $3), at most $4.
SELECT id, title, body AS text, source, url, published_at FROM news
WHERE withdrawn_at IS NULL AND published_at <= $1 AND (published_at, id) < ($2::timestamptz, $3::bigint)
ORDER BY published_at DESC, id DESC LIMIT $4

-- name: all  Every item, those to come and those withdrawn too: newest first, at most $1.
SELECT n.id, n.title, n.body AS text, n.source, n.url, n.guid, n.published_at, n.created_at, n.withdrawn_at, a.username AS admin
FROM news n LEFT JOIN admin a ON a.id = n.created_by ORDER BY n.published_at DESC, n.id DESC LIMIT $1

-- name: item  One item that is not withdrawn.
SELECT id, title, body AS text, source, url, published_at FROM news WHERE id = $1 AND withdrawn_at IS NULL

-- name: for_persona  What a persona reads at time $1 in the world, of items from $3 on that were there at $2 and not withdrawn yet; at most $4.
SELECT id, title, body AS text, source, published_at FROM news
WHERE published_at <= $1 AND published_at > $3 AND created_at <= $2 AND (withdrawn_at IS NULL OR withdrawn_at > $2)
ORDER BY published_at DESC, id DESC LIMIT $4

-- name: withdraw  Takes an item back.
UPDATE news SET withdrawn_at = now() WHERE id = $1 AND withdrawn_at IS NULL RETURNING id

-- name: exists  Whether there ever was such an item.
SELECT EXISTS (SELECT FROM news WHERE id = $1)
