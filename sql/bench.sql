-- What `simfeed bench` needs beside the program's own statements: a database to fill and drop, and proofs that it stayed sound.

-- name: create_database  A database of the bench's own; {name} is ours.
CREATE DATABASE "{name}"

-- name: drop_database  Gone with all connections to it.
DROP DATABASE IF EXISTS "{name}" WITH (FORCE)

-- name: backend  The process that serves this connection.
SELECT pg_backend_pid()

-- name: checkpoint  So that one configuration does not pay for the pages of the one before.
CHECKPOINT

-- name: statistics  What the planner needs, and the visibility that autovacuum would bring later.
VACUUM (ANALYZE)

-- name: sample_turns  The newest $1 turns that came to their end.
SELECT id FROM turns WHERE state = 'done' ORDER BY id DESC LIMIT $1

-- name: sound  How many turns are not at an end or failed, and how many counters differ from a recount.
SELECT (SELECT count(*) FROM turns) AS turns,
       (SELECT count(*) FROM turns WHERE state IN ('queued', 'running')) AS open_turns,
       (SELECT count(*) FROM turns WHERE state = 'failed') AS failed_turns,
       (SELECT count(*) FROM calls) AS calls,
       (SELECT count(*) FROM turns t
        WHERE t.next_step <> (SELECT count(*) FROM calls c WHERE c.turn_id = t.id)) AS turns_whose_steps_differ,
       (SELECT count(*) FROM post_counts c
        LEFT JOIN (SELECT post_id, count(*) AS n FROM likes GROUP BY 1) l USING (post_id)
        LEFT JOIN (SELECT post_id, count(*) AS n FROM comments GROUP BY 1) k USING (post_id)
        LEFT JOIN (SELECT repost_of AS post_id, count(*) AS n FROM posts GROUP BY 1) r USING (post_id)
        WHERE (c.likes_count, c.comments_count, c.reposts_count)
              IS DISTINCT FROM (coalesce(l.n, 0), coalesce(k.n, 0), coalesce(r.n, 0))) AS wrong_post_counts,
       (SELECT count(*) FROM posts p WHERE NOT EXISTS (SELECT FROM post_counts c WHERE c.post_id = p.id))
           AS posts_without_counts,
       (SELECT count(*) FROM personas p
        LEFT JOIN (SELECT author_id AS id, count(*) AS n FROM posts GROUP BY 1) w USING (id)
        LEFT JOIN (SELECT author_id AS id, count(*) AS n FROM comments GROUP BY 1) k USING (id)
        LEFT JOIN (SELECT follower AS id, count(*) AS n FROM follows GROUP BY 1) g USING (id)
        LEFT JOIN (SELECT followed AS id, count(*) AS n FROM follows GROUP BY 1) f USING (id)
        WHERE (p.posts_count, p.comments_count, p.following_count, p.followers_count)
              IS DISTINCT FROM (coalesce(w.n, 0), coalesce(k.n, 0), coalesce(g.n, 0), coalesce(f.n, 0)))
           AS wrong_persona_counts

-- name: outcomes  How the actions of all turns came out.
SELECT outcome, count(*) AS times FROM actions GROUP BY 1 ORDER BY 1

-- name: floor_table  Where the bare floor keeps its steps.
CREATE TABLE bench_floor (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, told bytea NOT NULL, response bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)

-- name: floor_step  One step of the bare floor.
INSERT INTO bench_floor (told, response) VALUES ($1, $2)

-- name: make_personas  Personas 1 to $1.
INSERT INTO personas (id, username, description, bio, profile)
SELECT n, 'member_' || n, 'Made by the bench, with an opinion on matter ' || n % 97 || '.', 'Number ' || n || ' of this world.',
       json_build_object('display_name', 'Member ' || n)::jsonb
FROM generate_series(1, $1::bigint) n

