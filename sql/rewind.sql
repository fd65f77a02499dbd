-- Takes back what runs did, in a fork, so that the world is as it was before run $1; the statements in their order, in one transaction.

-- name: doomed  The turns whose doings are taken back, and what came of them.
CREATE TEMPORARY TABLE doomed ON COMMIT DROP AS
SELECT t.id AS turn_id, t.persona_id, t.run_id FROM turns t JOIN runs r ON r.id = t.run_id WHERE r.id >= $1 AND r.venue <> 'chatroom' AND NOT EXISTS (SELECT FROM sessions s WHERE s.run_id = r.id)

-- name: deeds  What they made and undid.
CREATE TEMPORARY TABLE deeds ON COMMIT DROP AS
SELECT a.turn_id, a.step, a.ordinal, d.persona_id, a.effect, a.target_id, a.object_id, a.before, c.created_at
FROM actions a JOIN doomed d USING (turn_id) JOIN calls c USING (turn_id, step)
WHERE a.outcome = 'made' AND a.effect IS NOT NULL

-- name: undone  The interventions with which these cycles began: they are planned again, and what they made will be gone.
CREATE TEMPORARY TABLE undone ON COMMIT DROP AS
SELECT id, kind, detail, outcome FROM interventions WHERE run_id >= $1 AND state = 'done'

-- name: injected  A post that one of them made counts as its persona's deed.
INSERT INTO deeds (turn_id, step, ordinal, persona_id, effect, object_id)
SELECT 0, 0, 0, (detail ->> 'persona_id')::bigint, 'post', (outcome ->> 'post_id')::bigint FROM undone WHERE kind = 'post'

-- name: awake_again  Whom they paused is awake.
UPDATE personas SET status = 'active', paused_by = NULL WHERE status = 'paused' AND paused_by IN (SELECT id FROM undone)

-- name: paused_again  Whom they woke is paused, if that was so before all of them.
UPDATE personas p SET status = 'paused', paused_by = w.paused_by
FROM (
    SELECT g.key::bigint AS paused_by, i.id::bigint AS id
    FROM undone u CROSS JOIN LATERAL jsonb_each(u.outcome -> 'woken') AS g
    CROSS JOIN LATERAL jsonb_array_elements_text(g.value) AS i (id)
    WHERE u.kind = 'resume' AND g.key::bigint NOT IN (SELECT id FROM undone)
) w
WHERE p.id = w.id AND p.status = 'active'

-- name: news_gone  News that they brought.
DELETE FROM news n USING undone u WHERE u.kind = 'news' AND n.id = (u.outcome ->> 'news_id')::bigint

-- name: planned_again  They are planned.
UPDATE interventions SET state = 'planned', run_id = NULL, outcome = '{}', done_at = NULL
WHERE run_id >= $1 AND state IN ('done', 'failed')

-- name: likes_gone  What they liked, whatever became of it.
DELETE FROM likes l USING deeds g WHERE g.effect = 'like' AND l.id = g.object_id

-- name: follows_gone  Whom they followed.
DELETE FROM follows f USING deeds g WHERE g.effect = 'follow' AND f.id = g.object_id

-- name: likes_back  Likes that were taken back are there again, as old as they were.
INSERT INTO likes (id, post_id, persona_id, created_at) OVERRIDING SYSTEM VALUE
SELECT g.object_id, g.target_id, g.persona_id, coalesce(t.world_at, c.created_at, g.created_at)
FROM deeds g
LEFT JOIN actions a ON a.effect = 'like' AND a.outcome = 'made' AND a.object_id = g.object_id
LEFT JOIN calls c ON c.turn_id = a.turn_id AND c.step = a.step LEFT JOIN turns t ON t.id = a.turn_id
WHERE g.effect = 'unlike' AND g.object_id NOT IN (SELECT object_id FROM deeds WHERE effect = 'like')

-- name: follows_back  And follows.
INSERT INTO follows (id, follower, followed, created_at) OVERRIDING SYSTEM VALUE
SELECT g.object_id, g.persona_id, g.target_id, coalesce(t.world_at, c.created_at, g.created_at)
FROM deeds g
LEFT JOIN actions a ON a.effect = 'follow' AND a.outcome = 'made' AND a.object_id = g.object_id
LEFT JOIN calls c ON c.turn_id = a.turn_id AND c.step = a.step LEFT JOIN turns t ON t.id = a.turn_id
WHERE g.effect = 'unfollow' AND g.object_id NOT IN (SELECT object_id FROM deeds WHERE effect = 'follow')

