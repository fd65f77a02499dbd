-- The tables of a world as people read them with Python: whole, oldest first. Times are UTC.

-- name: posts  Posts, reposts (their body is empty) and quotes, with what came of them.
SELECT p.id, p.author_id, a.username AS author, p.title, p.body, p.repost_of, p.quote_of, c.likes_count, c.comments_count,
       c.reposts_count, c.quotes_count, c.dislikes_count, p.hidden, p.created_at
FROM posts p JOIN personas a ON a.id = p.author_id LEFT JOIN post_counts c ON c.post_id = p.id ORDER BY p.id

-- name: comments  Comments; `parent_id` is the comment that one answers, null where it answers the post.
SELECT c.id, c.post_id, c.parent_id, c.author_id, a.username AS author, c.body, c.likes_count, c.hidden, c.created_at
FROM comments c JOIN personas a ON a.id = c.author_id ORDER BY c.id

-- name: likes  Who likes which post.
SELECT id, persona_id, post_id, created_at FROM likes ORDER BY id

-- name: reactions  What else was felt about posts and comments.
SELECT id, persona_id, post_id, comment_id, kind, created_at FROM reactions ORDER BY id

-- name: follows  Ties, from who follows to whom.
SELECT id, follower, followed, created_at FROM follows ORDER BY id

-- name: personas  Members, departed ones too, but none who only plays in rooms; `profile` is JSON.
SELECT id, username, description, bio, profile ->> 'display_name' AS display_name, profile ->> 'leaning' AS leaning, profile, model,
       temperature, activity, status, posts_count, comments_count, followers_count, following_count, created_at, departed_at
FROM personas WHERE status <> 'cast' ORDER BY id

-- name: exposures  One row for each thing that was shown to a persona: the first in a list has rank 1.
SELECT e.turn_id, e.step, e.ordinal, t.run_id, t.persona_id, e.kind, e.ranker, e.version, i.rank::int AS rank, i.item,
       e.scores[i.rank]::float8 AS score, e.reasons[i.rank] AS reason, e.chances[i.rank]::float8 AS chance, e.created_at
FROM exposures e JOIN turns t ON t.id = e.turn_id CROSS JOIN LATERAL unnest(e.items) WITH ORDINALITY AS i (item, rank)
ORDER BY e.turn_id, e.step, e.ordinal, i.rank

-- name: runs  Executions of a venue; `settings` is JSON.
SELECT id, venue, state, reason, seed, settings, turns_total, lost_calls, pacing, world_at, created_at, started_at, ended_at
FROM runs ORDER BY id

-- name: turns  One persona's go in a run.
SELECT id, run_id, persona_id, ordinal, round, state, reason, next_step AS steps, world_at, started_at, ended_at FROM turns ORDER BY id

-- name: calls  What models were asked. `cost_usd` is null where the price is unknown.
SELECT t.run_id, t.persona_id, c.turn_id, c.step, c.status, c.detail, c.model, c.model_returned, c.prompt_tokens,
       c.completion_tokens, c.cached_tokens, c.cost_usd::float8 AS cost_usd, c.latency_ms, c.created_at
FROM calls c JOIN turns t ON t.id = c.turn_id ORDER BY c.turn_id, c.step

-- name: actions  What personas did, in the order in which they asked for it; `arguments` is what the model wrote.
SELECT t.run_id, t.persona_id, a.turn_id, a.step, a.ordinal, a.name, a.arguments, a.effect, a.target_id, a.outcome, a.object_id,
       a.detail, a.before
FROM actions a JOIN turns t ON t.id = a.turn_id ORDER BY a.turn_id, a.step, a.ordinal

-- name: sessions  Dialogues, focus groups, surveys, interviews; `design` and `result` are JSON.
SELECT s.id, s.key, s.kind, s.name, s.seed, s.run_id, r.state, r.reason, s.lines_count, s.asks_count, s.design, s.result, s.created_at,
       s.ended_at
FROM sessions s JOIN runs r ON r.id = s.run_id ORDER BY s.id

-- name: lines  What was said in sessions, in order; `value` is JSON, `missing` why nothing was said.
SELECT l.session_id, s.key AS session, l.number, l.member, m.name AS by, m.persona_id, l.kind, l.round, l.body, l.thought, l.value,
       l.missing, l.at
FROM session_lines l JOIN sessions s ON s.id = l.session_id
LEFT JOIN session_members m ON m.session_id = l.session_id AND m.number = l.member ORDER BY l.session_id, l.number

-- name: trials  Runs of experiments, which lie in the home world; `outcomes` as JSON.
SELECT e.key AS experiment, e.name, t.number, t.variant, t.replicate, t.seed, t.state, t.reason, t.excluded, t.world, t.session,
       t.calls, t.prompt_tokens, t.completion_tokens, t.usd, t.outcomes, t.started_at, t.ended_at
FROM experiment_trials t JOIN experiments e ON e.id = t.experiment_id ORDER BY e.id, t.number