-- name: make_posts  Posts $1 to $2 of a world of $3 posts and $4 personas; the newest is from now, the oldest 90 days old.
INSERT INTO posts (id, author_id, title, body, created_at)
SELECT n, 1 + (hashint8(n)::bigint & 2147483647) % $4,
       CASE WHEN n % 3 = 0 THEN 'On ' || (ARRAY['bikes', 'bread', 'buses', 'dukes', 'gulls', 'rents', 'ghosts'])[1 + n % 7] END,
       (ARRAY['I have said it before', 'Nobody asked me', 'Unpopular opinion', 'This morning I saw it', 'Minutes of the day',
              'My neighbour insists', 'A small correction', 'Breaking news from the bus stop', 'Let it be known'])[1 + n % 9]
       || ': ' ||
       (ARRAY['the bike lane ends where the argument begins', 'the bakery is out of rye and out of excuses',
              'the last bus leaves before the meeting does', 'the duke would have fixed the heating by now',
              'the gulls have unionised and want more chips', 'the rent went up and the ceiling came down',
              'the ghost in the library returned a book late'])[1 + (n / 9) % 7]
       || ', and ' ||
       (ARRAY['I will not be taking questions', 'somebody ought to write that down', 'that is all I have to say about it',
              'my mother agrees', 'the council has been informed'])[1 + (n / 63) % 5]
       || CASE WHEN n % 2 = 0 THEN '. Honestly, no. ' ELSE '. No. ' END || n,
       now() - make_interval(secs => ($3 - n) * (90 * 86400.0 / $3))
FROM generate_series($1::bigint, $2::bigint) n

-- name: make_likes  Up to $1 likes among $2 posts and $3 personas, most of them on few posts; pairs that exist give no row.
INSERT INTO likes (post_id, persona_id, created_at)
SELECT DISTINCT 1 + floor($2 * power(random(), 3))::bigint, 1 + floor($3 * random())::bigint, now()
FROM generate_series(1, $1::bigint)
ON CONFLICT DO NOTHING

-- name: make_comments  Comments $1 to $2 among $3 posts and $4 personas, most of them on few posts.
INSERT INTO comments (id, post_id, author_id, body)
SELECT n, 1 + floor($3 * power(random(), 3))::bigint, 1 + floor($4 * random())::bigint,
       'Comment no. ' || n || ': that is exactly what they said about the last one, and look where it got us.'
FROM generate_series($1::bigint, $2::bigint) n

-- name: make_counts  The counters of posts $1 to $2, counted.
INSERT INTO post_counts (post_id, likes_count, comments_count, created_at)
SELECT p.id, (SELECT count(*) FROM likes l WHERE l.post_id = p.id),
       (SELECT count(*) FROM comments c WHERE c.post_id = p.id), p.created_at
FROM posts p WHERE p.id BETWEEN $1 AND $2

-- name: make_follows  Each of $1 personas follows up to 20 others.
INSERT INTO follows (follower, followed)
SELECT DISTINCT n, 1 + (n * 31 + k * (k + 7)) % $1 FROM generate_series(1, $1::bigint) n, generate_series(1, 20) k
WHERE n <> 1 + (n * 31 + k * (k + 7)) % $1

-- name: make_persona_counts  The personas' counters, counted.
UPDATE personas p
SET posts_count = coalesce(w.n, 0), comments_count = coalesce(k.n, 0), following_count = coalesce(g.n, 0),
    followers_count = coalesce(f.n, 0)
FROM personas q
LEFT JOIN (SELECT author_id AS id, count(*) AS n FROM posts GROUP BY 1) w ON w.id = q.id
LEFT JOIN (SELECT author_id AS id, count(*) AS n FROM comments GROUP BY 1) k ON k.id = q.id
LEFT JOIN (SELECT follower AS id, count(*) AS n FROM follows GROUP BY 1) g ON g.id = q.id
LEFT JOIN (SELECT followed AS id, count(*) AS n FROM follows GROUP BY 1) f ON f.id = q.id
WHERE q.id = p.id

-- name: make_seed  The same world every time.
SELECT setseed(0.42)

-- name: make_next_ids  What comes next gets the next number.
SELECT setval(pg_get_serial_sequence('personas', 'id'), (SELECT max(id) FROM personas)),
       setval(pg_get_serial_sequence('posts', 'id'), (SELECT max(id) FROM posts)),
       setval(pg_get_serial_sequence('comments', 'id'), (SELECT max(id) FROM comments))

-- name: make_writers  $1 personas that will post.
INSERT INTO personas (username, description) SELECT 'writer_' || n, 'Writes.' FROM generate_series(1, $1::int) n

-- name: make_writing_run  The run they write in.
INSERT INTO runs (venue, slot, seed, state) VALUES ('feed', 'bench', 1, 'running')

