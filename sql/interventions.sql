-- Changes to the world that were planned: kept, done when a cycle is opened, told to those they are for.
-- `detail ->> 'to'` says whom: {"all": true}, {"personas": [ids]}, {"leaning": …} or {"tag": …}.

-- name: hold  Cycles are opened, and interventions planned, one after the other.
SELECT pg_advisory_xact_lock(hashtext('simfeed cycles'))

-- name: cycles  How many cycles of the feed the world has seen, and what time it is.
SELECT count(*)::int AS cycles, now() AS now FROM runs WHERE venue = 'feed'

-- name: addressed  Set into others: whether persona p is one of those whom {to} says.
CASE WHEN {to} ? 'personas' THEN {to} -> 'personas' @> to_jsonb(p.id)
     WHEN {to} ? 'leaning' THEN lower(p.profile ->> 'leaning') = lower({to} ->> 'leaning')
     WHEN {to} ? 'tag' THEN EXISTS (
         SELECT FROM jsonb_array_elements_text(
             coalesce(p.profile -> 'interests', '[]') || coalesce(p.profile -> 'traits', '[]')
             || jsonb_build_array(p.profile ->> 'role')
         ) AS t (tag) WHERE lower(t.tag) = lower({to} ->> 'tag'))
     ELSE {to} ? 'all' END

-- name: names  Who has these usernames (in lower case).
SELECT id, username FROM personas WHERE lower(username) = ANY ($1::text[]) AND status IN ('active', 'paused')

-- name: plan  New ones from parallel arrays, by admin $6; their ids in that order.
INSERT INTO interventions (kind, cycle, at, detail, note, created_by)
SELECT g.kind, g.cycle, g.at, g.detail, g.note, $6
FROM unnest($1::text[], $2::int[], $3::timestamptz[], $4::jsonb[], $5::text[]) WITH ORDINALITY
     AS g (kind, cycle, at, detail, note, place)
ORDER BY g.place RETURNING id

-- name: planned  How many wait.
SELECT count(*)::int FROM interventions WHERE state = 'planned'

-- name: listed  The newest before $1, in state $2 (null: any), $3 of them; of whom it concerned, only how many.
SELECT id, kind, cycle, at, detail::text AS detail, note, state, run_id, (outcome - 'woken')::text AS outcome, created_at,
       created_by, done_at
FROM interventions WHERE id < $1 AND ($2::text IS NULL OR state = $2) ORDER BY id DESC LIMIT $3

-- name: of_run  Those with which run $1 began, in the order in which they were done.
SELECT id, kind, cycle, at, detail::text AS detail, note, state, run_id, (outcome - 'woken')::text AS outcome, created_at,
       created_by, done_at
FROM interventions WHERE run_id = $1 ORDER BY id LIMIT 1000

-- name: one  One of them.
SELECT id, kind, state, run_id FROM interventions WHERE id = $1

-- name: cancel  One that is planned is not to be done.
UPDATE interventions SET state = 'cancelled' WHERE id = $1 AND state = 'planned' RETURNING id

-- name: due  What is to be done when cycle $1 begins, at $2 in the world.
SELECT id, kind, detail::text AS detail FROM interventions
WHERE state = 'planned' AND (cycle <= $1 OR at <= $2) ORDER BY id FOR UPDATE

-- name: these  What is to be done again.
SELECT id, kind, detail::text AS detail FROM interventions
WHERE state = 'planned' AND id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE

-- name: settle  What came of one in run $2.
UPDATE interventions SET state = $3, run_id = $2, outcome = $4::jsonb, done_at = coalesce($5, now()) WHERE id = $1

-- name: lock_people  Whose counters or states will change, in the order in which commits lock them.
SELECT id FROM personas WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE

