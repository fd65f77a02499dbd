-- What must hold in every world at every moment. Each statement gives the `id` of what breaks its rule, and nothing in a sound world.

-- name: made_is_there  What an action made is there and its persona's; a like or follow may have been taken back since.
SELECT a.effect || ' of turn ' || a.turn_id || ', step ' || a.step || ', call ' || a.ordinal AS id
FROM actions a
JOIN turns t ON t.id = a.turn_id
LEFT JOIN posts p ON a.effect IN ('post', 'repost', 'quote') AND p.id = a.object_id
LEFT JOIN comments c ON a.effect IN ('comment', 'reply') AND c.id = a.object_id
LEFT JOIN likes l ON a.effect = 'like' AND l.id = a.object_id
LEFT JOIN follows f ON a.effect = 'follow' AND f.id = a.object_id
LEFT JOIN reports r ON a.effect = 'report' AND r.id = a.object_id
LEFT JOIN mutes m ON a.effect IN ('mute', 'block') AND m.persona_id = t.persona_id AND m.muted_id = a.object_id
                 AND (m.block OR a.effect = 'mute')
LEFT JOIN reactions e ON a.effect IN ('react', 'like_comment') AND e.id = a.object_id
WHERE a.outcome = 'made'
  AND a.effect IN ('post', 'repost', 'quote', 'comment', 'reply', 'like', 'follow', 'report', 'mute', 'block', 'react', 'like_comment')
  AND t.persona_id IS DISTINCT FROM
      coalesce(p.author_id, c.author_id, l.persona_id, f.follower, r.reporter_id, m.persona_id, e.persona_id)
  AND NOT (a.effect IN ('like', 'follow', 'like_comment') AND coalesce(l.id, f.id, e.id) IS NULL AND EXISTS (
      SELECT FROM actions u
      WHERE u.outcome = 'made' AND u.effect = 'un' || a.effect AND u.object_id = a.object_id))
  AND NOT (a.effect = 'follow' AND f.id IS NULL AND EXISTS (
      SELECT FROM actions u CROSS JOIN LATERAL jsonb_array_elements(u.before::jsonb -> 'follows') AS e (was)
      WHERE u.outcome = 'made' AND u.effect = 'block' AND (e.was ->> 0)::bigint = a.object_id))
  AND NOT (a.effect = 'react' AND e.id IS NULL AND EXISTS (
      SELECT FROM actions u
      WHERE u.outcome = 'made' AND u.effect = 'react' AND u.target_id = a.target_id
        AND split_part(u.before, ' ', 1) = a.object_id::text))

-- name: made_once  No two actions made, or undid, the same thing.
SELECT kind || ' ' || object_id AS id
FROM (
    SELECT CASE WHEN effect IN ('repost', 'quote') THEN 'post' WHEN effect = 'reply' THEN 'comment'
                WHEN effect IN ('react', 'like_comment') THEN 'reaction' ELSE effect END AS kind, object_id
    FROM actions
    WHERE outcome = 'made' AND effect IN (
        'post', 'repost', 'quote', 'comment', 'reply', 'like', 'unlike', 'follow', 'unfollow', 'report', 'react', 'like_comment',
        'unlike_comment'
    )
    UNION ALL
    SELECT a.effect || ' by ' || t.persona_id || ' of', a.object_id FROM actions a JOIN turns t ON t.id = a.turn_id
    WHERE a.outcome = 'made' AND a.effect IN ('mute', 'block')
) made
GROUP BY kind, object_id HAVING count(*) > 1