-- name: blocks_gone  Blocks of whom they had muted before are mutes again.
UPDATE mutes m SET block = false FROM deeds g
WHERE g.effect = 'block' AND m.persona_id = g.persona_id AND m.muted_id = g.object_id AND (g.before::jsonb -> 'muted')::boolean

-- name: mutes_gone  Whom they muted, or blocked at once.
DELETE FROM mutes m USING deeds g WHERE m.persona_id = g.persona_id AND m.muted_id = g.object_id
   AND (g.effect = 'mute' OR (g.effect = 'block' AND NOT (g.before::jsonb -> 'muted')::boolean))

-- name: blocked_follows_back  Follows that a block ended are there again, but for those that are taken back themselves.
INSERT INTO follows (id, follower, followed, created_at) OVERRIDING SYSTEM VALUE
SELECT (f.was ->> 0)::bigint, (f.was ->> 1)::bigint, (f.was ->> 2)::bigint, (f.was ->> 3)::timestamptz
FROM deeds g CROSS JOIN LATERAL jsonb_array_elements(g.before::jsonb -> 'follows') AS f (was)
WHERE g.effect = 'block' AND (f.was ->> 0)::bigint NOT IN (SELECT object_id FROM deeds WHERE effect = 'follow')

-- name: reactions_gone  What they felt about posts, and the likes of comments.
DELETE FROM reactions r USING deeds g WHERE g.effect IN ('react', 'like_comment') AND r.id = g.object_id

-- name: reactions_back  What they had felt before the first of it.
INSERT INTO reactions (id, post_id, persona_id, kind, created_at) OVERRIDING SYSTEM VALUE
SELECT b.id, b.target_id, b.persona_id, b.kind, coalesce(t.world_at, c.created_at, b.created_at)
FROM (
    SELECT DISTINCT ON (persona_id, target_id) persona_id, target_id, split_part(before, ' ', 1)::bigint AS id,
           split_part(before, ' ', 2) AS kind, before, created_at
    FROM deeds WHERE effect = 'react' ORDER BY persona_id, target_id, turn_id, step, ordinal
) b
LEFT JOIN actions a ON a.effect = 'react' AND a.outcome = 'made' AND a.object_id = b.id
LEFT JOIN calls c ON c.turn_id = a.turn_id AND c.step = a.step LEFT JOIN turns t ON t.id = a.turn_id
WHERE b.before IS NOT NULL

-- name: comment_likes_back  Likes of comments that were taken back.
INSERT INTO reactions (id, comment_id, persona_id, kind, created_at) OVERRIDING SYSTEM VALUE
SELECT g.object_id, g.target_id, g.persona_id, 'like', coalesce(t.world_at, c.created_at, g.created_at)
FROM deeds g
LEFT JOIN actions a ON a.effect = 'like_comment' AND a.outcome = 'made' AND a.object_id = g.object_id
LEFT JOIN calls c ON c.turn_id = a.turn_id AND c.step = a.step LEFT JOIN turns t ON t.id = a.turn_id
WHERE g.effect = 'unlike_comment' AND g.object_id NOT IN (SELECT object_id FROM deeds WHERE effect = 'like_comment')

-- name: reports_gone  What they reported.
DELETE FROM reports r USING deeds g WHERE g.effect = 'report' AND r.id = g.object_id

-- name: bios_back  Bios are what they were before the first change.
UPDATE personas p SET bio = b.before
FROM (
    SELECT DISTINCT ON (persona_id) persona_id, coalesce(before, '') AS before FROM deeds
    WHERE effect = 'bio' ORDER BY persona_id, turn_id, step, ordinal
) b
WHERE p.id = b.persona_id

-- name: new_posts  The posts that will be gone.
CREATE TEMPORARY TABLE new_posts ON COMMIT DROP AS
SELECT object_id AS id FROM deeds WHERE effect IN ('post', 'repost', 'quote')

