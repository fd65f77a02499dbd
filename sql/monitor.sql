-- A study as its researchers watch it, and what they do in its rooms. What changes a room comes after a lock of it.

-- name: seats  Participants of study $1 after number $2, at stage $4 and in state $5 ('' any), at most $3, with how their rooms stand.
SELECT p.id, p.pseudonym, p.arm, p.state, p.stage, p.end_reason, p.created_at, p.stage_at,
       greatest(p.seen_at, CASE WHEN r.state = 'running' THEN r.grace_until - r.grace END) AS seen_at, p.ended_at,
       r.key AS room_key, r.state AS room_state, r.end_reason AS room_reason, r.paused_at IS NOT NULL AS paused,
       coalesce(r.state = 'running' AND r.grace_until - r.grace > now() - make_interval(secs => $6), false) AS connected,
       CASE WHEN r.state = 'running' THEN extract(epoch FROM r.ends_at - coalesce(r.paused_at, now()))::float8 END AS seconds_left,
       extract(epoch FROM now() - p.stage_at)::float8 AS stage_for,
       extract(epoch FROM now() - greatest(p.seen_at, CASE WHEN r.state = 'running' THEN r.grace_until - r.grace END))::float8 AS seen_ago,
       coalesce(w.theirs, 0) AS theirs, coalesce(w.others, 0) AS others, coalesce(x.reports, 0) AS reports, coalesce(b.blocks, 0) AS blocks
FROM (
    SELECT * FROM participants
    WHERE study_id = $1 AND id > $2 AND ($4 = '' OR stage = $4) AND ($5 = '' OR state = $5)
    ORDER BY id LIMIT $3
) p
LEFT JOIN LATERAL (
    SELECT *, make_interval(secs => (pace ->> 'grace_seconds')::float8) AS grace FROM rooms WHERE participant_id = p.id
) r ON true
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE member = 0) AS theirs, count(*) FILTER (WHERE member > 0) AS others
    FROM room_messages WHERE room_id = r.id
) w ON true
LEFT JOIN LATERAL (SELECT count(*) AS reports FROM room_reactions WHERE room_id = r.id AND kind = 'report') x ON true
LEFT JOIN LATERAL (SELECT count(*) AS blocks FROM room_blocks WHERE room_id = r.id AND member = 0) b ON true
ORDER BY p.id

-- name: room  A room of study $1, by its key.
SELECT r.id, r.key, r.run_id, r.arm, r.state, r.end_reason, r.pace::text AS pace, r.messages_count, r.events_count,
       r.paused_at, r.created_at, r.started_at, r.ends_at, r.ended_at, r.erased_at, p.pseudonym, p.state AS person_state, p.stage,
       extract(epoch FROM r.ends_at - coalesce(r.paused_at, now()))::float8 AS seconds_left
FROM rooms r LEFT JOIN participants p ON p.id = r.participant_id WHERE r.study_id = $1 AND r.key = $2

-- name: told  What a room told after position $2, at most $3: messages, and what its researchers did.
SELECT e.position, e.kind, e.at, e.detail::text AS detail, m.number, n.name AS by, m.member, m.body, m.reply_to, m.quoted_text,
       ARRAY(
           SELECT k.name FROM room_reactions x JOIN room_members k ON k.room_id = x.room_id AND k.ordinal = x.member
           WHERE x.room_id = m.room_id AND x.number = m.number AND x.kind = 'like' ORDER BY x.at
       ) AS liked_by,
       (
           SELECT x.reason FROM room_reactions x
           WHERE x.room_id = m.room_id AND x.number = m.number AND x.kind = 'report' LIMIT 1
       ) AS reported,
       (
           SELECT k.name FROM room_members k
           WHERE e.kind = 'user_block' AND k.room_id = e.room_id AND k.ordinal = (e.detail ->> 'blocked')::int
       ) AS blocked
FROM room_events e
LEFT JOIN room_messages m ON m.room_id = e.room_id AND m.number = e.number AND e.kind = 'message'
LEFT JOIN room_members n ON n.room_id = m.room_id AND n.ordinal = m.member
WHERE e.room_id = $1 AND e.position > $2 AND e.kind IN ('message', 'user_block', 'notice', 'paused', 'resumed', 'extended', 'ended')
ORDER BY e.position LIMIT $3

-- name: lock  Whoever writes in a room comes after all who wrote before; by study and key.
SELECT id FROM rooms WHERE study_id = $1 AND key = $2 FOR NO KEY UPDATE

-- name: notice  The researchers tell the person something. No row: the room is at an end.
WITH counted AS (
    UPDATE rooms SET events_count = events_count + 1 WHERE id = $1 AND state IN ('waiting', 'running') RETURNING id, events_count
)
INSERT INTO room_events (room_id, position, kind, detail)
SELECT id, events_count, 'notice', jsonb_build_object('text', $2::text) FROM counted RETURNING position

-- name: pause  The clock of a room stands still. No row: it doesn't run.
WITH counted AS (
    UPDATE rooms SET paused_at = now(), events_count = events_count + 1
    WHERE id = $1 AND state = 'running' AND paused_at IS NULL AND ends_at > now() RETURNING id, events_count
)
INSERT INTO room_events (room_id, position, kind) SELECT id, events_count, 'paused' FROM counted RETURNING position

-- name: resume  The clock goes on where it stood. No row: it doesn't stand still.
WITH counted AS (
    UPDATE rooms SET ends_at = ends_at + (now() - paused_at), paused_at = NULL, events_count = events_count + 1
    WHERE id = $1 AND state = 'running' AND paused_at IS NOT NULL
    RETURNING id, events_count, extract(epoch FROM ends_at - now())::float8 AS seconds_left
)
INSERT INTO room_events (room_id, position, kind, detail)
SELECT id, events_count, 'resumed', jsonb_build_object('seconds_left', seconds_left) FROM counted RETURNING position

-- name: extend  A room that has begun has $2 minutes more. No row: its time doesn't run.
WITH counted AS (
    UPDATE rooms SET ends_at = ends_at + make_interval(secs => 60 * $2::float8), events_count = events_count + 1
    WHERE id = $1 AND state = 'running' AND coalesce(paused_at, now()) < ends_at
    RETURNING id, events_count, extract(epoch FROM ends_at - coalesce(paused_at, now()))::float8 AS seconds_left
)
INSERT INTO room_events (room_id, position, kind, detail)
SELECT id, events_count, 'extended', jsonb_build_object('minutes', $2::float8, 'seconds_left', seconds_left) FROM counted
RETURNING position

-- name: participant  Somebody of study $1, with their room that is open.
SELECT p.id, p.state, r.id AS room_id FROM participants p
LEFT JOIN rooms r ON r.participant_id = p.id AND r.state IN ('waiting', 'running')
WHERE p.study_id = $1 AND p.pseudonym = $2