-- name: made_by_an_action  What came to be while its persona had a turn under way came from an action; the rest was imported.
WITH unclaimed AS (
    SELECT 'post' AS kind, id, author_id AS persona_id, created_at FROM posts p
    WHERE p.id NOT IN (SELECT (v.outcome ->> 'post_id')::bigint FROM interventions v
                       WHERE v.kind = 'post' AND v.state = 'done' AND v.outcome ? 'post_id')
      AND NOT EXISTS (SELECT FROM actions a WHERE a.outcome = 'made' AND a.effect = 'post' AND a.object_id = p.id)
      AND NOT EXISTS (SELECT FROM actions a WHERE a.outcome = 'made' AND a.effect IN ('repost', 'quote') AND a.object_id = p.id)
    UNION ALL
    SELECT 'comment', id, author_id, created_at FROM comments c
    WHERE NOT EXISTS (SELECT FROM actions a WHERE a.outcome = 'made' AND a.effect IN ('comment', 'reply') AND a.object_id = c.id)
    UNION ALL
    SELECT 'like', id, persona_id, created_at FROM likes l
    WHERE NOT EXISTS (SELECT FROM actions a WHERE a.outcome = 'made' AND a.effect = 'like' AND a.object_id = l.id)
    UNION ALL
    SELECT 'follow', id, follower, created_at FROM follows f
    WHERE NOT EXISTS (SELECT FROM actions a WHERE a.outcome = 'made' AND a.effect = 'follow' AND a.object_id = f.id)
    UNION ALL
    SELECT 'report', id, reporter_id, created_at FROM reports r
    WHERE NOT EXISTS (SELECT FROM actions a WHERE a.outcome = 'made' AND a.effect = 'report' AND a.object_id = r.id)
    UNION ALL
    SELECT 'mute by ' || m.persona_id || ' of', m.muted_id, m.persona_id, m.created_at FROM mutes m
    WHERE NOT EXISTS (SELECT FROM actions a JOIN turns t ON t.id = a.turn_id
                      WHERE a.outcome = 'made' AND a.effect IN ('mute', 'block') AND a.object_id = m.muted_id
                        AND t.persona_id = m.persona_id)
    UNION ALL
    SELECT 'reaction', id, persona_id, created_at FROM reactions r
    WHERE NOT EXISTS (
        SELECT FROM actions a WHERE a.outcome = 'made' AND a.effect IN ('react', 'like_comment') AND a.object_id = r.id
    )
),
in_order AS (
    SELECT kind, id, max(until) OVER (PARTITION BY persona_id ORDER BY at, kind NULLS FIRST
                                      ROWS UNBOUNDED PRECEDING) AS until, at
    FROM (
        SELECT kind, id, persona_id, created_at AS at, NULL::timestamptz AS until FROM unclaimed
        WHERE persona_id IN (SELECT persona_id FROM turns)
        UNION ALL
        SELECT NULL, id, persona_id, started_at, coalesce(ended_at, 'infinity') FROM turns WHERE started_at IS NOT NULL
    ) events
)
SELECT kind || ' ' || id AS id FROM in_order WHERE kind IS NOT NULL AND until >= at

-- name: actions_ended  Every action came to one end: an effect made, already so, not found or not allowed; else read, refused, ended.
SELECT 'turn ' || a.turn_id || ', step ' || a.step || ', call ' || a.ordinal AS id
FROM actions a JOIN calls c USING (turn_id, step)
WHERE (a.effect IS NULL) <> (a.outcome IN ('read', 'refused', 'ended'))
   OR (a.outcome = 'made') <> (a.object_id IS NOT NULL)
   OR c.status <> 'ok'

-- name: steps_whole  A turn's model calls are numbered 0 to its next step, without a gap.
SELECT 'turn ' || t.id AS id
FROM turns t
LEFT JOIN (SELECT turn_id, count(*) AS n, min(step) AS low, max(step) AS high FROM calls GROUP BY 1) c
     ON c.turn_id = t.id
WHERE coalesce(c.n, 0) <> t.next_step OR coalesce(c.low, 0) <> 0 OR coalesce(c.high + 1, 0) <> t.next_step

-- name: turn_states  A turn has an end exactly when it is over, and a lease at most while it runs.
SELECT 'turn ' || id AS id
FROM turns
WHERE (state IN ('queued', 'running') AND ended_at IS NOT NULL)
   OR (state IN ('done', 'limit', 'refused', 'failed') AND ended_at IS NULL)
   OR (state <> 'running' AND lease_until IS NOT NULL)
   OR (state IN ('done', 'refused') AND next_step = 0)

