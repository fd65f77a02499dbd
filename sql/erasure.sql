-- Withdrawal and retention: what is left of a person, and what is not. All of one person happens in one transaction,
-- which holds their rooms first, then their own row, then the turns of those rooms, so that no answer of a model comes in between.

-- name: person  Whom it is about.
SELECT p.id, p.study_id, p.pseudonym, p.state, p.kept, p.erased_at, s.name AS study, s.seed, s.design::text AS design
FROM participants p JOIN studies s ON s.id = p.study_id WHERE p.id = $1

-- name: rooms_of  Their rooms: also one that was taken from them (study $2, of the seed $3 that only theirs have).
SELECT id, run_id FROM rooms WHERE participant_id = $1 OR (study_id = $2 AND participant_id IS NULL AND seed = $3) ORDER BY id

-- name: hold_person  Nobody else moves them until we are done.
SELECT state, kept, erased_at FROM participants WHERE id = $1 FOR UPDATE

-- name: hold_turns  No step of this run is committed until we are done; what is being committed is done first.
SELECT id FROM turns WHERE run_id = $1 ORDER BY id FOR NO KEY UPDATE

-- name: withdraw  They take part no more; $2 says what becomes of their data.
UPDATE participants SET state = 'withdrawn', end_reason = 'withdrawn', kept = $2, ended_at = now() WHERE id = $1

-- name: retire  The study's time is over: whoever was still on the way has dropped out.
UPDATE participants
SET state = CASE WHEN state = 'active' THEN 'dropped_out' ELSE state END,
    end_reason = CASE WHEN state = 'active' THEN 'retention' ELSE end_reason END,
    ended_at = coalesce(ended_at, now())
WHERE id = $1

-- name: cut_links  Nothing leads to who they are any more: their token is another, with a random hash ($2) and a number of no meaning.
WITH old AS (SELECT t.* FROM study_tokens t JOIN participants p ON p.token_id = t.id WHERE p.id = $1),
other AS (
    INSERT INTO study_tokens (study_id, sha256, arm, own, created_at, redeemed_at, revoked_at)
    SELECT study_id, $2, arm, own, created_at, redeemed_at, coalesce(revoked_at, now()) FROM old
    RETURNING id
),
cut AS (
    UPDATE participants p SET token_id = other.id, secret_sha256 = NULL, receipt_sha256 = NULL, completion_code = NULL
    FROM other WHERE p.id = $1
),
named AS (DELETE FROM identities WHERE participant_id = $1)
DELETE FROM study_tokens t USING old WHERE t.id = old.id

-- name: unname_messages  What a client called its messages is gone.
UPDATE room_messages SET client_id = NULL WHERE room_id = $1 AND client_id IS NOT NULL

-- name: erase_person  All that they said of themselves is gone.
WITH said AS (DELETE FROM answers WHERE participant_id = $1)
UPDATE participants SET stratum = '', place = NULL, erased_at = now() WHERE id = $1

-- name: erase_room  A room without words: who wrote when stays, and in what order; what the person did beside writing is gone.
WITH room AS (UPDATE rooms SET erased_at = coalesce(erased_at, now()) WHERE id = $1 RETURNING id),
messages AS (
    UPDATE room_messages m
    SET body = '', quoted_text = NULL, client_id = NULL,
        reply_to = CASE WHEN m.member = 0 THEN NULL ELSE m.reply_to END,
        mentions = CASE WHEN m.member = 0 THEN '{}'::smallint[] ELSE m.mentions END
    FROM room WHERE m.room_id = room.id
),
drafts AS (
    UPDATE room_drafts d
    SET body = '', state = CASE WHEN d.state = 'typing' THEN 'discarded' ELSE d.state END,
        reason = CASE WHEN d.state = 'typing' THEN 'room_over' ELSE d.reason END, settled_at = coalesce(d.settled_at, now())
    FROM room WHERE d.room_id = room.id
),
reactions AS (DELETE FROM room_reactions x USING room WHERE x.room_id = room.id AND x.member = 0),
blocks AS (DELETE FROM room_blocks b USING room WHERE b.room_id = room.id AND b.member = 0),
events AS (
    UPDATE room_events e
    SET kind = CASE WHEN e.member = 0 AND e.kind <> 'message' THEN 'erased' ELSE e.kind END,
        number = CASE WHEN e.member = 0 AND e.kind <> 'message' THEN NULL ELSE e.number END,
        detail = CASE WHEN e.member IS DISTINCT FROM 0 AND e.kind = 'message_like' THEN jsonb_set(e.detail, '{liked_by}', (
            SELECT coalesce(jsonb_agg(l.member), '[]') FROM jsonb_array_elements(e.detail -> 'liked_by') AS l (member)
            WHERE l.member <> '0'
        )) ELSE '{}' END
    FROM room WHERE e.room_id = room.id AND e.kind NOT IN ('ended', 'paused', 'resumed', 'extended')
)
SELECT id FROM room

