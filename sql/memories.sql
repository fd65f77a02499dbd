-- What personas remember: written once per run from the ledger's rows, recalled before a turn, folded, forgotten.
-- What others wrote is stored on one line, cut, and without double quotes or look-alikes of quote marks, so that no text
-- can end its own quotation. Nothing here asks what time it is: the world's time is an argument.

-- name: one_at_a_time  Runs become memories one after the other: bonds are sums over all of them.
SELECT pg_advisory_xact_lock(hashtext('simfeed memories'))

-- name: touch  What the turns of run $1 recalled since it was last remembered: when ($2), and how often.
UPDATE memories m SET recalled_at = greatest(m.recalled_at, x.at), recalls = m.recalls + x.times
FROM (
    SELECT u.id, max(coalesce(t.world_at, $2)) AS at, count(*)::int AS times
    FROM runs r JOIN turns t ON t.run_id = r.id
    JOIN exposures e ON e.turn_id = t.id AND e.kind = 'memory' AND e.created_at > coalesce(r.remembered_at, '-infinity')
    CROSS JOIN LATERAL unnest(e.items) AS u (id)
    WHERE r.id = $1 AND r.venue <> 'reflection'
    GROUP BY u.id
) x
WHERE m.id = x.id

-- name: remember  All that run $1 adds to what its personas, and those they met, remember; how many memories, and whose. $2: the world's time, $3: bonds are the run's own, $4: most of a kind for each persona, $5 and $6: words of consent and of dissent.
WITH run AS MATERIALIZED (
    SELECT id, venue, coalesce(remembered_at, '-infinity') AS since FROM runs WHERE id = $1 FOR NO KEY UPDATE
),
marked AS (UPDATE runs r SET remembered_at = now() FROM run WHERE r.id = run.id),
acts AS MATERIALIZED (
    SELECT a.effect, a.target_id, a.object_id, t.id AS turn_id, t.persona_id AS actor, p.username AS actor_name,
           coalesce(t.world_at, $2) AS at, t.ordinal * 1000000::bigint + a.step * 1000 + a.ordinal AS place
    FROM run r
    JOIN turns t ON t.run_id = r.id
    JOIN calls c ON c.turn_id = t.id AND c.created_at > r.since
    JOIN actions a ON a.turn_id = c.turn_id AND a.step = c.step
    JOIN personas p ON p.id = t.persona_id
    WHERE a.outcome = 'made'
      AND a.effect IN (
          'post', 'comment', 'like', 'repost', 'report', 'quote', 'reply', 'like_comment', 'react', 'follow', 'unfollow', 'mute', 'block'
      )
),
told AS MATERIALIZED (
    SELECT a.*, w.words, w.tone, o.id AS post_id, o.author_id AS other, o.said,
           a.effect AS object, NULL AS felt,
           CASE WHEN a.effect IN ('comment', 'quote') THEN a.object_id ELSE o.id END AS thing
    FROM acts a
    JOIN LATERAL (
        SELECT coalesce(g.repost_of, g.id) AS id FROM posts g
        WHERE g.id = CASE WHEN a.effect = 'post' THEN a.object_id ELSE a.target_id END
    ) g ON true
    JOIN LATERAL (
        SELECT q.id, q.author_id, q.body AS said FROM posts q WHERE q.id = g.id AND NOT q.hidden
    ) o ON true
    LEFT JOIN LATERAL (
        SELECT body, hidden FROM comments c WHERE a.effect = 'comment' AND c.id = a.object_id
        UNION ALL SELECT body, hidden FROM posts c WHERE a.effect = 'quote' AND c.id = a.object_id
    ) k ON true
    CROSS JOIN LATERAL (
        SELECT f.words, CASE WHEN f.cons > f.pros THEN -1 WHEN f.pros > f.cons THEN 1 ELSE 0 END AS tone
        FROM (
            SELECT coalesce(k.body, CASE WHEN a.effect = 'post' THEN o.said END) AS words,
                   count(*) FILTER (WHERE s.word = ANY ($5::text[])) AS pros,
                   count(*) FILTER (WHERE s.word = ANY ($6::text[])) AS cons
            FROM unnest(tsvector_to_array(to_tsvector('simple', coalesce(k.body, CASE WHEN a.effect = 'post' THEN o.said END, '')))) AS s (word)
        ) f
    ) w
    WHERE a.effect IN ('post', 'comment', 'like', 'repost', 'report', 'quote') AND NOT coalesce(k.hidden, false)
    UNION ALL
    SELECT a.*, k.body, CASE WHEN f.cons > f.pros THEN -1 WHEN f.pros > f.cons THEN 1 ELSE 0 END, p.id, c.author_id, c.body,
           'comment', NULL, coalesce(k.id, c.id)
    FROM acts a
    JOIN comments c ON c.id = a.target_id AND NOT c.hidden
    JOIN posts p ON p.id = c.post_id AND NOT p.hidden
    LEFT JOIN comments k ON a.effect = 'reply' AND k.id = a.object_id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE s.word = ANY ($5::text[])) AS pros, count(*) FILTER (WHERE s.word = ANY ($6::text[])) AS cons
        FROM unnest(tsvector_to_array(to_tsvector('simple', coalesce(k.body, '')))) AS s (word)
    ) f
    WHERE a.effect IN ('reply', 'like_comment') AND NOT coalesce(k.hidden, false)
    UNION ALL
    SELECT a.*, NULL, CASE r.kind WHEN 'love' THEN 1 WHEN 'laugh' THEN 1 WHEN 'sad' THEN 0 ELSE -1 END, p.id, p.author_id, p.body,
           'react', r.kind, p.id
    FROM acts a
    JOIN reactions r ON r.id = a.object_id
    JOIN posts g ON g.id = a.target_id
    JOIN posts p ON p.id = coalesce(g.repost_of, g.id) AND NOT p.hidden
    WHERE a.effect = 'react'
    UNION ALL
    SELECT a.*, NULL, 0, NULL, a.target_id, NULL, a.effect, NULL, a.target_id
    FROM acts a WHERE a.effect IN ('follow', 'unfollow', 'mute', 'block')
),
named AS MATERIALIZED (
    SELECT t.*, n.username AS other_name, t.other = t.actor AS own,
           translate(left(regexp_replace(t.words, '\s+', ' ', 'g'), 110), '"⟦⟧', '''[]') AS quoted,
           translate(left(regexp_replace(t.said, '\s+', ' ', 'g'), 70), '"⟦⟧', '''[]') AS about_what
    FROM told t JOIN personas n ON n.id = t.other
),
spoken_to AS MATERIALIZED (
    SELECT n.*, p.id AS who
    FROM named n
    CROSS JOIN LATERAL (
        SELECT DISTINCT lower(rtrim(f.name[1], '.-_')) AS handle
        FROM regexp_matches(left(n.words, 1000), '@([A-Za-z0-9_.-]{1,40})', 'g') AS f (name) LIMIT 3
    ) h
    JOIN personas p ON lower(p.username) = h.handle AND p.status IN ('active', 'paused')
    WHERE p.id <> n.actor AND (p.id <> n.other OR n.own)
),
own_acts AS (
    SELECT actor AS persona_id, 'did' AS kind, CASE WHEN own THEN NULL ELSE other END AS about,
           CASE effect
               WHEN 'post' THEN format('You posted: "%s"', quoted)
               WHEN 'comment' THEN format(
                   CASE WHEN own THEN 'Under your own post "%2$s" you wrote: "%3$s"'
                        WHEN tone < 0 THEN 'You disagreed with @%1$s, who had posted "%2$s": "%3$s"'
                        ELSE 'You answered @%1$s, who had posted "%2$s": "%3$s"' END, other_name, about_what, quoted)
               WHEN 'like' THEN format('You liked what @%s posted: "%s"', other_name, about_what)
               WHEN 'repost' THEN format('You shared what @%s posted: "%s"', other_name, about_what)
               WHEN 'report' THEN format('You reported what @%s posted: "%s"', other_name, about_what)
               WHEN 'quote' THEN format(
                   CASE WHEN own THEN 'You quoted your own post "%2$s": "%3$s"'
                        WHEN tone < 0 THEN 'You disagreed with @%1$s, whose post "%2$s" you quoted: "%3$s"'
                        ELSE 'You quoted @%1$s, who had posted "%2$s": "%3$s"' END, other_name, about_what, quoted)
               WHEN 'reply' THEN format(
                   CASE WHEN own THEN 'To your own comment "%2$s" you added: "%3$s"'
                        WHEN tone < 0 THEN 'You disagreed with @%1$s, who had commented "%2$s": "%3$s"'
                        ELSE 'You replied to @%1$s, who had commented "%2$s": "%3$s"' END, other_name, about_what, quoted)
               WHEN 'like_comment' THEN format('You liked what @%s commented: "%s"', other_name, about_what)
               WHEN 'react' THEN format('What @%s posted made you feel %s: "%s"', other_name, felt, about_what)
               WHEN 'block' THEN format('You blocked @%s', other_name)
               WHEN 'follow' THEN format('You began to follow @%s', other_name)
               WHEN 'unfollow' THEN format('You stopped following @%s', other_name)
               ELSE format('You muted @%s', other_name) END AS body,
           CASE effect WHEN 'post' THEN 0.3 WHEN 'comment' THEN 0.35 - 0.2 * least(tone, 0) WHEN 'like' THEN 0.1
                       WHEN 'quote' THEN 0.35 - 0.2 * least(tone, 0) WHEN 'reply' THEN 0.35 - 0.2 * least(tone, 0)
                       WHEN 'like_comment' THEN 0.1 WHEN 'react' THEN 0.15 WHEN 'block' THEN 0.8
                       WHEN 'repost' THEN 0.25 WHEN 'report' THEN 0.6 WHEN 'follow' THEN 0.3 WHEN 'unfollow' THEN 0.5
                       ELSE 0.7 END AS importance,
           turn_id, object, thing, at, place
    FROM named
),
others_acts AS (
    SELECT other AS persona_id, 'done_to' AS kind, actor AS about,
           CASE effect
               WHEN 'comment' THEN format(
                   CASE WHEN tone < 0 THEN '@%s disagreed with you about your post "%s": "%s"'
                        ELSE '@%s answered your post "%s": "%s"' END, actor_name, about_what, quoted)
               WHEN 'repost' THEN format('@%s shared your post "%s"', actor_name, about_what)
               WHEN 'quote' THEN format(
                   CASE WHEN tone < 0 THEN '@%s quoted your post "%s", and disagreed: "%s"'
                        ELSE '@%s quoted your post "%s": "%s"' END, actor_name, about_what, quoted)
               WHEN 'reply' THEN format(
                   CASE WHEN tone < 0 THEN '@%s disagreed with you about your comment "%s": "%s"'
                        ELSE '@%s replied to your comment "%s": "%s"' END, actor_name, about_what, quoted)
               WHEN 'like_comment' THEN format('@%s liked your comment "%s"', actor_name, about_what)
               WHEN 'follow' THEN format('@%s began to follow you', actor_name)
               ELSE format('@%s stopped following you', actor_name) END AS body,
           CASE WHEN effect = 'like_comment' THEN 0.15
                WHEN effect IN ('comment', 'quote', 'reply') THEN 0.45 + CASE WHEN tone < 0 THEN 0.25 WHEN tone > 0 THEN 0.05 ELSE 0 END
                WHEN effect = 'unfollow' THEN 0.6 ELSE 0.4 END AS importance,
           turn_id, object,
           CASE WHEN effect IN ('follow', 'unfollow') THEN actor WHEN effect = 'repost' THEN object_id ELSE thing END AS thing,
           at, place
    FROM named WHERE NOT own AND effect IN ('comment', 'repost', 'quote', 'reply', 'like_comment', 'follow', 'unfollow')
    UNION ALL
    SELECT other, 'done_to', CASE WHEN count(*) = 1 THEN min(actor) END,
           format('%s%s liked your post "%s"', '@' || min(actor_name),
                  CASE WHEN count(*) > 1 THEN format(' and %s more', count(*) - 1) ELSE '' END, min(about_what)),
           least(0.4, 0.15 + 0.1 * ln(count(*))), min(turn_id), 'like', thing, min(at), min(place)
    FROM named WHERE NOT own AND effect = 'like' GROUP BY other, thing
    UNION ALL
    SELECT who, 'done_to', actor,
           format(CASE WHEN tone < 0 THEN '@%s wrote to you, and disagreed: "%s"' ELSE '@%s wrote to you: "%s"' END, actor_name, quoted),
           CASE WHEN tone < 0 THEN 0.7 ELSE 0.45 END, turn_id, object, thing, at, place
    FROM spoken_to
),
new AS MATERIALIZED (
    SELECT * FROM (
        SELECT u.*, row_number() OVER (PARTITION BY u.persona_id, u.kind ORDER BY u.importance DESC, u.place DESC, u.about) AS nth
        FROM (SELECT * FROM own_acts UNION ALL SELECT * FROM others_acts) u
        WHERE u.kind = 'did'
           OR NOT (EXISTS (SELECT FROM mutes m WHERE m.persona_id = u.persona_id AND m.muted_id = u.about)
                   OR EXISTS (SELECT FROM mutes m WHERE m.persona_id = u.about AND m.muted_id = u.persona_id AND m.block))
    ) ranked WHERE nth <= $4
),
made AS (
    INSERT INTO memories (persona_id, kind, about, body, importance, venue, run_id, turn_id, object_kind, object_id, at)
    SELECT n.persona_id, n.kind, n.about, n.body, n.importance, r.venue, r.id, n.turn_id, n.object, n.thing, n.at
    FROM new n CROSS JOIN run r ORDER BY n.persona_id, n.kind, n.place, n.about
    ON CONFLICT (persona_id, kind, object_kind, object_id, run_id) WHERE kind IN ('did', 'done_to') DO NOTHING
    RETURNING persona_id
),
signals AS (
    SELECT actor, other, turn_id, at,
           CASE effect WHEN 'like' THEN 1 WHEN 'like_comment' THEN 1 WHEN 'repost' THEN 2 WHEN 'follow' THEN 3
                       WHEN 'react' THEN greatest(tone, 0) ELSE 2 * greatest(tone, 0) END AS warm,
           CASE effect WHEN 'unfollow' THEN 3 WHEN 'report' THEN 4 WHEN 'mute' THEN 5 WHEN 'block' THEN 8
                       WHEN 'react' THEN -least(tone, 0) ELSE -2 * least(tone, 0) END AS cold,
           effect IN ('mute', 'report', 'block', 'react') AS secret
    FROM named WHERE NOT own
    UNION ALL
    SELECT actor, who, turn_id, at, 2 * greatest(tone, 0), -2 * least(tone, 0), false FROM spoken_to
),
met AS (
    SELECT persona_id, about, max(turn_id) AS turn_id, max(at) AS at,
           ARRAY[sum(mine), sum(theirs), sum(warm), sum(cold)]::int[] AS counts
    FROM (
        SELECT actor AS persona_id, other AS about, turn_id, at, 1 AS mine, 0 AS theirs, warm, cold FROM signals
        UNION ALL
        SELECT other, actor, turn_id, at, 0, 1, warm, cold FROM signals WHERE NOT secret
    ) s
    GROUP BY persona_id, about
),
summed AS (
    SELECT m.persona_id, m.about, m.turn_id, m.at, c.counts
    FROM met m
    LEFT JOIN memories b ON b.kind = 'bond' AND b.persona_id = m.persona_id AND b.about = m.about
        AND b.run_id IS NOT DISTINCT FROM CASE WHEN $3 THEN $1::bigint END
    CROSS JOIN LATERAL (
        SELECT ARRAY(
            SELECT coalesce(o.n, 0) + m.counts[i] FROM generate_series(1, 4) i
            CROSS JOIN LATERAL (SELECT b.counts[i] AS n) o ORDER BY i
        ) AS counts
    ) c
),
bonds AS (
    INSERT INTO memories (persona_id, kind, about, body, importance, venue, run_id, turn_id, counts, at)
    SELECT s.persona_id, 'bond', s.about,
           format('%s @%s: you turned to them %s times, they to you %s times (for %s, against %s)',
                  CASE WHEN v.strength <= -0.4 THEN 'You quarrel with' WHEN v.strength <= -0.15 THEN 'You are at odds with'
                       WHEN v.strength < 0.15 THEN 'You know' WHEN v.strength < 0.4 THEN 'You get on with'
                       ELSE 'You like' END,
                  p.username, s.counts[1], s.counts[2], s.counts[3], s.counts[4]),
           0.2 + 0.6 * abs(v.strength) + 0.2 * v.times / (v.times + 10), r.venue, CASE WHEN $3 THEN $1::bigint END, s.turn_id, s.counts, s.at
    FROM summed s JOIN personas p ON p.id = s.about CROSS JOIN run r
    CROSS JOIN LATERAL (SELECT (s.counts[3] - s.counts[4])::float8 / (s.counts[3] + s.counts[4] + 4) AS strength, (s.counts[1] + s.counts[2])::float8 AS times) v
    ORDER BY s.persona_id, s.about
    ON CONFLICT (persona_id, about, run_id) WHERE kind = 'bond'
    DO UPDATE SET body = excluded.body, importance = excluded.importance, venue = excluded.venue,
                  turn_id = excluded.turn_id, counts = excluded.counts, at = excluded.at
    RETURNING persona_id
)
SELECT (SELECT count(*) FROM made)::int AS made,
       ARRAY(SELECT persona_id FROM made UNION SELECT persona_id FROM bonds ORDER BY 1) AS whose

-- name: trim  The least important memories of personas $1 beyond $2 each are forgotten, with what they had folded; what was given stays, and a third of the room is for bonds. How many.
WITH gone AS MATERIALIZED (
    SELECT id FROM (
        SELECT r.id, r.kind, row_number() OVER (
            PARTITION BY r.persona_id
            ORDER BY r.kind = 'given' DESC, r.kind = 'bond' AND r.place <= $2::int / 3 DESC, r.importance DESC, r.at DESC, r.id DESC
        ) AS nth
        FROM (
            SELECT m.id, m.persona_id, m.kind, m.importance, m.at, row_number() OVER (
                PARTITION BY m.persona_id, m.kind ORDER BY m.importance DESC, m.at DESC, m.id DESC
            ) AS place
            FROM memories m WHERE m.persona_id = ANY ($1::bigint[]) AND m.folded_into IS NULL
        ) r
    ) ranked WHERE nth > $2 AND kind <> 'given'
),
forgotten AS (
    DELETE FROM memories m WHERE m.id IN (SELECT id FROM gone UNION ALL SELECT f.id FROM memories f JOIN gone ON f.folded_into = gone.id)
    RETURNING m.folded_into
)
SELECT count(*)::int FROM forgotten WHERE folded_into IS NULL

-- name: left_over  Runs of venue $1 before $2, of the last $3, that are at an end and were to be remembered ($4: unless they say otherwise), but are not, or not wholly.
SELECT r.id FROM runs r
WHERE r.id BETWEEN $2::bigint - $3::int AND $2::bigint - 1 AND r.venue = $1
  AND coalesce(r.settings ->> 'memory', CASE WHEN $4 THEN 'on' ELSE 'off' END) = 'on'
  AND NOT EXISTS (SELECT FROM turns t WHERE t.run_id = r.id AND t.state IN ('queued', 'running'))
  AND EXISTS (SELECT FROM turns t WHERE t.run_id = r.id AND t.ended_at > coalesce(r.remembered_at, '-infinity'))
ORDER BY r.id

-- name: remember_room  That personas sat in the room of run $1 together, who turned to whom and how often; no word of it. $2: the world's time, $3: bonds are the run's own.
WITH run AS MATERIALIZED (
    SELECT r.id, r.venue, o.id AS room_id FROM runs r JOIN rooms o ON o.run_id = r.id
    WHERE r.id = $1 AND r.remembered_at IS NULL AND o.erased_at IS NULL FOR NO KEY UPDATE OF r
),
marked AS (UPDATE runs r SET remembered_at = now() FROM run WHERE r.id = run.id),
members AS MATERIALIZED (
    SELECT w.ordinal, w.persona_id, w.name FROM run JOIN room_members w ON w.room_id = run.room_id
    WHERE w.ordinal > 0 AND w.persona_id IS NOT NULL
),
addressed AS MATERIALIZED (
    SELECT a.persona_id AS actor, b.persona_id AS other, b.name AS other_name, a.name AS actor_name, 0 AS warm
    FROM run
    JOIN room_messages m ON m.room_id = run.room_id
    LEFT JOIN room_messages q ON q.room_id = m.room_id AND q.number = m.reply_to
    JOIN members a ON a.ordinal = m.member
    JOIN members b ON b.ordinal <> a.ordinal AND (b.ordinal = q.member OR b.ordinal = ANY (m.mentions))
    UNION ALL
    SELECT a.persona_id, b.persona_id, b.name, a.name, 1
    FROM run
    JOIN room_reactions x ON x.room_id = run.room_id AND x.kind = 'like'
    JOIN room_messages m ON m.room_id = x.room_id AND m.number = x.number
    JOIN members a ON a.ordinal = x.member
    JOIN members b ON b.ordinal = m.member AND b.ordinal <> a.ordinal
),
new AS (
    SELECT w.persona_id, 'did' AS kind, NULL::bigint AS about,
           format('You sat in a chatroom with %s and wrote %s messages',
                  coalesce((SELECT string_agg('@' || left(o.name, 40), ', ' ORDER BY o.ordinal) FROM members o WHERE o.ordinal <> w.ordinal AND o.ordinal <= 8), 'one person'),
                  (SELECT count(*) FROM room_messages m WHERE m.room_id = run.room_id AND m.member = w.ordinal)) AS body,
           0.35 AS importance, 'room' AS object, run.room_id AS thing
    FROM members w CROSS JOIN run
    UNION ALL
    SELECT other, 'done_to', actor,
           format('@%s turned to you %s times in a chatroom', left(min(actor_name), 40), count(*)), 0.35, 'persona', actor
    FROM addressed GROUP BY other, actor
),
made AS (
    INSERT INTO memories (persona_id, kind, about, body, importance, venue, run_id, object_kind, object_id, at)
    SELECT n.persona_id, n.kind, n.about, translate(n.body, '⟦⟧', '[]'), n.importance, r.venue, r.id, n.object, n.thing, $2
    FROM new n CROSS JOIN run r ORDER BY n.persona_id, n.kind, n.about
    ON CONFLICT (persona_id, kind, object_kind, object_id, run_id) WHERE kind IN ('did', 'done_to') DO NOTHING
    RETURNING persona_id
)
SELECT (SELECT count(*) FROM made)::int AS made, ARRAY(SELECT DISTINCT persona_id FROM made ORDER BY 1) AS whose

-- name: remember_session  That personas took part in the session of run $1, with how many others, and what each said last. $2: the world's time.
WITH run AS MATERIALIZED (
    SELECT r.id, r.venue, s.id AS session_id, s.name FROM runs r JOIN sessions s ON s.run_id = r.id
    WHERE r.id = $1 AND r.remembered_at IS NULL FOR NO KEY UPDATE OF r
),
marked AS (UPDATE runs r SET remembered_at = now() FROM run WHERE r.id = run.id),
new AS (
    SELECT m.persona_id, l.turn_id,
           format('You took part in a %s%s with %s others and said: %s', replace(run.venue, '_', ' '),
                  coalesce(' on ' || nullif(left(run.name, 80), ''), ''),
                  (SELECT count(*) FROM session_members o WHERE o.session_id = run.session_id AND o.number > 0) - 1, left(l.body, 400)) AS body
    FROM run
    JOIN session_members m ON m.session_id = run.session_id AND m.number > 0
    CROSS JOIN LATERAL (
        SELECT turn_id, body FROM session_lines l
        WHERE l.session_id = run.session_id AND l.member = m.number AND l.body <> '' ORDER BY number DESC LIMIT 1
    ) l
),
made AS (
    INSERT INTO memories (persona_id, kind, body, importance, venue, run_id, turn_id, object_kind, object_id, at)
    SELECT n.persona_id, 'did', translate(n.body, '⟦⟧', '[]'), 0.5, r.venue, r.id, n.turn_id, 'session', r.session_id, $2
    FROM new n CROSS JOIN run r ORDER BY n.persona_id
    ON CONFLICT (persona_id, kind, object_kind, object_id, run_id) WHERE kind IN ('did', 'done_to') DO NOTHING
    RETURNING persona_id
)
SELECT (SELECT count(*) FROM made)::int AS made, ARRAY(SELECT DISTINCT persona_id FROM made ORDER BY 1) AS whose

-- name: recall  What each of personas $1 remembers that counts most at time $2: $3 each, of run $4 alone unless null. What is at hand are words $5, or if null the newest posts of others and the persona's interests; $6: words that say nothing; $7 to $9: what recency, importance and relevance weigh; $10: recency an hour later.
WITH newest AS MATERIALIZED (
    SELECT p.id, p.search, a.username FROM posts p JOIN personas a ON a.id = p.author_id
    WHERE $5::text IS NULL AND NOT p.hidden ORDER BY p.id DESC LIMIT 12
),
lately AS MATERIALIZED (
    SELECT string_agg(format('''%s''', word), ' | ') AS words FROM (
        SELECT word, count(*) AS n FROM (
            SELECT w.word FROM newest n, unnest(tsvector_to_array(n.search)) AS w (word) WHERE length(w.word) > 3
            UNION ALL SELECT lower(n.username) FROM newest n
            UNION ALL SELECT w.word FROM unnest(tsvector_to_array(to_tsvector('simple', $5::text))) AS w (word)
        ) u
        WHERE word ~ '^\w{2,40}$' AND word <> ALL ($6::text[])
        GROUP BY word ORDER BY n DESC, length(word) DESC, word LIMIT 20
    ) chosen
)
SELECT whose.persona_id, r.id, r.kind, r.about, r.body, r.importance, r.venue, r.run_id, r.turn_id, r.object_kind, r.object_id,
       r.at, r.recency, r.relevance, r.score
FROM unnest($1::bigint[]) WITH ORDINALITY AS whose (persona_id, nth)
CROSS JOIN LATERAL (
    SELECT string_agg(format('''%s''', w.word), ' | ') AS words
    FROM personas p, unnest(tsvector_to_array(to_tsvector('simple', coalesce(p.profile ->> 'interests', '')))) AS w (word)
    WHERE p.id = whose.persona_id AND $5::text IS NULL AND w.word ~ '^\w{3,30}$' AND w.word <> ALL ($6::text[])
) interests
CROSS JOIN LATERAL (
    SELECT nullif(concat_ws(' | ', (SELECT words FROM lately), interests.words), '')::tsquery AS query OFFSET 0
) q
CROSS JOIN LATERAL (
    SELECT f.*, ($7::float8 * f.recency + $8::float8 * f.importance + $9::float8 * f.relevance) / ($7::float8 + $8::float8 + $9::float8) AS score
    FROM (
        SELECT m.*, power($10::float8, greatest(0, extract(epoch FROM $2::timestamptz - greatest(m.at, m.recalled_at))::float8 / 3600)) AS recency,
               {relevance} AS relevance
        FROM (
            SELECT l.*, CASE WHEN l.search @@ q.query THEN ts_rank(l.search, q.query) ELSE 0 END::float8 AS rank
            FROM memories l
            WHERE l.persona_id = whose.persona_id AND l.folded_into IS NULL AND l.at <= $2::timestamptz
              AND CASE WHEN $4::bigint IS NULL THEN l.kind <> 'bond' OR l.run_id IS NULL ELSE l.run_id = $4 END
        ) m
    ) f
    ORDER BY score DESC, f.at DESC, f.id DESC LIMIT $3::int + 8
) r
WHERE NOT coalesce((SELECT p.hidden FROM posts p WHERE r.object_kind IN ('post', 'like', 'repost', 'report', 'quote', 'react') AND p.id = r.object_id), false)
  AND NOT coalesce((
      SELECT c.hidden OR p.hidden FROM comments c JOIN posts p ON p.id = c.post_id
      WHERE r.object_kind = 'comment' AND c.id = r.object_id
  ), false)
  AND (r.kind <> 'done_to' OR NOT (
      EXISTS (SELECT FROM mutes u WHERE u.persona_id = whose.persona_id AND u.muted_id = r.about)
      OR EXISTS (SELECT FROM mutes u WHERE u.persona_id = r.about AND u.muted_id = whose.persona_id AND u.block)))
ORDER BY whose.persona_id, r.score DESC, r.at DESC, r.id DESC

-- name: relevance_by_words  Set into `recall`: how well it answers to the words, as a share of the persona's best.
coalesce(m.rank / nullif(max(m.rank) OVER (), 0), 0)

-- name: relevance_by_meaning  Set into `recall`: the cosine of its embedding and that of what is at hand, of $12 numbers in the flat array $11.
coalesce(greatest(0, 1 - (m.embedding::vector <=> (($11::real[])[(whose.nth - 1) * $12::int + 1 : whose.nth * $12::int])::vector)), 0)

-- name: unembedded  Live memories of personas $1 that have no embedding yet, $2 of them.
SELECT id, body FROM memories WHERE persona_id = ANY ($1::bigint[]) AND folded_into IS NULL AND embedding IS NULL
ORDER BY id LIMIT $2

-- name: embed  Gives memories $1 their embeddings, from one flat array $2 of $3 numbers each.
UPDATE memories m SET embedding = ($2::real[])[(x.nth - 1) * $3::int + 1 : x.nth * $3::int]
FROM unnest($1::bigint[]) WITH ORDINALITY AS x (id, nth) WHERE m.id = x.id

-- name: at_hand  What is at hand for each of personas $1, as one text: its interests, and the newest posts of others.
SELECT p.id AS persona_id, left(concat_ws(E'\n', p.profile ->> 'interests', (
    SELECT string_agg(n.body, E'\n') FROM (
        SELECT '@' || a.username || ': ' || o.body AS body FROM posts o JOIN personas a ON a.id = o.author_id
        WHERE NOT o.hidden ORDER BY o.id DESC LIMIT 5
    ) n
)), 2000) AS text
FROM personas p WHERE p.id = ANY ($1::bigint[])

-- name: has_vectors  Whether this database has pgvector.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')

-- name: remembered  Memories of persona $1 before ($2, $3), newest first; $5: what reflections hold too.
SELECT m.id, m.kind, m.about, a.username AS about_username, m.body, m.importance, m.venue, m.run_id, m.turn_id, m.object_kind,
       m.object_id, m.sources, m.counts, m.folded_into, m.at, m.recalled_at, m.recalls
FROM memories m LEFT JOIN personas a ON a.id = m.about
WHERE m.persona_id = $1 AND (m.at, m.id) < ($2, $3) AND ($5 OR m.folded_into IS NULL)
ORDER BY m.at DESC, m.id DESC LIMIT $4

-- name: place  Where a memory of persona $1 stands in that order.
SELECT at, id FROM memories WHERE persona_id = $1 AND id = $2

-- name: give  A memory that was put there; no row when the persona has $6 such already.
INSERT INTO memories (persona_id, kind, body, importance, venue, run_id, at)
SELECT $1, 'given', $2, $3, 'given', $5, $4
WHERE (SELECT count(*) FROM memories WHERE persona_id = $1 AND kind = 'given' AND folded_into IS NULL) < $6
RETURNING id

-- name: forget  Forgets memories $2 of persona $1 (null: all), with what they had folded; which.
WITH gone AS MATERIALIZED (
    SELECT id FROM memories WHERE persona_id = $1 AND ($2::bigint[] IS NULL OR id = ANY ($2::bigint[]))
),
forgotten AS (
    DELETE FROM memories m
    WHERE m.id IN (SELECT id FROM gone UNION SELECT f.id FROM memories f JOIN gone ON f.folded_into = gone.id)
    RETURNING m.id
)
SELECT id FROM gone

-- name: weighty  Personas of run $1, and the sum of the importance of what they remember and have not thought about, of run $3 alone unless null, where it is $2 or more and they are at least $4.
SELECT t.persona_id, sum(m.importance)::float8 AS weight
FROM (SELECT DISTINCT persona_id FROM turns WHERE run_id = $1) t
JOIN personas p ON p.id = t.persona_id AND p.status = 'active'
JOIN memories m ON m.persona_id = t.persona_id AND m.folded_into IS NULL AND m.kind IN ('did', 'done_to')
WHERE $3::bigint IS NULL OR m.run_id = $3
GROUP BY t.persona_id HAVING sum(m.importance) >= $2::float8 AND count(*) >= $4 ORDER BY t.persona_id

-- name: to_reflect_on  The oldest memories of each of personas $1 to think about, $2 each, but none of the newest $3; of run $4 alone unless null.
SELECT w.persona_id, o.*
FROM unnest($1::bigint[]) AS w (persona_id)
CROSS JOIN LATERAL (
    SELECT n.id, n.kind, n.about, n.body, n.importance, n.venue, n.run_id, n.turn_id, n.object_kind, n.object_id, n.at
    FROM (
        SELECT m.*, row_number() OVER (ORDER BY m.at DESC, m.id DESC) AS nth FROM memories m
        WHERE m.persona_id = w.persona_id AND m.folded_into IS NULL AND m.kind IN ('did', 'done_to', 'reflection')
          AND ($4::bigint IS NULL OR m.run_id = $4)
    ) n
    WHERE n.nth > $3
      AND NOT coalesce((
          SELECT p.hidden FROM posts p WHERE n.object_kind IN ('post', 'like', 'repost', 'report', 'quote', 'react') AND p.id = n.object_id
      ), false)
      AND NOT coalesce((
          SELECT c.hidden OR p.hidden FROM comments c JOIN posts p ON p.id = c.post_id
          WHERE n.object_kind = 'comment' AND c.id = n.object_id
      ), false)
    ORDER BY n.at, n.id LIMIT $2
) o
ORDER BY w.persona_id, o.at, o.id

-- name: thought  What was answered in reflection $1 and is no memory yet, in the order of its turns.
SELECT t.id AS turn_id, t.persona_id, a.arguments, coalesce(t.world_at, $2) AS at
FROM turns t
JOIN actions a ON a.turn_id = t.id AND a.name = 'reflect' AND a.outcome = 'ended'
WHERE t.run_id = $1 AND NOT EXISTS (SELECT FROM memories m WHERE m.turn_id = t.id AND m.kind = 'reflection')
  AND EXISTS (SELECT FROM exposures e WHERE e.turn_id = t.id AND e.step = 0 AND e.kind = 'memory')
ORDER BY t.ordinal, a.step, a.ordinal

-- name: fold  Reflections of turns $2 of personas $3 with texts $4 at $5, kept under run $1: each holds the memories its turn was shown; what those held is forgotten. How many.
WITH given AS MATERIALIZED (
    SELECT g.*, e.items
    FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[]) WITH ORDINALITY AS g (turn_id, persona_id, body, at, place)
    JOIN exposures e ON e.turn_id = g.turn_id AND e.step = 0 AND e.kind = 'memory'
),
old AS MATERIALIZED (
    SELECT m.id, m.persona_id FROM given g
    JOIN memories m ON m.id = ANY (g.items) AND m.persona_id = g.persona_id AND m.folded_into IS NULL
),
made AS (
    INSERT INTO memories (persona_id, kind, body, importance, venue, run_id, turn_id, sources, at)
    SELECT g.persona_id, 'reflection', g.body, 0.75, 'reflection', $1, g.turn_id, g.items, g.at FROM given g ORDER BY g.place
    RETURNING id, persona_id
),
deeper AS (DELETE FROM memories m USING old WHERE m.folded_into = old.id),
folded AS (
    UPDATE memories m SET folded_into = made.id FROM old JOIN made USING (persona_id) WHERE m.id = old.id RETURNING m.id
)
SELECT count(*)::int FROM made