-- name: make_writing_turns  A claimed turn of each, by the writer's number.
INSERT INTO turns (run_id, persona_id, ordinal, state, epoch, lease_until)
SELECT r.id, p.id, p.id, 'running', 1, now() + interval '1 hour' FROM personas p, runs r ORDER BY p.id

-- name: make_cast  $1 personas that only play in rooms.
INSERT INTO personas (username, description, status)
SELECT 'agent' || n, 'A neighbour who likes to talk about trains, bread and the weather. Answers briefly.', 'cast'
FROM generate_series(1, $1::int) AS n RETURNING id

-- name: make_history  $2 messages of the first agent in a room that has none, told at once.
WITH made AS (
    INSERT INTO room_messages (room_id, number, key, member, body)
    SELECT $1::bigint, n, 'old-' || $1::bigint || '-' || n, 1, repeat('What was said before. ', 80) FROM generate_series(1, $2::int) AS n
    RETURNING room_id, number
),
told AS (
    INSERT INTO room_events (room_id, position, kind, number, member) SELECT room_id, number, 'message', number, 1 FROM made
)
UPDATE rooms SET messages_count = $2, events_count = $2 WHERE id = $1

-- name: room_messages  What was written in these rooms up to second $2 of the epoch, in order.
SELECT r.key AS room, m.key, m.member, extract(epoch FROM m.at)::float8 AS at
FROM room_messages m JOIN rooms r ON r.id = m.room_id WHERE r.id = ANY ($1::bigint[]) AND extract(epoch FROM m.at) < $2::float8 ORDER BY m.room_id, m.number

-- name: room_gaps  How many numbers or positions are missing in rooms.
SELECT (SELECT coalesce(sum(n), 0) FROM (
           SELECT max(number) - count(*) AS n FROM room_messages GROUP BY room_id
           UNION ALL SELECT max(position) - count(*) FROM room_events GROUP BY room_id
           UNION ALL SELECT r.messages_count - count(m.number) FROM rooms r LEFT JOIN room_messages m ON m.room_id = r.id GROUP BY r.id
       ) gaps)::int AS gaps

-- name: make_leanings  One in three personas leans left, one right, one nowhere that is known.
UPDATE personas SET profile = profile || jsonb_build_object('leaning', (ARRAY['left', 'right'])[1 + id % 3]) WHERE id % 3 < 2

-- name: make_played_runs  $1 runs of the feed that are over.
INSERT INTO runs (id, venue, slot, seed, state, turns_total) SELECT n, 'feed', 'bench ' || n, n, 'completed', $2::int FROM generate_series(1, $1::int) n

-- name: make_played_turns  In run $1, a turn of each of $2 personas, with a call and ten of $3 posts that it was shown.
WITH played AS (
    INSERT INTO turns (run_id, persona_id, ordinal, state) SELECT $1::bigint, n, n, 'done' FROM generate_series(1, $2::int) n
    RETURNING id, persona_id
),
asked AS (
    INSERT INTO calls (turn_id, step, status, model, model_returned, options, told, tools_sha256, request_sha256, reply, response,
                       prompt_tokens, completion_tokens, cost_usd, latency_ms)
    SELECT id, 0, 'ok', 'bench', 'bench', '', '', '', '', '', '', 900, 90, 0.001, 200 + persona_id % 800 FROM played
)
INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items)
SELECT id, 0, 0, 'post', 'latest', ARRAY(SELECT 1 + (persona_id * 7919 + $1 * 104729 + k * k * 31) % $3::bigint FROM generate_series(1, 10) k)
FROM played

-- name: make_deeds  The posts, comments and likes of a world as acts of its $1 runs, by turns.
INSERT INTO actions (turn_id, step, ordinal, call_id, name, arguments, effect, outcome, object_id)
SELECT t.id, 0, row_number() OVER (PARTITION BY t.id), '', d.effect, '{}', d.effect, 'made', d.id
FROM (
    SELECT 'post' AS effect, id, author_id AS who FROM posts WHERE id % 10 = 0
    UNION ALL SELECT 'comment', id, author_id FROM comments WHERE id % 10 = 0
    UNION ALL SELECT 'like', id, persona_id FROM likes WHERE id % 10 = 0
) d
JOIN turns t ON t.persona_id = d.who AND t.run_id = 1 + d.id / 10 % $1::int