-- name: new_comments  And the comments.
CREATE TEMPORARY TABLE new_comments ON COMMIT DROP AS
SELECT object_id AS id FROM deeds WHERE effect IN ('comment', 'reply')
UNION SELECT c.id FROM comments c JOIN new_posts n ON n.id = c.post_id

-- name: verdicts_gone  Quarantines of what will be gone.
WITH RECURSIVE gone AS (
    SELECT q.id FROM quarantines q
    WHERE q.post_id IN (SELECT id FROM new_posts) OR q.comment_id IN (SELECT id FROM new_comments)
       OR q.created_at >= (SELECT started_at FROM runs WHERE id = $1)
    UNION SELECT q.id FROM quarantines q JOIN gone g ON q.cause = g.id
)
DELETE FROM quarantines q USING gone WHERE q.id = gone.id

-- name: verdicts_back  Those that were lifted since are in force again.
UPDATE quarantines SET lifted_at = NULL, lifted_by = NULL, lift_reason = ''
WHERE lifted_at >= (SELECT started_at FROM runs WHERE id = $1)

-- name: marks_gone  What was marked.
DELETE FROM marks m USING doomed d WHERE m.turn_id = d.turn_id

-- name: other_reactions_gone  Reactions to what will be gone, whoever's.
DELETE FROM reactions r WHERE r.post_id IN (SELECT id FROM new_posts) OR r.comment_id IN (SELECT id FROM new_comments)

-- name: comments_gone  Their comments.
DELETE FROM comments c USING new_comments n WHERE c.id = n.id

-- name: other_likes_gone  Likes of posts that will be gone, whoever gave them.
DELETE FROM likes l USING new_posts n WHERE l.post_id = n.id

-- name: other_reports_gone  Reports of them.
DELETE FROM reports r USING new_posts n WHERE r.post_id = n.id

-- name: counts_gone  Their counters.
DELETE FROM post_counts c USING new_posts n WHERE c.post_id = n.id

-- name: posts_gone  Their posts.
DELETE FROM posts p USING new_posts n WHERE p.id = n.id

-- name: memories_back  Memories that were condensed since are live again.
UPDATE memories m SET folded_into = NULL
FROM memories r WHERE m.folded_into = r.id AND r.run_id >= $1

-- name: memories_gone  What is remembered of these runs, down to bonds that they changed: what those were before is not known.
DELETE FROM memories WHERE run_id >= $1 OR turn_id IN (SELECT turn_id FROM doomed)

-- name: exposures_gone  What they were shown.
DELETE FROM exposures e USING doomed d WHERE e.turn_id = d.turn_id

-- name: actions_gone  What they did.
DELETE FROM actions a USING doomed d WHERE a.turn_id = d.turn_id

-- name: calls_gone  What was asked.
DELETE FROM calls c USING doomed d WHERE c.turn_id = d.turn_id

-- name: turns_gone  The turns of later runs; those of run $1 wait again.
DELETE FROM turns t USING doomed d WHERE t.id = d.turn_id AND d.run_id > $1

-- name: runs_gone  Later runs.
DELETE FROM runs r WHERE id > $1 AND venue <> 'chatroom' AND NOT EXISTS (SELECT FROM sessions s WHERE s.run_id = r.id)

-- name: wait_again  The turns of run $1 wait.
UPDATE turns SET state = 'queued', epoch = 0, next_step = 0, lease_until = NULL, reason = NULL, started_at = NULL, ended_at = NULL,
    held_tokens = 0, held_usd = 0, held_day = NULL
WHERE run_id = $1

-- name: run_again  Run $1 is to be played.
UPDATE runs SET state = 'running', reason = NULL, lost_calls = 0, started_at = now(), ended_at = NULL, remembered_at = NULL,
    realism = NULL WHERE id = $1

-- name: recount_posts  Counters are what the rows say.
UPDATE post_counts c SET likes_count = n.likes, comments_count = n.comments, reposts_count = n.reposts,
    quotes_count = n.quotes, dislikes_count = n.dislikes
