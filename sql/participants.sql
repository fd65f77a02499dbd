-- Participants: tokens, assignment, consent, answers. Whatever may happen once is one conditional statement.

-- name: add_tokens  New tokens from parallel arrays: hashes, arms, labels; $5: they are the study's own list. Those of which another holds give no row.
INSERT INTO study_tokens (study_id, sha256, arm, label, own)
SELECT $1, t.sha256, t.arm, t.label, $5 FROM unnest($2::bytea[], $3::text[], $4::text[]) AS t (sha256, arm, label)
ON CONFLICT (sha256) WHERE revoked_at IS NULL DO NOTHING
RETURNING id, sha256, arm, label

-- name: held_by  The studies in which these tokens are worth something.
SELECT DISTINCT s.name FROM study_tokens t JOIN studies s ON s.id = t.study_id
WHERE t.sha256 = ANY ($1::bytea[]) AND t.revoked_at IS NULL ORDER BY s.name LIMIT 5

-- name: tokens  A study's tokens after token $2.
SELECT t.id, t.label, t.arm, t.own, t.created_at, t.redeemed_at, t.revoked_at,
       CASE WHEN t.redeemed_at IS NOT NULL THEN 'used' WHEN t.revoked_at IS NOT NULL THEN 'revoked' ELSE 'open' END AS state
FROM study_tokens t
WHERE t.study_id = $1 AND t.id > $2 ORDER BY t.id LIMIT $3

-- name: revoke_token  Takes back an unused token.
UPDATE study_tokens SET revoked_at = now()
WHERE study_id = $1 AND id = $2 AND redeemed_at IS NULL AND revoked_at IS NULL RETURNING id, label

-- name: look  Where a token would lead; no row when it leads nowhere. A used one leads back to whom it let in, where the study allows.
SELECT s.id, s.name, s.consent, s.seed, s.design::text AS design, t.redeemed_at IS NOT NULL AS used
FROM study_tokens t JOIN studies s ON s.id = t.study_id
WHERE t.sha256 = $1 AND t.revoked_at IS NULL AND s.state = 'open'
  AND (t.redeemed_at IS NULL OR (s.design -> 'token_reusable_before_first_message' = 'true' AND EXISTS (
      SELECT FROM participants p
      WHERE p.token_id = t.id AND (p.state, p.stage) IN (
          ('active', 'intake'), ('active', 'chat'), ('dropped_out', 'intake'), ('dropped_out', 'chat'), ('dropped_out', 'done')
      ) AND p.debriefed_at IS NULL AND NOT EXISTS (
          SELECT FROM rooms r JOIN room_messages m ON m.room_id = r.id
          WHERE r.participant_id = p.id AND m.member = 0
      )
  )))

-- name: redeem  Uses a token and makes the participant it lets in; no row when it is unknown, used, revoked, or its study not open.
-- $3: stage, $4: assign an arm now if the token names none, $5: kept, $6: hash of the consent, $7: hash of the secret.
WITH taken AS (
    UPDATE study_tokens t SET redeemed_at = now()
    FROM studies s
    WHERE t.sha256 = $1 AND t.redeemed_at IS NULL AND t.revoked_at IS NULL AND s.id = t.study_id AND s.state = 'open'
    RETURNING t.id, t.study_id, t.arm
), placed AS (
    INSERT INTO study_assigned (study_id, stratum, count) SELECT study_id, '', 1 FROM taken WHERE arm IS NULL AND $4
    ON CONFLICT (study_id, stratum) DO UPDATE SET count = study_assigned.count + 1
    RETURNING count
), made AS (
    INSERT INTO participants (study_id, token_id, pseudonym, arm, place, stage, kept, consent_sha256, consented_at, secret_sha256)
    SELECT t.study_id, t.id, $2, coalesce(t.arm, ''), p.count, $3, $5, $6::bytea, CASE WHEN $6::bytea IS NOT NULL THEN now() END, $7
    FROM taken t LEFT JOIN placed p ON true
    RETURNING id, study_id, pseudonym, arm, place, stage
), known AS (
    INSERT INTO identities (participant_id, username, params) SELECT id, $8, $9::jsonb FROM made
)
SELECT id, study_id, pseudonym, arm, place, stage FROM made

-- name: reenter  Lets in again whom a token had let in, if they have not written yet, were not debriefed, and their study allows.
WITH back AS (
    UPDATE participants p
    SET secret_sha256 = $2, state = 'active', end_reason = NULL, ended_at = NULL, seen_at = now(),
        stage = CASE WHEN p.stage = 'done' THEN 'chat' ELSE p.stage END
    FROM study_tokens t JOIN studies s ON s.id = t.study_id
    WHERE t.sha256 = $1 AND t.revoked_at IS NULL AND s.state = 'open' AND p.token_id = t.id
      AND s.design -> 'token_reusable_before_first_message' = 'true'
      AND (p.state, p.stage) IN (
          ('active', 'intake'), ('active', 'chat'), ('dropped_out', 'intake'), ('dropped_out', 'chat'), ('dropped_out', 'done')
      ) AND p.debriefed_at IS NULL AND NOT EXISTS (
          SELECT FROM rooms r JOIN room_messages m ON m.room_id = r.id
          WHERE r.participant_id = p.id AND m.member = 0
      )
    RETURNING p.id, p.study_id, p.pseudonym, p.arm, p.place, p.stage
), named AS (
    UPDATE identities i SET username = coalesce($3, i.username) FROM back WHERE i.participant_id = back.id
)
SELECT id, study_id, pseudonym, arm, place, stage FROM back