-- name: say  Persona $1 says $3 under title $2, at $4 in the world (null: now), as post $5 (null: the next).
WITH author AS (SELECT id FROM personas WHERE id = $1 AND status IN ('active', 'paused')),
made AS (
    INSERT INTO posts (id, author_id, title, body, created_at)
    SELECT coalesce($5::bigint, nextval('posts_id_seq')), id, $2, $3, coalesce($4::timestamptz, now()) FROM author
    RETURNING id, author_id, created_at
),
counts AS (INSERT INTO post_counts (post_id, created_at) SELECT id, created_at FROM made),
told AS (INSERT INTO events (kind, object_id, persona_id) SELECT 'post', id, author_id FROM made),
counted AS (UPDATE personas p SET posts_count = p.posts_count + 1 FROM made WHERE p.id = made.author_id)
SELECT id, pg_notify('simfeed_events', '') FROM made

-- name: here  How many of those whom $1 says are members now.
SELECT count(*)::int AS here, max(p.id) AS newest FROM personas p WHERE p.status IN ('active', 'paused') AND {addressed}

-- name: pause  Those whom $1 says and who are awake, by intervention $2; how many.
WITH locked AS (
    SELECT p.id FROM personas p WHERE p.status = 'active' AND {addressed} ORDER BY p.id FOR NO KEY UPDATE
),
paused AS (UPDATE personas p SET status = 'paused', paused_by = $2 FROM locked l WHERE p.id = l.id RETURNING p.id)
SELECT count(*)::int FROM paused

-- name: resume  Those whom $1 says and whom an intervention had paused: by it, who; and how many an admin had paused.
WITH locked AS (
    SELECT p.id, p.paused_by FROM personas p
    WHERE p.status = 'paused' AND p.paused_by IS NOT NULL AND {addressed} ORDER BY p.id FOR NO KEY UPDATE
),
woken AS (UPDATE personas p SET status = 'active', paused_by = NULL FROM locked l WHERE p.id = l.id RETURNING p.id, l.paused_by)
SELECT coalesce((
           SELECT jsonb_object_agg(g.paused_by, g.ids)
           FROM (SELECT paused_by, jsonb_agg(id ORDER BY id) AS ids FROM woken GROUP BY 1) g
       ), '{}')::text AS woken,
       (SELECT count(*)::int FROM woken) AS changed,
       (SELECT count(*)::int FROM personas p WHERE p.status = 'paused' AND p.paused_by IS NULL AND {addressed}) AS stay

-- name: news_known  News $1 was there when run $2 was opened, so that its personas read it.
UPDATE news n SET created_at = r.created_at FROM runs r WHERE n.id = $1 AND r.id = $2

-- name: news_number  The next news gets this number.
SELECT setval('news_id_seq', $1, false)

-- name: rules  Which rankers were switched, in the order in which they were.
SELECT id, detail::text AS detail FROM interventions WHERE kind = 'ranker' AND state = 'done' ORDER BY run_id, id

-- name: any_messages  Whether anything was ever said to anybody.
SELECT EXISTS (SELECT FROM interventions WHERE kind = 'message' AND state = 'done')