FROM (
    SELECT p.id,
           (SELECT count(*) FROM likes l WHERE l.post_id = p.id) AS likes,
           (SELECT count(*) FROM comments k WHERE k.post_id = p.id) AS comments,
           (SELECT count(*) FROM posts r WHERE r.repost_of = p.id) AS reposts,
           (SELECT count(*) FROM posts r WHERE r.quote_of = p.id) AS quotes,
           (SELECT count(*) FROM reactions r WHERE r.post_id = p.id AND r.kind = 'dislike') AS dislikes
    FROM posts p
    WHERE p.id IN (SELECT target_id FROM deeds WHERE effect IN ('like', 'unlike', 'comment', 'repost', 'quote', 'react'))
       OR p.id IN (SELECT repost_of FROM posts WHERE id IN (SELECT target_id FROM deeds WHERE effect IN ('repost', 'quote')))
       OR p.id IN (SELECT post_id FROM comments WHERE id IN (SELECT target_id FROM deeds WHERE effect = 'reply'))
) n
WHERE c.post_id = n.id
  AND (c.likes_count, c.comments_count, c.reposts_count, c.quotes_count, c.dislikes_count)
      IS DISTINCT FROM (n.likes, n.comments, n.reposts, n.quotes, n.dislikes)

-- name: recount_comments  Those of comments.
UPDATE comments c SET likes_count = n.likes
FROM (
    SELECT g.target_id AS id, (SELECT count(*) FROM reactions r WHERE r.comment_id = g.target_id) AS likes
    FROM (SELECT DISTINCT target_id FROM deeds WHERE effect IN ('like_comment', 'unlike_comment')) g
) n
WHERE c.id = n.id AND c.likes_count IS DISTINCT FROM n.likes

-- name: recount_people  And those of personas.
UPDATE personas p SET posts_count = n.posts, comments_count = n.comments, followers_count = n.followers, following_count = n.following
FROM (
    SELECT a.id,
           (SELECT count(*) FROM posts x WHERE x.author_id = a.id) AS posts,
           (SELECT count(*) FROM comments x WHERE x.author_id = a.id) AS comments,
           (SELECT count(*) FROM follows x WHERE x.followed = a.id) AS followers,
           (SELECT count(*) FROM follows x WHERE x.follower = a.id) AS following
    FROM personas a
    WHERE a.id IN (SELECT persona_id FROM deeds) OR a.id IN (SELECT target_id FROM deeds WHERE effect IN ('follow', 'unfollow', 'block'))
) n
WHERE p.id = n.id
  AND (p.posts_count, p.comments_count, p.followers_count, p.following_count) IS DISTINCT FROM (n.posts, n.comments, n.followers, n.following)

-- name: posts_hidden  What no quarantine hides any more is seen, and the other way round.
WITH n AS (
    SELECT p.id, EXISTS (SELECT FROM quarantines q WHERE q.lifted_at IS NULL AND q.post_id IN (p.id, p.repost_of)) AS hidden
    FROM posts p WHERE p.hidden OR EXISTS (SELECT FROM quarantines q WHERE q.post_id IN (p.id, p.repost_of))
),
counts AS (UPDATE post_counts c SET hidden = n.hidden FROM n WHERE c.post_id = n.id AND c.hidden <> n.hidden)
UPDATE posts p SET hidden = n.hidden FROM n WHERE p.id = n.id AND p.hidden <> n.hidden

-- name: comments_hidden  The same of comments.
UPDATE comments c SET hidden = n.hidden
FROM (
    SELECT k.id, EXISTS (SELECT FROM quarantines q WHERE q.lifted_at IS NULL AND q.comment_id = k.id) AS hidden
    FROM comments k WHERE k.hidden OR EXISTS (SELECT FROM quarantines q WHERE q.comment_id = k.id)
) n
WHERE c.id = n.id AND c.hidden <> n.hidden

-- name: numbers_back  What is new gets the numbers that were taken back.
SELECT setval('posts_id_seq', greatest(1, max(id)), max(id) IS NOT NULL) FROM posts

-- name: comment_numbers_back  Comments, too.
SELECT setval('comments_id_seq', greatest(1, max(id)), max(id) IS NOT NULL) FROM comments

-- name: news_numbers_back  And news.
SELECT setval('news_id_seq', greatest(1, max(id)), max(id) IS NOT NULL) FROM news
