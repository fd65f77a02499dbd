-- The one statement through which everything a persona does becomes rows.

-- name: alone  Before a block: waits until no commit is under way, and holds off others, so that nobody begins to follow meanwhile.
LOCK TABLE mutes IN SHARE ROW EXCLUSIVE MODE

-- name: commit_steps  Replies, records and effects of many turns' steps at once, each fenced by its turn's epoch and next step.
WITH given AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::bytea[], $11::bytea[], $12::bytea[], $13::bytea[], $14::bytea[], $15::bytea[],
        $16::int[], $17::int[], $18::int[], $19::float8[], $20::int[], $51::timestamptz[]
    ) AS g (
        turn_id, epoch, step, state, reason, status, detail, model, model_returned,
        options, told, tools_sha256, request_sha256, reply, response,
        prompt_tokens, completion_tokens, cached_tokens, cost_usd, latency_ms, at
    )
),
held_turns AS MATERIALIZED (
    SELECT t.id FROM turns t JOIN given g ON g.turn_id = t.id ORDER BY t.id FOR NO KEY UPDATE OF t
),
live AS (
    UPDATE turns t
    SET next_step = t.next_step + 1,
        state = g.state,
        reason = g.reason,
        lease_until = CASE WHEN g.state = 'running' THEN now() + make_interval(secs => $21) END,
        ended_at = CASE WHEN g.state <> 'running' THEN now() END,
        held_tokens = CASE WHEN t.id = ANY ($40::bigint[]) THEN 0 ELSE t.held_tokens END,
        held_usd = CASE WHEN t.id = ANY ($40::bigint[]) THEN 0 ELSE t.held_usd END
    FROM given g JOIN held_turns h ON h.id = g.turn_id
    WHERE t.id = g.turn_id AND t.epoch = g.epoch AND t.next_step = g.step AND t.state = 'running'
    RETURNING t.id AS turn_id, g.step, t.persona_id, t.run_id, coalesce(t.world_at, g.at, now()) AS at
),
new_calls AS (
    INSERT INTO calls (
        turn_id, step, status, detail, model, model_returned, options, told, tools_sha256, request_sha256, reply,
        response, prompt_tokens, completion_tokens, cached_tokens, cost_usd, latency_ms, created_at
    )
    SELECT g.turn_id, g.step, g.status, g.detail, g.model, g.model_returned, g.options, g.told, g.tools_sha256,
           g.request_sha256, g.reply, g.response, g.prompt_tokens, g.completion_tokens, g.cached_tokens,
           g.cost_usd::numeric, g.latency_ms, coalesce(g.at, now())
    FROM given g JOIN live USING (turn_id, step)
),
acted AS MATERIALIZED (
    SELECT a.*,
           CASE WHEN a.made_before IS NOT NULL THEN a.made_before
                WHEN a.effect IN ('post', 'repost', 'quote') THEN nextval('posts_id_seq')
                WHEN a.effect IN ('comment', 'reply') THEN nextval('comments_id_seq')
                WHEN a.effect = 'like' THEN nextval('likes_id_seq')
                WHEN a.effect = 'follow' THEN nextval('follows_id_seq')
                WHEN a.effect = 'report' THEN nextval('reports_id_seq')
                WHEN a.effect IN ('react', 'like_comment') THEN nextval('reactions_id_seq')
                WHEN a.effect IN ('say', 'like_message') THEN nextval('room_drafts_id_seq') END AS new_id
    FROM (
        SELECT u.*, l.persona_id AS actor, l.at FROM unnest(
            $22::bigint[], $23::int[], $24::int[], $25::text[], $26::text[], $27::text[], $28::text[], $29::bigint[],
            $30::text[], $31::text[], $32::text[], $33::text[], $50::bigint[]
        ) AS u (turn_id, step, ordinal, call_id, name, arguments, effect, target_id, title, body, outcome, detail, made_before)
        JOIN live l USING (turn_id, step)
        ORDER BY turn_id, ordinal
    ) a
),
wanted AS MATERIALIZED (SELECT * FROM acted WHERE effect IS NOT NULL),
targets AS MATERIALIZED (
    SELECT false AS is_comment, p.id, p.id AS post_id, coalesce(p.repost_of, p.id) AS root_id, p.author_id,
           (SELECT o.author_id FROM posts o WHERE o.id = p.repost_of) AS behind_id
    FROM posts p
    WHERE NOT p.hidden
      AND p.id IN (
          SELECT target_id FROM wanted WHERE effect IN ('comment', 'like', 'unlike', 'repost', 'report', 'quote', 'react')
      )
    UNION ALL
    SELECT true, k.id, k.post_id, k.post_id, k.author_id, p.author_id
    FROM (SELECT DISTINCT target_id FROM wanted WHERE effect IN ('reply', 'like_comment', 'unlike_comment')) w
    CROSS JOIN LATERAL (SELECT * FROM comments k WHERE k.id = w.target_id AND NOT k.hidden OFFSET 0) k
    CROSS JOIN LATERAL (SELECT author_id FROM posts p WHERE p.id = k.post_id AND NOT p.hidden OFFSET 0) p
),
post_targets AS MATERIALIZED (
    SELECT w.*, CASE WHEN w.effect IN ('repost', 'quote') THEN t.root_id ELSE t.post_id END AS post_id,
           t.author_id = w.actor AS own,
           w.effect NOT IN ('unlike', 'unlike_comment', 'report') AND (
               EXISTS (
                   SELECT FROM mutes m WHERE m.persona_id IN (t.author_id, t.behind_id) AND m.muted_id = w.actor
                      AND (m.block OR w.effect IN ('quote', 'reply')
                           OR (w.effect IN ('comment', 'repost') AND m.persona_id = t.author_id))
               ) OR EXISTS (
                   SELECT FROM mutes m WHERE m.persona_id = w.actor AND m.muted_id IN (t.author_id, t.behind_id) AND m.block
               )
           ) AS barred,
           CASE WHEN w.effect = 'react' THEN (
               SELECT r.id || ' ' || r.kind FROM reactions r WHERE r.post_id = t.post_id AND r.persona_id = w.actor
           ) END AS was
    FROM wanted w
    JOIN targets t ON t.id = w.target_id AND t.is_comment = (w.effect IN ('reply', 'like_comment', 'unlike_comment'))
    WHERE w.effect IN (
        'comment', 'like', 'unlike', 'repost', 'report', 'quote', 'react', 'reply', 'like_comment', 'unlike_comment'
    )
),
person_wishes AS MATERIALIZED (
    SELECT w.*, p.id AS other, p.id = w.actor AS own,
           w.effect = 'follow' AND (
               EXISTS (SELECT FROM mutes m WHERE m.persona_id = p.id AND m.muted_id = w.actor)
               OR EXISTS (SELECT FROM mutes m WHERE m.persona_id = w.actor AND m.muted_id = p.id AND m.block)
           ) AS barred
    FROM wanted w JOIN personas p ON p.id = w.target_id AND (p.status IN ('active', 'paused') OR w.effect = 'unfollow')
    WHERE w.effect IN ('follow', 'unfollow', 'mute', 'block')
),
locked_posts AS MATERIALIZED (
    SELECT c.post_id FROM post_counts c
    WHERE NOT c.hidden AND c.post_id IN (SELECT post_id FROM post_targets)
    ORDER BY c.post_id FOR NO KEY UPDATE
),
post_wishes AS MATERIALIZED (SELECT t.* FROM post_targets t JOIN locked_posts USING (post_id)),
locked_people AS MATERIALIZED (
    SELECT p.id FROM personas p
    WHERE (SELECT count(*) FROM locked_posts) >= 0
      AND p.id IN (
          SELECT actor FROM wanted
          WHERE effect IN ('post', 'repost', 'quote', 'comment', 'reply', 'follow', 'unfollow', 'block', 'bio')
          UNION SELECT other FROM person_wishes WHERE effect IN ('follow', 'unfollow', 'block')
      )
    ORDER BY p.id FOR NO KEY UPDATE
),
made_posts AS (
    INSERT INTO posts (id, author_id, title, body, repost_of, quote_of, created_at)
    SELECT new_id, actor, title, body, NULL, NULL, at FROM wanted WHERE effect = 'post'
    UNION ALL
    SELECT new_id, actor, title, coalesce(body, ''), CASE effect WHEN 'repost' THEN post_id END,
           CASE effect WHEN 'quote' THEN post_id END, at
    FROM post_wishes WHERE (effect = 'quote' OR (effect = 'repost' AND NOT own)) AND NOT barred
    ON CONFLICT (author_id, repost_of) WHERE repost_of IS NOT NULL DO NOTHING
    RETURNING id, author_id, repost_of, quote_of, created_at
),
made_counts AS (INSERT INTO post_counts (post_id, created_at) SELECT id, created_at FROM made_posts),
made_comments AS (
    INSERT INTO comments (id, post_id, author_id, body, parent_id, created_at)
    SELECT new_id, post_id, actor, body, CASE effect WHEN 'reply' THEN target_id END, at
    FROM post_wishes WHERE effect IN ('comment', 'reply') AND NOT barred
    RETURNING id, post_id, author_id
),
made_likes AS (
    INSERT INTO likes (id, post_id, persona_id, created_at)
    SELECT new_id, post_id, actor, at FROM post_wishes WHERE effect = 'like' AND NOT own AND NOT barred ORDER BY post_id, actor
    ON CONFLICT DO NOTHING
    RETURNING id, post_id, persona_id
),
gone_likes AS (
    DELETE FROM likes l USING post_wishes w
    WHERE w.effect = 'unlike' AND l.post_id = w.post_id AND l.persona_id = w.actor
    RETURNING l.id, l.post_id, l.persona_id
),
made_reactions AS (
    INSERT INTO reactions (id, post_id, persona_id, kind, created_at)
    SELECT new_id, post_id, actor, body, at FROM post_wishes WHERE effect = 'react' AND NOT own AND NOT barred ORDER BY post_id, actor
    ON CONFLICT (post_id, persona_id) WHERE post_id IS NOT NULL
    DO UPDATE SET id = excluded.id, kind = excluded.kind, created_at = excluded.created_at
    WHERE reactions.kind <> excluded.kind AND reactions.id || ' ' || reactions.kind = (
        SELECT w.was FROM post_wishes w WHERE w.effect = 'react' AND w.new_id = excluded.id
    )
    RETURNING id, post_id, kind
),
made_comment_likes AS (
    INSERT INTO reactions (id, comment_id, persona_id, kind, created_at)
    SELECT new_id, target_id, actor, 'like', at FROM post_wishes
    WHERE effect = 'like_comment' AND NOT own AND NOT barred ORDER BY target_id, actor
    ON CONFLICT DO NOTHING
    RETURNING id, comment_id
),
gone_comment_likes AS (
    DELETE FROM reactions r USING post_wishes w
    WHERE w.effect = 'unlike_comment' AND r.comment_id = w.target_id AND r.persona_id = w.actor
    RETURNING r.id, r.comment_id, r.persona_id
),
made_reports AS (
    INSERT INTO reports (id, post_id, reporter_id, reason, created_at)
    SELECT new_id, post_id, actor, body, at FROM post_wishes WHERE effect = 'report' AND NOT own
    ON CONFLICT DO NOTHING
    RETURNING id, post_id, reporter_id
),
made_follows AS (
    INSERT INTO follows (id, follower, followed, created_at)
    SELECT new_id, actor, other, at FROM person_wishes WHERE effect = 'follow' AND NOT own AND NOT barred ORDER BY actor, other
    ON CONFLICT DO NOTHING
    RETURNING id, follower, followed
),
gone_follows AS (
    DELETE FROM follows f USING (
        SELECT actor AS follower, other AS followed FROM person_wishes WHERE effect IN ('unfollow', 'block')
        UNION ALL SELECT other, actor FROM person_wishes WHERE effect = 'block'
    ) w
    WHERE f.follower = w.follower AND f.followed = w.followed
    RETURNING f.id, f.follower, f.followed, f.created_at
),
made_mutes AS (
    INSERT INTO mutes (persona_id, muted_id, block, created_at)
    SELECT actor, other, effect = 'block', at FROM person_wishes WHERE effect IN ('mute', 'block') AND NOT own
    ON CONFLICT (persona_id, muted_id) DO UPDATE SET block = true WHERE excluded.block AND NOT mutes.block
    RETURNING persona_id, muted_id
),
room_wishes AS MATERIALIZED (
    SELECT w.*, g.room_id, g.member, r.state = 'running' AS running,
           w.target_id IS NULL OR EXISTS (
               SELECT FROM room_messages m WHERE m.room_id = g.room_id AND m.number = w.target_id
           ) AS found
    FROM wanted w JOIN room_goes g USING (turn_id) JOIN rooms r ON r.id = g.room_id
    WHERE w.effect IN ('say', 'like_message')
),
made_drafts AS (
    INSERT INTO room_drafts (id, room_id, member, turn_id, kind, body, reply_to)
    SELECT new_id, room_id, member, turn_id, effect, coalesce(body, ''), CASE WHEN found THEN target_id::int END FROM room_wishes
    WHERE running AND (found OR effect = 'say')
    RETURNING id
),
new_events AS (
    INSERT INTO events (kind, object_id, persona_id, target_id)
    SELECT 'post', id, author_id, repost_of FROM made_posts
    UNION ALL SELECT 'comment', id, author_id, post_id FROM made_comments
    UNION ALL SELECT 'like', id, persona_id, post_id FROM made_likes
    UNION ALL SELECT 'follow', id, follower, followed FROM made_follows
),
counted_posts AS (
    UPDATE post_counts c
    SET likes_count = c.likes_count + d.likes,
        comments_count = c.comments_count + d.comments,
        reposts_count = c.reposts_count + d.reposts,
        quotes_count = c.quotes_count + d.quotes,
        dislikes_count = c.dislikes_count + d.dislikes
    FROM (
        SELECT post_id, sum(likes) AS likes, sum(comments) AS comments, sum(reposts) AS reposts, sum(quotes) AS quotes,
               sum(dislikes) AS dislikes
        FROM (
            SELECT post_id, 1 AS likes, 0 AS comments, 0 AS reposts, 0 AS quotes, 0 AS dislikes FROM made_likes
            UNION ALL SELECT post_id, -1, 0, 0, 0, 0 FROM gone_likes
            UNION ALL SELECT post_id, 0, 1, 0, 0, 0 FROM made_comments
            UNION ALL SELECT coalesce(repost_of, quote_of), 0, 0, (repost_of IS NOT NULL)::int, (quote_of IS NOT NULL)::int, 0
            FROM made_posts WHERE coalesce(repost_of, quote_of) IS NOT NULL
            UNION ALL SELECT m.post_id, 0, 0, 0, 0, (m.kind = 'dislike')::int - coalesce(w.was LIKE '% dislike', false)::int
            FROM made_reactions m JOIN post_wishes w ON w.effect = 'react' AND w.new_id = m.id
        ) u GROUP BY post_id
    ) d JOIN locked_posts USING (post_id)
    WHERE c.post_id = d.post_id
),
counted_comments AS (
    UPDATE comments c SET likes_count = c.likes_count + d.likes
    FROM (
        SELECT comment_id, sum(likes) AS likes
        FROM (SELECT comment_id, 1 AS likes FROM made_comment_likes UNION ALL SELECT comment_id, -1 FROM gone_comment_likes) u
        GROUP BY comment_id
    ) d
    WHERE c.id = d.comment_id
),
counted_people AS (
    UPDATE personas p
    SET posts_count = p.posts_count + d.posts,
        comments_count = p.comments_count + d.comments,
        followers_count = p.followers_count + d.followers,
        following_count = p.following_count + d.following,
        bio = coalesce(d.bio, p.bio)
    FROM (
        SELECT id, sum(posts) AS posts, sum(comments) AS comments, sum(followers) AS followers,
               sum(following) AS following, max(bio) AS bio
        FROM (
            SELECT author_id AS id, 1 AS posts, 0 AS comments, 0 AS followers, 0 AS following, NULL::text AS bio
            FROM made_posts
            UNION ALL SELECT author_id, 0, 1, 0, 0, NULL FROM made_comments
            UNION ALL SELECT follower, 0, 0, 0, 1, NULL FROM made_follows
            UNION ALL SELECT followed, 0, 0, 1, 0, NULL FROM made_follows
            UNION ALL SELECT follower, 0, 0, 0, -1, NULL FROM gone_follows
            UNION ALL SELECT followed, 0, 0, -1, 0, NULL FROM gone_follows
            UNION ALL SELECT actor, 0, 0, 0, 0, body FROM wanted WHERE effect = 'bio'
        ) u GROUP BY id
    ) d JOIN locked_people USING (id)
    WHERE p.id = d.id
),
outcomes AS MATERIALIZED (
    SELECT w.turn_id, w.step, w.ordinal, 'made' AS outcome,
           CASE WHEN w.effect = 'post' THEN w.new_id ELSE w.actor END AS object_id
    FROM wanted w WHERE w.effect IN ('post', 'bio')
    UNION ALL
    SELECT w.turn_id, w.step, w.ordinal,
           CASE WHEN w.effect IN ('like', 'repost', 'report', 'react', 'like_comment') AND w.own THEN 'not_allowed'
                WHEN w.barred THEN 'not_allowed'
                WHEN coalesce(n.id, gl.id, gk.id) IS NULL THEN 'already'
                ELSE 'made' END,
           coalesce(n.id, gl.id, gk.id)
    FROM post_wishes w
    LEFT JOIN (
        SELECT 'post' AS kind, id FROM made_posts
        UNION ALL SELECT 'comment', id FROM made_comments
        UNION ALL SELECT 'like', id FROM made_likes
        UNION ALL SELECT 'report', id FROM made_reports
        UNION ALL SELECT 'reaction', id FROM made_reactions
        UNION ALL SELECT 'reaction', id FROM made_comment_likes
    ) n ON n.id = w.new_id AND n.kind = CASE
        WHEN w.effect IN ('repost', 'quote') THEN 'post' WHEN w.effect = 'reply' THEN 'comment'
        WHEN w.effect IN ('react', 'like_comment') THEN 'reaction' ELSE w.effect END
    LEFT JOIN gone_likes gl ON w.effect = 'unlike' AND gl.post_id = w.post_id AND gl.persona_id = w.actor
    LEFT JOIN gone_comment_likes gk
        ON w.effect = 'unlike_comment' AND gk.comment_id = w.target_id AND gk.persona_id = w.actor
    UNION ALL
    SELECT w.turn_id, w.step, w.ordinal,
           CASE WHEN w.own AND w.effect <> 'unfollow' THEN 'not_allowed'
                WHEN w.barred THEN 'not_allowed'
                WHEN coalesce(mf.id, gf.id, mm.muted_id) IS NULL THEN 'already'
                ELSE 'made' END,
           coalesce(mf.id, gf.id, mm.muted_id)
    FROM person_wishes w
    LEFT JOIN made_follows mf ON w.effect = 'follow' AND mf.follower = w.actor AND mf.followed = w.other
    LEFT JOIN gone_follows gf ON w.effect = 'unfollow' AND gf.follower = w.actor AND gf.followed = w.other
    LEFT JOIN made_mutes mm ON w.effect IN ('mute', 'block') AND mm.persona_id = w.actor AND mm.muted_id = w.other
    UNION ALL
    SELECT w.turn_id, w.step, w.ordinal,
           CASE WHEN d.id IS NOT NULL THEN 'made' WHEN w.running THEN 'not_found' ELSE 'not_allowed' END, d.id
    FROM room_wishes w LEFT JOIN made_drafts d ON d.id = w.new_id
),
new_actions AS (
    INSERT INTO actions (
        turn_id, step, ordinal, call_id, name, arguments, effect, target_id, outcome, object_id, detail, before
    )
    SELECT a.turn_id, a.step, a.ordinal, a.call_id, a.name, a.arguments, a.effect, a.target_id,
           CASE WHEN a.effect IS NULL THEN a.outcome ELSE coalesce(o.outcome, 'not_found') END, o.object_id, a.detail,
           CASE WHEN a.effect = 'bio' THEN (SELECT p.bio FROM personas p WHERE p.id = a.actor)
                WHEN o.outcome = 'made' AND a.effect = 'react' THEN (
                    SELECT w.was FROM post_wishes w WHERE w.effect = 'react' AND w.new_id = a.new_id
                )
                WHEN o.outcome = 'made' AND a.effect = 'block' THEN (
                    SELECT json_build_object(
                        'muted', EXISTS (SELECT FROM mutes m WHERE m.persona_id = a.actor AND m.muted_id = a.target_id),
                        'follows', coalesce(json_agg(json_build_array(f.id, f.follower, f.followed, f.created_at) ORDER BY f.id), '[]')
                    )::text FROM gone_follows f WHERE (f.follower, f.followed) IN ((a.actor, a.target_id), (a.target_id, a.actor))
                ) END
    FROM acted a LEFT JOIN outcomes o USING (turn_id, step, ordinal)
),
new_exposures AS (
    INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items, version, scores, reasons, chances)
    SELECT e.turn_id, e.step, e.ordinal, e.kind, e.ranker, e.items::bigint[], e.version, e.scores::real[],
           CASE WHEN e.reasons = '[]' THEN '{}' ELSE ARRAY(SELECT json_array_elements_text(e.reasons::json)) END, e.chances::real[]
    FROM unnest(
        $34::bigint[], $35::int[], $36::int[], $37::text[], $38::text[], $39::text[], $46::int[], $47::text[], $48::text[],
        $49::text[]
    ) AS e (turn_id, step, ordinal, kind, ranker, items, version, scores, reasons, chances)
    JOIN live USING (turn_id, step)
),
settled AS MATERIALIZED (
    SELECT b.scope, b.key, b.day, sum(s.held_tokens) AS held_tokens, sum(s.held_usd::numeric(14, 8)) AS held_usd,
           sum(s.tokens) AS tokens, sum(s.usd::numeric(14, 8)) AS usd
    FROM unnest($40::bigint[], $41::bigint[], $42::float8[], $43::date[], $44::bigint[], $45::float8[])
         AS s (turn_id, held_tokens, held_usd, day, tokens, usd)
    JOIN live l USING (turn_id)
    CROSS JOIN LATERAL (
        VALUES ('instance', 0, s.day), ('persona', l.persona_id, s.day), ('run', l.run_id, DATE '1970-01-01')
    ) AS b (scope, key, day)
    GROUP BY 1, 2, 3
),
locked_budgets AS MATERIALIZED (
    SELECT b.scope, b.key, b.day FROM budgets b
    WHERE (SELECT count(*) FROM locked_people) >= 0
      AND (b.scope, b.key, b.day) IN (SELECT scope, key, day FROM settled)
    ORDER BY b.scope, b.key, b.day FOR NO KEY UPDATE
),
settled_budgets AS (
    UPDATE budgets b
    SET spent_tokens = b.spent_tokens + s.tokens,
        spent_usd = b.spent_usd + s.usd,
        held_tokens = greatest(0, b.held_tokens - s.held_tokens),
        held_usd = greatest(0, b.held_usd - s.held_usd)
    FROM settled s JOIN locked_budgets USING (scope, key, day)
    WHERE (b.scope, b.key, b.day) = (s.scope, s.key, s.day)
)
SELECT w.turn_id, w.ordinal, coalesce(o.outcome, 'not_found') AS outcome, o.object_id
FROM wanted w LEFT JOIN outcomes o USING (turn_id, step, ordinal)
UNION ALL
SELECT turn_id, -1, 'live', NULL FROM live