-- name: place  The next place in a stratum for a participant without an arm; no row when they have one.
WITH who AS (
    SELECT id, study_id FROM participants WHERE id = $1 AND arm = '' AND state = 'active' FOR NO KEY UPDATE
), placed AS (
    INSERT INTO study_assigned (study_id, stratum, count) SELECT study_id, $2, 1 FROM who
    ON CONFLICT (study_id, stratum) DO UPDATE SET count = study_assigned.count + 1
    RETURNING count
)
SELECT count FROM placed

-- name: set_arm  The arm that belongs to a place.
UPDATE participants SET arm = $2, stratum = $3, place = $4 WHERE id = $1 AND arm = '' RETURNING id

-- name: arm  The arm of a participant.
SELECT arm FROM participants WHERE id = $1

-- name: lock  A participant whom nobody else moves until we are done.
SELECT id, study_id, pseudonym, arm, stratum, stage, state FROM participants WHERE id = $1 FOR NO KEY UPDATE

-- name: by_secret  Whose browser it is, with their study and their room.
SELECT p.id, p.study_id, p.pseudonym, p.arm, p.stratum, p.stage, p.state, p.end_reason, p.kept, p.consented_at, p.completion_code,
       p.created_at, p.stage_at, p.seen_at, p.debriefed_at, p.ended_at, p.receipt_sha256 IS NOT NULL AS has_receipt,
       s.name AS study, s.state AS study_state, s.consent, s.seed, s.design::text AS design,
       r.key AS room, r.state AS room_state, r.end_reason AS room_end_reason, i.username
FROM participants p JOIN studies s ON s.id = p.study_id
LEFT JOIN rooms r ON r.participant_id = p.id LEFT JOIN identities i ON i.participant_id = p.id
WHERE p.secret_sha256 = $1

-- name: came_by  Whether a token let a participant in.
SELECT p.id FROM participants p JOIN study_tokens t ON t.id = p.token_id WHERE p.id = $1 AND t.sha256 = $2

-- name: by_receipt  Whose receipt it is.
SELECT p.id, p.study_id, p.pseudonym, p.stage, p.state, p.kept, s.name AS study, s.design::text AS design
FROM participants p JOIN studies s ON s.id = p.study_id WHERE p.receipt_sha256 = $1

-- name: advance  From one stage to another; no row when they are not there, or no longer take part.
UPDATE participants SET stage = $3, stage_at = now(), seen_at = now()
WHERE id = $1 AND stage = $2 AND state = 'active' RETURNING stage

-- name: finish  The end of the way: done, with the completion code; the one given before if there is one.
UPDATE participants
SET stage = 'done', state = 'finished', completion_code = coalesce(completion_code, $3),
    stage_at = CASE WHEN state = 'active' THEN now() ELSE stage_at END, ended_at = coalesce(ended_at, now())
WHERE id = $1 AND ((stage = $2 AND state = 'active') OR state = 'finished')
RETURNING completion_code

-- name: stop  A participant ends before the end: dropped_out, removed, failed or withdrawn, with the reason.
UPDATE participants SET state = $2, end_reason = $3, ended_at = now() WHERE id = $1 AND state = 'active' RETURNING id

-- name: seen  Their page or socket was heard of.
UPDATE participants SET seen_at = now() WHERE id = $1 AND state = 'active' RETURNING id

-- name: debriefed  The debrief was shown.
UPDATE participants SET debriefed_at = coalesce(debriefed_at, now()) WHERE id = $1 RETURNING debriefed_at

-- name: give_receipt  Stores the hash of a receipt code; no row when one was given before.
UPDATE participants SET receipt_sha256 = $2
WHERE id = $1 AND receipt_sha256 IS NULL AND state <> 'withdrawn' AND erased_at IS NULL RETURNING id

-- name: answer  Answers of a stage, from parallel arrays, while the participant is in it; a later one replaces an earlier. Tells how many.
WITH who AS (
    SELECT id FROM participants WHERE id = $1 AND stage = $2 AND state = 'active' FOR NO KEY UPDATE
), kept AS (
    INSERT INTO answers (participant_id, stage, question, value)
    SELECT who.id, $2, a.question, a.value FROM who, unnest($3::text[], $4::jsonb[]) AS a (question, value)
    ON CONFLICT (participant_id, stage, question) DO UPDATE SET value = excluded.value, at = now()
)
SELECT id FROM who

-- name: answers  What a participant has answered in a stage.
SELECT question, value::text AS value, at FROM answers WHERE participant_id = $1 AND stage = $2 ORDER BY question

-- name: guesses  How many attempts were counted under a key in the window of $2 seconds that runs, and when it ends.
SELECT attempts, ceil(extract(epoch FROM window_start) + $2::int - extract(epoch FROM now()))::int AS left
FROM login_attempts WHERE key = $1 AND window_start = to_timestamp(floor(extract(epoch FROM now()) / $2::int) * $2::int)
