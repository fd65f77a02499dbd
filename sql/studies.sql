-- Studies: their designs and states, their casts and tokens, and who is in which room. A state changes by one conditional statement.

-- name: create  A draft; no row when the name is taken.
INSERT INTO studies (name, consent, design, design_sha256, seed, created_by) VALUES ($1, $2, $3::jsonb, $4, $5, $6)
ON CONFLICT (lower(name)) DO NOTHING RETURNING id

-- name: edit  Another design for a draft; no row when it is none any more.
UPDATE studies SET consent = $2, design = $3::jsonb, design_sha256 = $4 WHERE id = $1 AND state = 'draft' RETURNING id

-- name: by_id  One study.
SELECT s.id, s.name, s.state, s.consent, s.design::text AS design, s.design_sha256, s.seed, a.username AS created_by,
       s.created_at, s.opened_at, s.closed_at
FROM studies s LEFT JOIN admin a ON a.id = s.created_by WHERE s.id = $1

-- name: by_name  One study.
SELECT s.id, s.name, s.state, s.consent, s.design::text AS design, s.design_sha256, s.seed, a.username AS created_by,
       s.created_at, s.opened_at, s.closed_at
FROM studies s LEFT JOIN admin a ON a.id = s.created_by WHERE lower(s.name) = lower($1)

-- name: lock  A study that nobody changes until we are done.
SELECT id, name, state, seed, design::text AS design FROM studies WHERE id = $1 FOR UPDATE

-- name: page  The newest $2 studies before study $1, with how many take part and how many tokens are left.
SELECT s.id, s.name, s.design ->> 'title' AS title, s.state, s.consent, s.created_at, s.opened_at, s.closed_at,
       p.participants, p.active, p.finished, t.tokens, t.tokens_open
FROM (SELECT * FROM studies WHERE id < $1 ORDER BY id DESC LIMIT $2) s
CROSS JOIN LATERAL (
    SELECT count(*) AS participants, count(*) FILTER (WHERE state = 'active') AS active,
           count(*) FILTER (WHERE state = 'finished') AS finished
    FROM participants WHERE study_id = s.id
) p
CROSS JOIN LATERAL (
    SELECT count(*) AS tokens, count(*) FILTER (WHERE redeemed_at IS NULL AND revoked_at IS NULL) AS tokens_open
    FROM study_tokens WHERE study_id = s.id
) t
ORDER BY s.id DESC

-- name: people  How many of a study's participants are where.
SELECT arm, state, stage, count(*) AS count FROM participants WHERE study_id = $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3

-- name: stock  How many of a study's tokens stand how, by the arm they lead to.
SELECT arm, CASE WHEN redeemed_at IS NOT NULL THEN 'used' WHEN revoked_at IS NOT NULL THEN 'revoked' ELSE 'open' END AS state,
       count(*) AS count
FROM study_tokens WHERE study_id = $1 GROUP BY 1, 2 ORDER BY 1 NULLS FIRST, 2

-- name: token_arms  The arms that open tokens lead to.
SELECT DISTINCT arm FROM study_tokens
WHERE study_id = $1 AND arm IS NOT NULL AND redeemed_at IS NULL AND revoked_at IS NULL ORDER BY arm

-- name: open  From draft to open.
UPDATE studies SET state = 'open', opened_at = now() WHERE id = $1 AND state = 'draft' RETURNING id

-- name: cast  Who plays in a study's rooms, from parallel arrays, in order.
INSERT INTO study_members (study_id, ordinal, persona_id, name)
SELECT $1, m.ordinal, m.persona_id, m.name
FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS m (persona_id, name, ordinal)

-- name: members  Who plays in a study's rooms.
SELECT m.ordinal, m.persona_id, m.name, p.username, p.description, p.status
FROM study_members m JOIN personas p ON p.id = m.persona_id WHERE m.study_id = $1 ORDER BY m.ordinal

-- name: pause  Nobody new comes in.
UPDATE studies SET state = 'paused' WHERE id = $1 AND state = 'open' RETURNING id

-- name: resume  They may again.
UPDATE studies SET state = 'open' WHERE id = $1 AND state = 'paused' RETURNING id

-- name: close  For good; its tokens are worth nothing from now on. Tells how many had not been used.
WITH closed AS (
    UPDATE studies SET state = 'closed', closed_at = now() WHERE id = $1 AND state IN ('open', 'paused', 'draft') RETURNING id
), ended AS (
    UPDATE study_tokens SET revoked_at = now() WHERE study_id IN (SELECT id FROM closed) AND revoked_at IS NULL
    RETURNING redeemed_at
)
SELECT closed.id, (SELECT count(*) FROM ended WHERE redeemed_at IS NULL) AS revoked FROM closed

-- name: room_of  The room of a participant, and whether they have written in it.
SELECT r.id, r.key, r.state, r.end_reason,
       EXISTS (SELECT FROM room_messages m WHERE m.room_id = r.id AND m.member = 0) AS wrote
FROM rooms r WHERE r.participant_id = $1

-- name: leave_room  A room in which its person never wrote is nobody's, so that they can have another.
UPDATE rooms SET participant_id = NULL WHERE id = $1 AND state IN ('ending', 'ended')