-- name: unfolded  Reflections of the last $2 runs before $1, at an end, whose answers nobody made memories of.
SELECT r.id, r.world_at, r.settings FROM runs r
WHERE r.id BETWEEN $1::bigint - $2::int AND $1::bigint - 1 AND r.venue = 'reflection'
  AND NOT EXISTS (SELECT FROM turns t WHERE t.run_id = r.id AND t.state IN ('queued', 'running'))
  AND EXISTS (
      SELECT FROM turns t JOIN actions a ON a.turn_id = t.id AND a.name = 'reflect' AND a.outcome = 'ended'
      WHERE t.run_id = r.id AND NOT EXISTS (SELECT FROM memories m WHERE m.turn_id = t.id AND m.kind = 'reflection')
  )
ORDER BY r.id

-- name: echoes  What was written, in the newest $3 turns, to or about somebody of whom its writer ($1, null: anybody) had just recalled what happened $2 cycles before or more; $4: only disagreements; $5 of them, those first that share most words with what was recalled.
SELECT t.id AS turn_id, t.run_id, p.username, o.username AS about, m.id AS memory_id, m.body AS memory, m.run_id AS from_run,
       n.cycles, s.score, a.effect, a.object_id, left(a.said, 500) AS said, w.shared
FROM (SELECT id, run_id, persona_id FROM turns WHERE $1::bigint IS NULL OR persona_id = $1 ORDER BY id DESC LIMIT $3) t
JOIN exposures e ON e.turn_id = t.id AND e.step = 0 AND e.kind = 'memory' AND e.ranker = 'recall'
CROSS JOIN LATERAL unnest(e.items, e.scores) AS s (id, score)
JOIN memories m ON m.id = s.id AND m.kind IN ('did', 'done_to') AND m.run_id < t.run_id
    AND (NOT $4 OR m.body ~ '^(You disagreed with|You reported|@\S+ disagreed with you|@\S+ wrote to you, and disagreed)')
JOIN personas o ON o.id = m.about
JOIN personas p ON p.id = t.persona_id
CROSS JOIN LATERAL (
    SELECT count(*)::int AS cycles FROM runs r WHERE r.id > m.run_id AND r.id <= t.run_id AND r.venue = m.venue
) n
CROSS JOIN LATERAL (
    SELECT k.effect, k.object_id, coalesce(c.body, q.body) AS said
    FROM actions k
    LEFT JOIN posts q ON k.effect IN ('post', 'quote') AND q.id = k.object_id
    LEFT JOIN comments c ON k.effect IN ('comment', 'reply') AND c.id = k.object_id
    WHERE k.turn_id = t.id AND k.outcome = 'made'
) a
CROSS JOIN LATERAL (
    SELECT count(*)::int AS shared FROM unnest(tsvector_to_array(to_tsvector('simple', a.said))) AS x (word)
    WHERE length(x.word) > 3 AND x.word = ANY (tsvector_to_array(m.search)) AND x.word <> lower(o.username)
) w
WHERE n.cycles >= $2 AND position('@' || lower(o.username) IN lower(a.said)) > 0
ORDER BY w.shared DESC, t.id DESC, s.score DESC, a.object_id LIMIT $5