-- name: erase_run  The ledger of a room keeps who was asked when, tokens, costs and hashes, and no word of what was asked and answered.
WITH said AS (
    UPDATE calls c SET told = '[]', reply = '', response = '', detail = 'erased' FROM turns t WHERE t.run_id = $1 AND c.turn_id = t.id
),
done AS (
    UPDATE actions a
    SET call_id = '', name = CASE WHEN a.outcome = 'refused' THEN 'erased' ELSE a.name END, arguments = '', detail = ''
    FROM turns t WHERE t.run_id = $1 AND a.turn_id = t.id
),
forgotten AS (DELETE FROM memories WHERE run_id = $1)
UPDATE runs SET reason = 'erased' WHERE id = $1 AND reason IS NOT NULL

-- name: purgeable  A study, when its time is over, and how much of whom is left.
SELECT s.id, s.name, s.state, d.days AS retention_days, s.closed_at + make_interval(days => d.days) AS due_at,
       coalesce(s.closed_at + make_interval(days => d.days) <= now(), false) AS due, p.participants, p.answers, m.messages
FROM studies s
CROSS JOIN LATERAL (SELECT (s.design ->> 'retention_days')::int AS days) d
CROSS JOIN LATERAL (
    SELECT count(*) AS participants, coalesce(sum((SELECT count(*) FROM answers a WHERE a.participant_id = p.id)), 0)::bigint AS answers
    FROM participants p WHERE p.study_id = s.id AND p.erased_at IS NULL
) p
CROSS JOIN LATERAL (
    SELECT count(*) AS messages FROM rooms r JOIN room_messages m ON m.room_id = r.id
    WHERE r.study_id = s.id AND r.erased_at IS NULL
) m
WHERE s.id = $1

-- name: left_in  Who of a study is not erased, after participant $2.
SELECT id FROM participants WHERE study_id = $1 AND id > $2 AND erased_at IS NULL ORDER BY id LIMIT 100

-- name: rooms_left  Rooms of a study with words in them that are nobody's.
SELECT id, run_id FROM rooms WHERE study_id = $1 AND participant_id IS NULL AND erased_at IS NULL ORDER BY id

-- name: unlabel  What tokens of a study were called may be names of people.
UPDATE study_tokens SET label = '' WHERE study_id = $1 AND label <> ''

-- name: due_studies  Studies whose time is over and of whose participants something is left.
SELECT s.id, s.name FROM studies s
WHERE s.state = 'closed' AND s.closed_at + make_interval(days => (s.design ->> 'retention_days')::int) <= now()
  AND EXISTS (SELECT FROM participants p WHERE p.study_id = s.id AND p.erased_at IS NULL)
ORDER BY s.id

-- name: facts  What is kept of a participant beside what they wrote and answered.
SELECT p.pseudonym, p.arm, p.stage, p.state, p.end_reason, p.kept, p.consent_sha256, p.consented_at, p.completion_code, p.created_at,
       p.stage_at, p.seen_at, p.debriefed_at, p.ended_at, s.name AS study, s.consent, s.design::text AS design,
       i.username, i.params::text AS params
FROM participants p JOIN studies s ON s.id = p.study_id LEFT JOIN identities i ON i.participant_id = p.id
WHERE p.id = $1

-- name: all_answers  What they answered.
SELECT stage, question, value::text AS value, at FROM answers WHERE participant_id = $1 ORDER BY at, stage, question

-- name: room_facts  A room of theirs.
SELECT r.key AS session_id, r.state, r.end_reason, r.created_at, r.started_at, r.ended_at,
       (SELECT count(*) FROM calls c JOIN turns t ON t.id = c.turn_id WHERE t.run_id = r.run_id) AS model_calls
FROM rooms r WHERE r.id = $1

-- name: room_words  What was written in it.
SELECT m.number, w.name AS by, m.body AS text, m.reply_to, m.quoted_text,
       ARRAY(SELECT n.name FROM room_members n WHERE n.room_id = m.room_id AND n.ordinal = ANY (m.mentions)) AS mentions,
       m.client_id, m.at
FROM room_messages m JOIN room_members w ON w.room_id = m.room_id AND w.ordinal = m.member
WHERE m.room_id = $1 ORDER BY m.number

-- name: room_deeds  What they did in it beside writing.
SELECT e.position, e.kind, e.number AS message, e.detail::text AS detail, e.at FROM room_events e
WHERE e.room_id = $1 AND e.member = 0 AND e.kind <> 'message' ORDER BY e.position
