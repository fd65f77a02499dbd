-- Rooms: timed, driven by whoever holds the lease, told to their members in one order without a gap.
-- Whatever writes locks the room first, by a statement of its own, so that it sees all that was written before. Members are ordinals: the person is 0.

-- name: open_room  A run and its room, waiting for its person. $7: who else is in it, persona by persona (0: nobody's), in order.
WITH opened AS (
    INSERT INTO runs (venue, slot, seed, settings, state, started_at)
    VALUES ('chatroom', 'chatroom/' || $1, $2, $9, 'running', now())
    RETURNING id
),
made AS (
    INSERT INTO rooms (key, run_id, study_id, participant_id, arm, seed, pace, grace_until)
    SELECT $1, id, $3, $4, $5, $2, $6, now() + make_interval(secs => ($6::jsonb ->> 'grace_seconds')::float8) FROM opened
    RETURNING id
),
members AS (
    INSERT INTO room_members (room_id, ordinal, persona_id, name)
    SELECT made.id, m.ordinal - 1, nullif(m.persona_id, 0), m.name
    FROM made, unnest($7::bigint[], $8::text[]) WITH ORDINALITY AS m (persona_id, name, ordinal)
)
SELECT id FROM made

-- name: by_key  A room as its person's socket and the monitor need it.
SELECT r.id, r.key, r.run_id, r.study_id, r.participant_id, r.arm, r.state, r.end_reason, r.pace, r.messages_count,
       r.events_count, r.visits, r.paused_at, r.created_at, r.started_at, r.ends_at, r.ended_at, m.told_up_to,
       i.username, ARRAY(SELECT jsonb_array_elements_text(
           coalesce(nullif(s.design -> 'origins', '[]'), CASE WHEN s.consent = 'external' THEN '["*"]' ELSE '[]' END::jsonb)
       )) AS origins,
       extract(epoch FROM r.ends_at - coalesce(r.paused_at, now()))::float8 AS seconds_left
FROM rooms r
JOIN room_members m ON m.room_id = r.id AND m.ordinal = 0
LEFT JOIN identities i ON i.participant_id = r.participant_id
LEFT JOIN studies s ON s.id = r.study_id
WHERE r.key = $1

-- name: blocked  Whom the person had blocked up to position $2, and when.
SELECT (detail ->> 'blocked')::int AS blocked, at FROM room_events
WHERE room_id = $1 AND kind = 'user_block' AND position <= $2 ORDER BY position

-- name: message  A message by its key, as its person is shown it.
SELECT m.key, m.member, m.body, m.at, q.key AS reply_key, m.quoted_text, m.mentions,
       ARRAY(
           SELECT x.member FROM room_reactions x
           WHERE x.room_id = m.room_id AND x.number = m.number AND x.kind = 'like' ORDER BY x.member
       ) AS liked_by,
       EXISTS (
           SELECT FROM room_reactions x
           WHERE (x.room_id, x.number, x.member, x.kind) = (m.room_id, m.number, 0, 'report')
       ) AS reported
FROM rooms r JOIN room_messages m ON m.room_id = r.id
LEFT JOIN room_messages q ON q.room_id = m.room_id AND q.number = m.reply_to
WHERE r.key = $1 AND m.key = $2

-- name: rename  The person gives a name, if they have none: for their own eyes. Their token, whose hash would be $3, is none.
INSERT INTO identities (participant_id, username)
SELECT r.participant_id, $2 FROM rooms r
WHERE r.key = $1 AND r.participant_id IS NOT NULL AND r.state IN ('waiting', 'running')
  AND NOT EXISTS (
      SELECT FROM participants p JOIN study_tokens t ON t.id = p.token_id WHERE p.id = r.participant_id AND t.sha256 = $3
  )
ON CONFLICT (participant_id) DO UPDATE SET username = $2 WHERE identities.username IS NULL

-- name: lock  Whoever writes in a room comes after all who wrote before.
SELECT id FROM rooms WHERE key = $1 FOR NO KEY UPDATE

-- name: lock_id  The same, by its number.
SELECT id FROM rooms WHERE id = $1 FOR NO KEY UPDATE

-- name: members  Who is in a room, in order.
SELECT ordinal, persona_id, name FROM room_members WHERE room_id = $1 ORDER BY ordinal

-- name: enter  The person connects: the clock starts at the first time, or at $2. No row when the room is at an end.
WITH room AS (
    SELECT id, started_at IS NULL AS fresh FROM rooms WHERE key = $1 AND state IN ('waiting', 'running')
)
UPDATE rooms r
SET state = 'running', visits = r.visits + 1,
    started_at = coalesce(r.started_at, $2, now()),
    ends_at = coalesce(r.ends_at, coalesce($2, now()) + make_interval(secs => 60 * (r.pace ->> 'session_duration_minutes')::float8)),
    grace_until = now() + make_interval(secs => (r.pace ->> 'grace_seconds')::float8)
FROM room WHERE r.id = room.id AND r.state IN ('waiting', 'running')
RETURNING r.id, r.visits, room.fresh

-- name: stay  Their sockets are open: the persons of these rooms are there still. Returns whose visits are over.
WITH here AS (SELECT * FROM unnest($1::bigint[], $2::int[]) AS h (room_id, visit)),
held AS (
    UPDATE rooms r SET grace_until = now() + make_interval(secs => (r.pace ->> 'grace_seconds')::float8)
    FROM here h WHERE r.id = h.room_id AND r.visits = h.visit AND r.state = 'running'
)
SELECT r.id, h.visit FROM rooms r JOIN here h ON h.room_id = r.id WHERE r.visits > h.visit

-- name: attend  They read and write without a socket: nobody can tell that they are gone before the time is up.
UPDATE rooms SET grace_until = greatest(grace_until, ends_at) WHERE key = $1 AND state = 'running' RETURNING id

-- name: told  The person was sent all events up to these positions.
UPDATE room_members m SET told_up_to = greatest(m.told_up_to, t.position)
FROM unnest($1::bigint[], $2::int[]) AS t (room_id, position)
WHERE m.room_id = t.room_id AND m.ordinal = 0

-- name: say  The person's message, at $8 in simulated time; the one that is there already where the client's id was used before. No row: not open.
WITH room AS (
    SELECT id, coalesce($8::timestamptz, now()) AS at FROM rooms
    WHERE key = $1 AND state = 'running' AND paused_at IS NULL AND ends_at > coalesce($8::timestamptz, now())
),
known AS (SELECT m.number, m.key FROM room_messages m JOIN room ON room.id = m.room_id WHERE m.client_id = $7),
counted AS (
    UPDATE rooms r SET messages_count = r.messages_count + 1, events_count = r.events_count + 1
    FROM room WHERE r.id = room.id AND NOT EXISTS (SELECT FROM known)
    RETURNING r.id, r.messages_count, r.events_count, room.at
),
made AS (
    INSERT INTO room_messages (room_id, number, key, member, body, reply_to, quoted_text, mentions, client_id, at)
    SELECT c.id, c.messages_count, $2, 0, $3, q.number, $5, $6::smallint[], $7, c.at
    FROM counted c LEFT JOIN room_messages q ON q.room_id = c.id AND q.key = $4
    RETURNING room_id, number, key
),
told AS (
    INSERT INTO room_events (room_id, position, kind, number, member, at)
    SELECT id, events_count, 'message', messages_count, 0, at FROM counted
)
SELECT number, key, true AS fresh FROM made UNION ALL SELECT number, key, false FROM known

-- name: tell_draft  A member's draft is told, at $6 in simulated time: as a message, or as a like. Nobody answers or likes themselves. No row: it may not be any more.
WITH room AS (
    SELECT id, coalesce($6::timestamptz, now()) AS at FROM rooms
    WHERE id = $1 AND epoch = $2 AND state = 'running' AND paused_at IS NULL AND ends_at > coalesce($6::timestamptz, now())
),
draft AS (
    UPDATE room_drafts d SET state = 'sent', settled_at = room.at FROM room
    WHERE d.id = $3 AND d.room_id = room.id AND d.state = 'typing'
    RETURNING d.room_id, d.member, d.turn_id, d.kind, d.body, d.reply_to, room.at
),
liked AS (
    INSERT INTO room_reactions (room_id, number, member, kind, at)
    SELECT d.room_id, d.reply_to, d.member, 'like', d.at
    FROM draft d JOIN room_messages q ON q.room_id = d.room_id AND q.number = d.reply_to AND q.member <> d.member
    WHERE d.kind = 'like_message'
    ON CONFLICT DO NOTHING
    RETURNING room_id, number, member
),
counted AS (
    UPDATE rooms r
    SET messages_count = r.messages_count + (d.kind = 'say')::int, events_count = r.events_count + 1
    FROM draft d
    WHERE r.id = d.room_id AND (d.kind = 'say' OR EXISTS (SELECT FROM liked))
    RETURNING r.id, r.messages_count, r.events_count
),
made AS (
    INSERT INTO room_messages (room_id, number, key, member, body, reply_to, quoted_text, mentions, turn_id, at)
    SELECT c.id, c.messages_count, $4, d.member, d.body, q.number, left(q.body, 200), $5::smallint[], d.turn_id, d.at
    FROM counted c JOIN draft d ON d.room_id = c.id AND d.kind = 'say'
    LEFT JOIN room_messages q ON q.room_id = c.id AND q.number = d.reply_to AND q.member <> d.member
    RETURNING number
),
told AS (
    INSERT INTO room_events (room_id, position, kind, number, member, at, detail)
    SELECT c.id, c.events_count, CASE WHEN d.kind = 'say' THEN 'message' ELSE 'message_like' END,
           CASE WHEN d.kind = 'say' THEN c.messages_count ELSE d.reply_to END, d.member, d.at,
           CASE WHEN d.kind = 'say' THEN '{}' ELSE jsonb_build_object(
               'action', 'liked',
               'liked_by', (
                   SELECT jsonb_agg(DISTINCT l.member) FROM (
                       SELECT member FROM room_reactions x WHERE x.room_id = c.id AND x.number = d.reply_to AND x.kind = 'like'
                       UNION SELECT d.member
                   ) l
               )
           ) END
    FROM counted c JOIN draft d ON d.room_id = c.id
)
SELECT d.kind, c.messages_count AS number FROM draft d LEFT JOIN counted c ON c.id = d.room_id

-- name: begin_typing  An agent is seen typing.
WITH room AS (SELECT id FROM rooms WHERE id = $1 AND epoch = $2 AND state = 'running'),
counted AS (
    UPDATE rooms r SET events_count = r.events_count + 1 FROM room WHERE r.id = room.id RETURNING r.id, r.events_count
)
INSERT INTO room_events (room_id, position, kind, member) SELECT id, events_count, 'typing', $3 FROM counted RETURNING position

-- name: drop_draft  A draft that will not be told.
UPDATE room_drafts SET state = 'discarded', reason = $3, settled_at = now() WHERE room_id = $1 AND id = $2 AND state = 'typing'

-- name: like  The person likes a message, or doesn't any more. No row: no such message, or the room is at an end.
WITH room AS (SELECT id FROM rooms WHERE key = $1 AND state = 'running'),
message AS (SELECT m.room_id, m.number FROM room_messages m JOIN room ON room.id = m.room_id WHERE m.key = $2),
gone AS (
    DELETE FROM room_reactions x USING message m
    WHERE (x.room_id, x.number, x.member, x.kind) = (m.room_id, m.number, 0, 'like') RETURNING 1
),
made AS (
    INSERT INTO room_reactions (room_id, number, member, kind)
    SELECT room_id, number, 0, 'like' FROM message m
    WHERE NOT EXISTS (
        SELECT FROM room_reactions x WHERE (x.room_id, x.number, x.member, x.kind) = (m.room_id, m.number, 0, 'like')
    )
    RETURNING 1
),
counted AS (
    UPDATE rooms r SET events_count = r.events_count + 1 FROM message WHERE r.id = message.room_id
    RETURNING r.id, r.events_count
),
now_by AS (
    SELECT coalesce(jsonb_agg(member ORDER BY member), '[]') AS liked_by FROM (
        SELECT x.member FROM room_reactions x JOIN message m ON (x.room_id, x.number, x.kind) = (m.room_id, m.number, 'like')
        WHERE x.member <> 0
        UNION ALL SELECT 0 WHERE EXISTS (SELECT FROM made)
    ) l
),
told AS (
    INSERT INTO room_events (room_id, position, kind, number, member, detail)
    SELECT c.id, c.events_count, 'message_like', m.number, 0, jsonb_build_object(
        'action', CASE WHEN EXISTS (SELECT FROM made) THEN 'liked' ELSE 'unliked' END, 'liked_by', n.liked_by
    )
    FROM counted c, message m, now_by n
)
SELECT m.number, EXISTS (SELECT FROM made) AS liked, n.liked_by FROM message m, now_by n

-- name: report  The person reports a message, or takes it back; $4 blocks its sender. No row: no such message of an agent.
WITH room AS (SELECT id FROM rooms WHERE key = $1 AND state = 'running'),
message AS (
    SELECT m.room_id, m.number, m.member FROM room_messages m JOIN room ON room.id = m.room_id
    WHERE m.key = $2 AND m.member <> 0
),
gone AS (
    DELETE FROM room_reactions x USING message m
    WHERE (x.room_id, x.number, x.member, x.kind) = (m.room_id, m.number, 0, 'report') RETURNING 1
),
made AS (
    INSERT INTO room_reactions (room_id, number, member, kind, reason)
    SELECT room_id, number, 0, 'report', $3 FROM message m
    WHERE NOT EXISTS (
        SELECT FROM room_reactions x WHERE (x.room_id, x.number, x.member, x.kind) = (m.room_id, m.number, 0, 'report')
    )
    RETURNING 1
),
blocked AS (
    INSERT INTO room_blocks (room_id, member, blocked) SELECT room_id, 0, member FROM message WHERE $4
    ON CONFLICT DO NOTHING
    RETURNING blocked, at
),
counted AS (
    UPDATE rooms r SET events_count = r.events_count + 1 + (SELECT count(*) FROM blocked)::int
    FROM message WHERE r.id = message.room_id
    RETURNING r.id, r.events_count
),
told AS (
    INSERT INTO room_events (room_id, position, kind, number, member, detail)
    SELECT c.id, c.events_count - (SELECT count(*) FROM blocked)::int, 'message_report', m.number, 0, jsonb_build_object(
        'action', CASE WHEN EXISTS (SELECT FROM made) THEN 'reported' ELSE 'unreported' END, 'reason', $3::text
    )
    FROM counted c, message m
    UNION ALL
    SELECT c.id, c.events_count, 'user_block', m.number, 0, jsonb_build_object('blocked', b.blocked)
    FROM counted c, message m, blocked b
)
SELECT m.number, m.member, EXISTS (SELECT FROM made) AS reported, EXISTS (SELECT FROM blocked) AS blocked FROM message m

-- name: claim_rooms  Rooms nobody drives, for $1 seconds, in a new epoch; at most $2, none of $3. Who could not stay meanwhile has time to come back.
UPDATE rooms r SET epoch = r.epoch + 1, lease_until = now() + make_interval(secs => $1),
    grace_until = greatest(r.grace_until, now() + make_interval(secs => (r.pace ->> 'grace_seconds')::float8))
FROM (
    SELECT id FROM rooms
    WHERE state <> 'ended' AND (lease_until IS NULL OR lease_until < now()) AND id <> ALL ($3::bigint[]) AND NOT pace ? 'simulated'
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
) free
WHERE r.id = free.id
RETURNING r.id, r.epoch, r.study_id, (r.pace ->> 'llm_concurrency_limit')::int AS at_once

-- name: take_room  A room in simulated time is ours, in a new epoch; it needs no lease, for whoever plays its run has one.
UPDATE rooms SET epoch = epoch + 1 WHERE id = $1 AND state <> 'ended' RETURNING epoch

-- name: keep_rooms  The leases go on; a room that isn't returned is another's. After a lapse, as after a claim, people have time to come back.
UPDATE rooms r SET lease_until = now() + make_interval(secs => $3),
    grace_until = CASE WHEN r.lease_until < now()
        THEN greatest(r.grace_until, now() + make_interval(secs => (r.pace ->> 'grace_seconds')::float8))
        ELSE r.grace_until END
FROM unnest($1::bigint[], $2::int[]) AS mine (id, epoch)
WHERE r.id = mine.id AND r.epoch = mine.epoch AND r.state <> 'ended'
RETURNING r.id

-- name: free_rooms  Others may drive them at once.
UPDATE rooms r SET lease_until = NULL FROM unnest($1::bigint[], $2::int[]) AS mine (id, epoch)
WHERE r.id = mine.id AND r.epoch = mine.epoch

-- name: terms  What stays as it is while a room is driven in epoch $2.
SELECT r.id, r.key, r.run_id, r.seed, r.pace, r.events_count, run.settings, extract(epoch FROM now() - r.started_at)::float8 AS age
FROM rooms r JOIN runs run ON run.id = r.run_id WHERE r.id = $1 AND r.epoch = $2

-- name: stand  How a room stands, for who drives it in epoch $2 and has read all up to message $3; `leased`: its lease has not lapsed.
SELECT r.state, r.messages_count, r.paused_at IS NOT NULL AS paused, r.lease_until > now() AS leased,
       extract(epoch FROM now() - r.started_at)::float8 AS age,
       extract(epoch FROM r.ends_at - now())::float8 AS left,
       extract(epoch FROM r.grace_until - now())::float8 AS grace,
       run.state AS run_state,
       ARRAY(SELECT blocked FROM room_blocks b WHERE b.room_id = r.id AND b.member = 0) AS blocked,
       EXISTS (SELECT FROM room_messages m WHERE m.room_id = r.id AND m.number > $3 AND m.member = 0) AS spoken_to,
       EXISTS (SELECT FROM room_drafts d WHERE d.room_id = r.id AND d.state = 'typing') AS drafted,
       EXISTS (
           SELECT FROM turns t WHERE t.run_id = r.run_id
             AND (t.state = 'queued' OR (t.state = 'running' AND t.lease_until < now()))
       ) AS open
FROM rooms r JOIN runs run ON run.id = r.run_id
WHERE r.id = $1 AND r.epoch = $2

-- name: typing  Drafts that wait, with why their authors had a turn, in the order in which they were made.
SELECT d.id, d.member, d.kind, d.body, d.reply_to, g.cause, extract(epoch FROM now() - d.made_at)::float8 AS age
FROM room_drafts d JOIN room_goes g ON g.turn_id = d.turn_id
WHERE d.room_id = $1 AND d.state = 'typing' ORDER BY d.id

-- name: heard  The person's messages after number $2, with whom they address: mentioned, or answered.
SELECT m.number, extract(epoch FROM now() - m.at)::float8 AS age,
       m.mentions || CASE WHEN q.member > 0 THEN ARRAY[q.member] ELSE '{}'::smallint[] END AS addressed
FROM room_messages m LEFT JOIN room_messages q ON q.room_id = m.room_id AND q.number = m.reply_to
WHERE m.room_id = $1 AND m.member = 0 AND m.number > $2 ORDER BY m.number LIMIT 50

-- name: spoken  When agents spoke in the last $2 seconds, in seconds before now, newest first.
SELECT extract(epoch FROM now() - at)::float8 AS age FROM room_messages
WHERE room_id = $1 AND at > now() - make_interval(secs => $2) AND member > 0 ORDER BY number DESC

-- name: last_member  Who wrote the last message.
SELECT member FROM room_messages WHERE room_id = $1 ORDER BY number DESC LIMIT 1

-- name: open_goes  Agents that have a turn under way.
SELECT g.member, g.turn_id FROM room_goes g JOIN turns t ON t.id = g.turn_id
WHERE t.run_id = $1 AND t.state IN ('queued', 'running')

-- name: had  What happened already of what may happen once.
SELECT plan FROM room_goes WHERE room_id = $1

-- name: let_go  An agent has a turn, once for a plan. No row: it had it, or the room is not ours or not running.
WITH room AS (
    SELECT id, run_id FROM rooms WHERE id = $1 AND epoch = $2 AND state = 'running'
),
numbered AS (
    UPDATE runs r SET turns_total = r.turns_total + 1 FROM room
    WHERE r.id = room.run_id AND r.state = 'running' AND NOT EXISTS (SELECT FROM room_goes g WHERE g.room_id = $1 AND g.plan = $6)
    RETURNING r.id, r.turns_total
),
turned AS (
    INSERT INTO turns (run_id, persona_id, ordinal, round)
    SELECT n.id, m.persona_id, n.turns_total, n.turns_total FROM numbered n JOIN room_members m ON m.room_id = $1 AND m.ordinal = $3
    RETURNING id
)
INSERT INTO room_goes (turn_id, room_id, member, cause, number, plan) SELECT id, $1, $3, $4, $5, $6 FROM turned RETURNING turn_id

-- name: goes  Whose turns these are, and why.
SELECT g.turn_id, g.room_id, g.member, g.cause, g.number, g.plan, p.id AS persona_id, p.username, p.description, p.bio, p.profile,
       p.model, p.temperature
FROM room_goes g
JOIN room_members m ON m.room_id = g.room_id AND m.ordinal = g.member
JOIN personas p ON p.id = m.persona_id
WHERE g.turn_id = ANY ($1::bigint[])

-- name: lately  The newest messages of a room before number $2 + 1, oldest first, with who likes them.
SELECT * FROM (
    SELECT m.number, m.key, m.member, m.body, m.reply_to, m.quoted_text, m.mentions, m.at,
           extract(epoch FROM now() - m.at)::float8 AS age,
           ARRAY(
               SELECT x.member FROM room_reactions x
               WHERE x.room_id = m.room_id AND x.number = m.number AND x.kind = 'like' ORDER BY x.at, x.member
           ) AS liked_by,
           EXISTS (
               SELECT FROM room_reactions x
               WHERE (x.room_id, x.number, x.member, x.kind) = (m.room_id, m.number, 0, 'report')
           ) AS reported
    FROM room_messages m WHERE m.room_id = $1 AND m.number <= $2 ORDER BY m.number DESC LIMIT $3
) newest ORDER BY number

-- name: end_room  A room takes nothing more, for reason $2, at $3 in simulated time; its members are told. No row: it was at an end.
-- Whoever took part in it goes on: to the pages that follow, if they have ours (a secret), else they have finished.
WITH room AS (
    UPDATE rooms SET state = 'ending', end_reason = $2, ended_at = coalesce($3, now()), events_count = events_count + 1
    WHERE id = $1 AND state IN ('waiting', 'running')
    RETURNING id, events_count
),
told AS (
    INSERT INTO room_events (room_id, position, kind, at, detail)
    SELECT id, events_count, 'ended', coalesce($3, now()), jsonb_build_object('reason', $2::text) FROM room
),
queued AS (
    UPDATE turns t SET state = 'done', reason = 'room_over', ended_at = now()
    FROM rooms r WHERE r.id = $1 AND t.run_id = r.run_id AND t.state = 'queued' AND EXISTS (SELECT FROM room)
),
way AS (
    SELECT p.id,
           CASE WHEN $2 IN ('dropped_out', 'removed', 'withdrawn') OR ($2 = 'error' AND p.secret_sha256 IS NULL) THEN p.stage
                WHEN p.secret_sha256 IS NULL THEN 'done'
                WHEN jsonb_array_length(s.design -> 'closing') > 0 THEN 'closing'
                WHEN s.design ->> 'debrief_text' <> '' THEN 'debrief'
                ELSE 'done' END AS stage,
           CASE WHEN $2 = 'removed' THEN 'removed' WHEN $2 IN ('dropped_out', 'withdrawn') THEN 'dropped_out'
                WHEN $2 = 'error' AND p.secret_sha256 IS NULL THEN 'failed' END AS state
    FROM room JOIN rooms r ON r.id = room.id JOIN participants p ON p.id = r.participant_id JOIN studies s ON s.id = r.study_id
    WHERE p.state = 'active' AND p.stage = 'chat'
),
left_behind AS (
    UPDATE participants p
    SET stage = w.stage, stage_at = CASE WHEN w.stage = p.stage THEN p.stage_at ELSE now() END,
        state = coalesce(w.state, CASE WHEN w.stage = 'done' THEN 'finished' ELSE p.state END),
        end_reason = $2, ended_at = CASE WHEN w.state IS NOT NULL OR w.stage = 'done' THEN now() END
    FROM way w WHERE p.id = w.id AND p.state = 'active' AND p.stage = 'chat'
)
SELECT id FROM room

-- name: drop_goes  Turns of an ending room that nobody plays are at an end: nobody asks a model for what is not told.
UPDATE turns t SET state = 'done', reason = 'room_over', ended_at = now(), lease_until = NULL, epoch = t.epoch + 1
FROM rooms r
WHERE r.id = $1 AND r.epoch = $2 AND r.state = 'ending' AND t.run_id = r.run_id
  AND (t.state = 'queued' OR (t.state = 'running' AND t.lease_until < now()))

-- name: close_room  An ending room none of whose turns is open is at an end; what was not told is not told any more.
-- If its person was erased meanwhile, so is what models were asked and answered since (as `erase_run` does it).
WITH closed AS (
    UPDATE rooms r SET state = 'ended', lease_until = NULL
    WHERE r.id = $1 AND r.epoch = $2 AND r.state = 'ending'
      AND NOT EXISTS (SELECT FROM turns t WHERE t.run_id = r.run_id AND t.state IN ('queued', 'running'))
    RETURNING r.id, r.run_id, r.erased_at
),
unsaid AS (
    UPDATE calls c SET told = '[]', reply = '', response = '', detail = 'erased'
    FROM closed JOIN turns t ON t.run_id = closed.run_id WHERE closed.erased_at IS NOT NULL AND c.turn_id = t.id
),
undone AS (
    UPDATE actions a
    SET call_id = '', name = CASE WHEN a.outcome = 'refused' THEN 'erased' ELSE a.name END, arguments = '', detail = ''
    FROM closed JOIN turns t ON t.run_id = closed.run_id WHERE closed.erased_at IS NOT NULL AND a.turn_id = t.id
),
dropped AS (
    UPDATE room_drafts d
    SET body = CASE WHEN closed.erased_at IS NOT NULL THEN '' ELSE d.body END,
        state = CASE WHEN d.state = 'typing' THEN 'discarded' ELSE d.state END,
        reason = CASE WHEN d.state = 'typing' THEN 'room_over' ELSE d.reason END, settled_at = coalesce(d.settled_at, now())
    FROM closed WHERE d.room_id = closed.id AND (d.state = 'typing' OR (closed.erased_at IS NOT NULL AND d.body <> ''))
)
SELECT run_id FROM closed

-- name: notices  What the researchers told the person.
SELECT position, detail ->> 'text' AS text, at FROM room_events WHERE room_id = $1 AND kind = 'notice' ORDER BY position LIMIT 200

-- name: news  Events of many rooms after the positions their listeners know, with the messages they tell of.
SELECT e.room_id, e.position, e.kind, e.number, e.member, e.detail, e.at,
       m.key, m.body, m.reply_to, q.key AS reply_key, m.quoted_text, m.mentions, m.client_id
FROM unnest($1::bigint[], $2::int[]) AS k (room_id, position)
CROSS JOIN LATERAL (
    SELECT * FROM room_events x WHERE x.room_id = k.room_id AND x.position > k.position ORDER BY x.position LIMIT $3
) e
LEFT JOIN room_messages m ON m.room_id = e.room_id AND m.number = e.number
LEFT JOIN room_messages q ON q.room_id = e.room_id AND q.number = m.reply_to
ORDER BY e.room_id, e.position

-- name: simulated  A room in simulated time, by its key, with what its run keeps and how that stands.
SELECT r.id, r.key, r.run_id, r.seed, r.state, r.started_at, run.settings, run.state AS run_state
FROM rooms r JOIN runs run ON run.id = r.run_id WHERE r.key = $1

-- name: seat_person  The person of a room in simulated time is played by persona $2.
UPDATE room_members SET persona_id = $2 WHERE room_id = $1 AND ordinal = 0 RETURNING room_id

-- name: author  Who wrote message $2.
SELECT member FROM room_messages WHERE room_id = $1 AND number = $2

-- name: gone  All goes of a room with how their turns stand.
SELECT g.plan, g.turn_id, t.state FROM room_goes g JOIN turns t ON t.id = g.turn_id WHERE g.room_id = $1

-- name: turn_state  How a turn stands, and its run.
SELECT t.state, r.state AS run_state, r.reason FROM turns t JOIN runs r ON r.id = t.run_id WHERE t.id = $1

-- name: drafts  What came of a turn, in the order written.
SELECT id, member, kind, body, reply_to, state FROM room_drafts WHERE turn_id = $1 ORDER BY id

-- name: go_on  A room's run that stands still goes on; $2 is merged into its terms.
UPDATE runs SET state = 'running', reason = NULL, ended_at = NULL, settings = settings || $2::jsonb
WHERE id = $1 AND state IN ('queued', 'paused', 'stopped', 'budget_exhausted') RETURNING id

-- name: transcript  All that was written in a room, in order: who, when (seconds from the start), as an answer to what, liked by whom.
SELECT m.number, m.member, n.name, m.body, m.reply_to, m.mentions, g.number AS answers,
       extract(epoch FROM m.at - r.started_at)::float8 AS seconds,
       ARRAY(
           SELECT x.member FROM room_reactions x
           WHERE x.room_id = m.room_id AND x.number = m.number AND x.kind = 'like' ORDER BY x.member
       ) AS liked_by
FROM rooms r
JOIN room_messages m ON m.room_id = r.id
JOIN room_members n ON n.room_id = r.id AND n.ordinal = m.member
LEFT JOIN room_goes g ON g.turn_id = m.turn_id
WHERE r.key = $1 ORDER BY m.number

-- name: lost_goes  How many goes of a room there were, and how many came to nothing for want of an answer.
SELECT count(*) AS goes, count(*) FILTER (WHERE t.state IN ('failed', 'deferred')) AS lost
FROM rooms r JOIN turns t ON t.run_id = r.run_id WHERE r.key = $1
