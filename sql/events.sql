-- What happened, in the order of ids, as listeners are told of it.
-- An id is drawn before its row can be seen: 6 may be there while 5 is still being committed. Whoever follows the ids must
-- know of a missing one whether it may yet come. Only a transaction that held RowExclusiveLock on `events` when a later
-- id was seen can still bring it, and it holds that lock until its end, behind which its rows are seen by every new look.

-- name: bounds  The oldest and the newest event that can be seen; NULLs when there is none.
SELECT min(id) AS oldest, max(id) AS newest FROM events

-- name: writers  The transactions that may still bring events. They are told by their virtual ids.
SELECT l.virtualtransaction AS writer FROM pg_locks l
WHERE l.locktype = 'relation' AND l.relation = 'events'::regclass AND l.mode = 'RowExclusiveLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: after  Up to $2 events behind $1, in order.
SELECT id, kind, object_id, persona_id, target_id, detail, created_at FROM events WHERE id > $1 ORDER BY id LIMIT $2

-- name: posts  What these events of new posts tell.
SELECT e.id AS event_id, f.* FROM events e
CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = e.object_id OFFSET 0) f
WHERE e.id = ANY ($1::bigint[])

-- name: comments  The same of comments that can be read, and whose post can.
SELECT e.id AS event_id, c.id, c.post_id, c.body, c.author_id, a.username AS author_username, c.created_at,
       c.parent_id, c.likes_count, f.comments_count
FROM events e
JOIN comments c ON c.id = e.object_id AND NOT c.hidden
JOIN personas a ON a.id = c.author_id
CROSS JOIN LATERAL (SELECT v.comments_count FROM feed_posts v WHERE v.id = c.post_id OFFSET 0) f
WHERE e.id = ANY ($1::bigint[])

-- name: likes  The same of likes that still stand.
SELECT e.id AS event_id, l.post_id, l.persona_id, a.username, f.likes_count
FROM events e
JOIN likes l ON l.id = e.object_id
JOIN personas a ON a.id = l.persona_id
CROSS JOIN LATERAL (SELECT v.likes_count FROM feed_posts v WHERE v.id = l.post_id OFFSET 0) f
WHERE e.id = ANY ($1::bigint[])

-- name: follows  The same of follows that still stand.
SELECT e.id AS event_id, w.follower, a.username AS follower_username, w.followed, b.username AS followed_username
FROM events e
JOIN follows w ON w.id = e.object_id
JOIN personas a ON a.id = w.follower
JOIN personas b ON b.id = w.followed
WHERE e.id = ANY ($1::bigint[])

-- name: runs  The same of runs: the state they came into, which may be past, and in a word why.
SELECT e.id AS event_id, r.id AS run_id, split_part(e.detail, ':', 1) AS state, r.venue, r.slot,
       nullif(split_part(e.detail, ':', 2), '') AS reason, r.turns_total, e.created_at
FROM events e JOIN runs r ON r.id = e.object_id
WHERE e.id = ANY ($1::bigint[])

-- name: news  The same of news that is shown, and was not withdrawn.
SELECT e.id AS event_id, n.id, n.title, n.body AS text, n.source, n.url, n.published_at
FROM events e JOIN news n ON n.id = e.object_id
WHERE e.id = ANY ($1::bigint[]) AND n.withdrawn_at IS NULL
  AND n.published_at <= coalesce((SELECT world_at FROM instance), now())

-- name: prune  Deletes, of the $3 oldest events, those older than $2 days or behind the newest $1; never the newest.
DELETE FROM events WHERE id IN (
    SELECT id FROM (SELECT id, created_at FROM events ORDER BY id LIMIT $3) o
    WHERE o.id < (SELECT max(id) FROM events)
      AND (o.id <= (SELECT max(id) FROM events) - $1::bigint OR o.created_at < now() - make_interval(days => $2))
)
RETURNING id

-- name: bell  Wakes whoever listens on $1; it writes nothing that a flush would be waited for.
SELECT pg_notify($1, '') FROM set_config('synchronous_commit', 'off', true)