-- name: untold  What personas $2 are to be told in their turns $1, oldest first. Whoever has had $3 turns since it was said was told, or could not be; whoever has an earlier turn open is told in that.
WITH mine AS MATERIALIZED (
    SELECT c.turn_id, t.run_id, p.id, p.profile, coalesce((
        SELECT x.run_id FROM turns x JOIN runs r ON r.id = x.run_id AND r.venue = 'feed'
        WHERE x.persona_id = p.id AND x.id <> c.turn_id AND x.next_step > 0 ORDER BY x.id DESC OFFSET $3::int - 1 LIMIT 1
    ), 0) AS since
    FROM unnest($1::bigint[], $2::bigint[]) AS c (turn_id, persona_id)
    JOIN turns t ON t.id = c.turn_id JOIN personas p ON p.id = c.persona_id
),
said AS MATERIALIZED (
    SELECT id, run_id, detail -> 'to' AS whom, (detail ->> 'from_id')::bigint AS from_id, detail ->> 'sender' AS sender,
           detail ->> 'body' AS body, (outcome ->> 'newest')::bigint AS newest
    FROM interventions WHERE kind = 'message' AND state = 'done' AND run_id > (SELECT min(since) FROM mine)
)
SELECT p.turn_id, s.id, s.body, coalesce(s.sender, '') AS sender, coalesce(f.username, '') AS username
FROM mine p
JOIN said s ON s.run_id <= p.run_id AND s.run_id > p.since AND p.id <= s.newest AND p.id IS DISTINCT FROM s.from_id
LEFT JOIN personas f ON f.id = s.from_id
WHERE {addressed}
  AND NOT EXISTS (
      SELECT FROM mutes m
      WHERE (m.persona_id = p.id AND m.muted_id = s.from_id) OR (m.persona_id = s.from_id AND m.muted_id = p.id AND m.block))
  AND NOT EXISTS (
      SELECT FROM turns x JOIN exposures e ON e.turn_id = x.id AND e.step = 0 AND e.kind = 'message'
      WHERE x.persona_id = p.id AND x.id <> p.turn_id AND x.run_id >= s.run_id AND s.id = ANY (e.items))
  AND NOT EXISTS (
      SELECT FROM turns x JOIN runs r ON r.id = x.run_id AND r.venue = 'feed' AND r.state IN ('queued', 'running', 'paused')
      WHERE x.persona_id = p.id AND x.id < p.turn_id AND x.run_id >= s.run_id AND x.next_step = 0
        AND x.state IN ('queued', 'running'))
ORDER BY p.turn_id, s.id

-- name: remember  What the turns of run $1 were told becomes memories, once, at $2 unless they have a time of their own; of nobody who has $3 such already. How many.
WITH told AS (
    SELECT t.id AS turn_id, t.persona_id, coalesce(t.world_at, $2) AS at, v.id, f.username, v.detail ->> 'sender' AS sender,
           regexp_replace(translate(v.detail ->> 'body', '"⟦⟧', '''[]'), '\s+', ' ', 'g') AS body,
           row_number() OVER (PARTITION BY t.persona_id ORDER BY v.id) AS place
    FROM turns t
    JOIN exposures e ON e.turn_id = t.id AND e.step = 0 AND e.kind = 'message'
    CROSS JOIN LATERAL unnest(e.items) AS i (id)
    JOIN interventions v ON v.id = i.id
    LEFT JOIN personas f ON f.id = (v.detail ->> 'from_id')::bigint
    WHERE t.run_id = $1 AND EXISTS (SELECT FROM calls c WHERE c.turn_id = t.id AND c.status = 'ok')
      AND NOT EXISTS (
          SELECT FROM memories m
          WHERE m.persona_id = t.persona_id AND m.kind = 'given' AND m.object_kind = 'intervention' AND m.object_id = v.id)
),
made AS (
    INSERT INTO memories (persona_id, kind, body, importance, venue, run_id, turn_id, object_kind, object_id, at)
    SELECT d.persona_id, 'given',
           coalesce('@' || d.username, nullif(d.sender, ''), 'Somebody from outside') || ' told you: "' || left(d.body, 700) || '"',
           0.8, 'feed', $1, d.turn_id, 'intervention', d.id, d.at
    FROM told d
    WHERE (SELECT count(*) FROM memories m WHERE m.persona_id = d.persona_id AND m.kind = 'given' AND m.folded_into IS NULL)
          + d.place <= $3
    ORDER BY d.turn_id, d.id
    RETURNING id
)
SELECT count(*)::int FROM made

-- name: behind_post  The intervention that put post $1 there.
SELECT id, run_id, note, done_at FROM interventions
WHERE kind = 'post' AND state = 'done' AND outcome -> 'post_id' = to_jsonb($1::bigint)

-- name: leave_out  In a fork: these are not to be done.
UPDATE interventions SET state = 'cancelled' WHERE id = ANY ($1::bigint[]) AND state = 'planned'

-- name: crowd_gone  In a fork: a run's turns, none of which was played, are to be others.
DELETE FROM turns WHERE run_id = $1
