-- A session as it is logged: what its members were told, and what models were asked, each in its order.

-- name: session  The room of this key, with its study.
SELECT r.id, r.key, r.run_id, r.arm, r.seed, r.pace::text AS pace, r.state, r.end_reason, r.messages_count, r.created_at, r.started_at,
       r.ended_at, r.erased_at, run.settings::text AS settings, s.id AS study_id, s.name AS study, s.consent, s.design::text AS design,
       s.design_sha256, p.pseudonym
FROM rooms r JOIN runs run ON run.id = r.run_id
LEFT JOIN studies s ON s.id = r.study_id LEFT JOIN participants p ON p.id = r.participant_id
WHERE r.key = $1

-- name: sessions  The keys of a study's sessions, oldest first.
SELECT key FROM rooms WHERE study_id = $1 ORDER BY id

-- name: names  Who is in the room.
SELECT ordinal, name FROM room_members WHERE room_id = $1 ORDER BY ordinal

-- name: told  What the room told, in order.
SELECT e.position, e.kind, e.number, e.member, e.detail::text AS detail, e.at, m.key, m.body, q.key AS reply_key,
       m.quoted_text, m.mentions
FROM room_events e
LEFT JOIN room_messages m ON m.room_id = e.room_id AND m.number = e.number
LEFT JOIN room_messages q ON q.room_id = e.room_id AND q.number = m.reply_to
WHERE e.room_id = $1 AND e.kind IN ('message', 'message_like', 'message_report', 'user_block', 'notice', 'paused', 'resumed', 'extended')
ORDER BY e.position

-- name: asked  What models were asked, as it came to an end; $2: the room is erased.
SELECT c.turn_id, c.step, g.member, g.cause, g.number, c.status, c.detail, c.model, c.model_returned, c.options,
       CASE WHEN NOT $2::bool THEN c.told END AS told, CASE WHEN NOT $2::bool THEN c.reply END AS reply,
       c.request_sha256, c.prompt_tokens, c.completion_tokens, c.cached_tokens, c.cost_usd, c.latency_ms, c.created_at AS at,
       t.next_step
FROM turns t JOIN calls c ON c.turn_id = t.id LEFT JOIN room_goes g ON g.turn_id = t.id
WHERE t.run_id = $1 ORDER BY c.created_at, c.turn_id, c.step

-- name: broken  Turns that failed by themselves, not by a model.
SELECT t.id AS turn_id, g.member, t.reason, coalesce(t.ended_at, t.started_at, now()) AS at
FROM turns t LEFT JOIN room_goes g ON g.turn_id = t.id
WHERE t.run_id = $1 AND t.state = 'failed' AND t.reason LIKE 'internal%' ORDER BY 4, 1