-- name: run_states  A run has the turns it says, and none of them is open once it is over.
SELECT 'run ' || r.id AS id
FROM runs r
LEFT JOIN (SELECT run_id, count(*) AS n, count(*) FILTER (WHERE state IN ('queued', 'running')) AS open
           FROM turns GROUP BY 1) t ON t.run_id = r.id
WHERE r.turns_total <> coalesce(t.n, 0)
   OR (r.state IN ('completed', 'partial', 'failed') AND r.ended_at IS NULL)
   OR (r.state IN ('completed', 'partial') AND coalesce(t.open, 0) > 0)
   OR (r.state IN ('queued', 'running') AND r.ended_at IS NOT NULL)

-- name: post_counts  A post's counters equal their recounts.
SELECT 'post ' || coalesce(p.id, c.post_id) AS id
FROM posts p
FULL JOIN post_counts c ON c.post_id = p.id
LEFT JOIN (SELECT post_id, count(*) AS n FROM likes GROUP BY 1) l ON l.post_id = p.id
LEFT JOIN (SELECT post_id, count(*) AS n FROM comments GROUP BY 1) k ON k.post_id = p.id
LEFT JOIN (SELECT repost_of, count(*) AS n FROM posts WHERE repost_of IS NOT NULL GROUP BY 1) r ON r.repost_of = p.id
LEFT JOIN (SELECT quote_of, count(*) AS n FROM posts WHERE quote_of IS NOT NULL GROUP BY 1) q ON q.quote_of = p.id
LEFT JOIN (SELECT post_id, count(*) AS n FROM reactions WHERE kind = 'dislike' GROUP BY 1) d ON d.post_id = p.id
WHERE (c.likes_count, c.comments_count, c.reposts_count, c.quotes_count, c.dislikes_count) IS DISTINCT FROM (
    coalesce(l.n, 0)::int, coalesce(k.n, 0)::int, coalesce(r.n, 0)::int, coalesce(q.n, 0)::int, coalesce(d.n, 0)::int)

-- name: comment_counts  A comment's likes equal their recount.
SELECT 'comment ' || c.id AS id
FROM comments c
LEFT JOIN (SELECT comment_id, count(*) AS n FROM reactions WHERE comment_id IS NOT NULL GROUP BY 1) l ON l.comment_id = c.id
WHERE c.likes_count IS DISTINCT FROM coalesce(l.n, 0)::int

-- name: replies_beneath  A reply stands under the same post as what it answers, and came later.
SELECT 'comment ' || c.id AS id FROM comments c JOIN comments p ON p.id = c.parent_id WHERE p.post_id <> c.post_id OR p.id >= c.id

-- name: blocked_apart  Where one blocked the other, neither follows the other.
SELECT 'follow ' || f.id AS id
FROM follows f JOIN mutes m ON m.block AND (m.persona_id, m.muted_id) IN ((f.follower, f.followed), (f.followed, f.follower))

-- name: persona_counts  A persona's counters equal their recounts.
SELECT 'persona ' || p.id AS id
FROM personas p
LEFT JOIN (SELECT author_id AS id, count(*) AS n FROM posts GROUP BY 1) w ON w.id = p.id
LEFT JOIN (SELECT author_id AS id, count(*) AS n FROM comments GROUP BY 1) k ON k.id = p.id
LEFT JOIN (SELECT follower AS id, count(*) AS n FROM follows GROUP BY 1) g ON g.id = p.id
LEFT JOIN (SELECT followed AS id, count(*) AS n FROM follows GROUP BY 1) f ON f.id = p.id
WHERE (p.posts_count, p.comments_count, p.following_count, p.followers_count)
      IS DISTINCT FROM (coalesce(w.n, 0), coalesce(k.n, 0), coalesce(g.n, 0), coalesce(f.n, 0))

-- name: references  Each foreign key with its columns, for the search of rows that point nowhere.
SELECT conname AS name, conrelid::regclass::text AS child, confrelid::regclass::text AS parent,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY k.n) FROM unnest(conkey) WITH ORDINALITY AS k (number, n)
        JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = k.number) AS child_columns,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY k.n) FROM unnest(confkey) WITH ORDINALITY AS k (number, n)
        JOIN pg_attribute a ON a.attrelid = confrelid AND a.attnum = k.number) AS parent_columns
FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY conname

-- name: exposures_of_steps  What was shown was shown before a step that there is.
SELECT 'turn ' || e.turn_id || ', step ' || e.step AS id
FROM exposures e WHERE NOT EXISTS (SELECT FROM calls c WHERE c.turn_id = e.turn_id AND c.step = e.step)

-- name: budgets_held  What a budget holds is what its turns hold for the calls under way, in the scope and day of the budget.
SELECT b.scope || ' ' || b.key || ' of ' || b.day AS id
FROM budgets b
LEFT JOIN (SELECT run_id, sum(held_tokens) AS tokens, sum(held_usd) AS usd FROM turns
           WHERE held_tokens > 0 OR held_usd > 0 GROUP BY 1) r ON b.scope = 'run' AND r.run_id = b.key
LEFT JOIN (SELECT persona_id, held_day, sum(held_tokens) AS tokens, sum(held_usd) AS usd FROM turns
           WHERE held_tokens > 0 OR held_usd > 0 GROUP BY 1, 2) p
     ON b.scope = 'persona' AND p.persona_id = b.key AND p.held_day = b.day
LEFT JOIN (SELECT held_day, sum(held_tokens) AS tokens, sum(held_usd) AS usd FROM turns
           WHERE held_tokens > 0 OR held_usd > 0 GROUP BY 1) i ON b.scope = 'instance' AND i.held_day = b.day
WHERE (b.held_tokens, b.held_usd)
      IS DISTINCT FROM (coalesce(r.tokens, p.tokens, i.tokens, 0)::bigint, coalesce(r.usd, p.usd, i.usd, 0))
   OR b.held_tokens < 0 OR b.held_usd < 0 OR b.spent_tokens < 0 OR b.spent_usd < 0

-- name: turns_held  Only a running turn holds something, and never less than nothing.
SELECT 'turn ' || id AS id
FROM turns
WHERE held_tokens < 0 OR held_usd < 0 OR (state <> 'running' AND (held_tokens > 0 OR held_usd > 0))
   OR ((held_tokens > 0 OR held_usd > 0) AND held_day IS NULL)

-- name: admins_invited  Not more admins than accepted invitations and the first one.
SELECT 'admin ' || id AS id
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM admin) a
WHERE n > (SELECT count(*) FROM admin_invitations WHERE accepted_at IS NOT NULL)
          + (SELECT count(*) FROM instance WHERE bootstrapped_at IS NOT NULL)

-- name: invitations_used_in_time  An accepted invitation was open when it was accepted.
SELECT 'invitation ' || id AS id
FROM admin_invitations
WHERE accepted_at > expires_at OR accepted_at < created_at OR (accepted_at IS NOT NULL AND revoked_at IS NOT NULL)

-- name: interventions_done  What is done, or failed, was so in a run; a post that one made is there and its persona's; none was passed over.
SELECT 'intervention ' || v.id AS id
FROM interventions v
LEFT JOIN posts p ON v.kind = 'post' AND p.id = (v.outcome ->> 'post_id')::bigint
WHERE (v.state IN ('done', 'failed')) <> (v.run_id IS NOT NULL AND v.done_at IS NOT NULL)
   OR (v.kind = 'post' AND v.state = 'done' AND p.author_id IS DISTINCT FROM (v.detail ->> 'persona_id')::bigint)
   OR (v.state = 'planned' AND v.cycle <= (SELECT count(*) FROM runs WHERE venue = 'feed'))

-- name: told_once  Nobody was told the same twice.
SELECT 'intervention ' || i.id || ' to persona ' || t.persona_id AS id
FROM exposures e JOIN turns t ON t.id = e.turn_id CROSS JOIN LATERAL unnest(e.items) AS i (id)
WHERE e.kind = 'message' GROUP BY i.id, t.persona_id HAVING count(*) > 1
