-- What a study's package holds: each statement is a file of it, its first line what the file is, each line of its
-- SELECT a column with what it means. `[json]`, `[hex]`, `[base64]` say in what form a column stands there.
-- $1 is the study, or, for what lies in rooms, some of its rooms.

-- name: participants  In the study: one row a participant.
-- Everybody who came in, under a pseudonym. Whoever withdrew stays as a row without content.
SELECT
    p.pseudonym AS participant, -- The participant's pseudonym, unique in the study.
    p.arm, -- The arm (treatment) they were assigned to; empty before that.
    p.stratum, -- The stratum in which they were assigned: their answer to the question the design names.
    p.place, -- Their place in the seeded blocks of their stratum, from 1; missing if their token named the arm.
    p.stage, -- How far they came: intake, chat, closing, debrief, done.
    p.state, -- active, finished, withdrawn, dropped_out, removed, failed.
    p.end_reason, -- Why they ended where they did.
    p.kept, -- What becomes of their data if they withdraw, or became of it when they did: erase or anonymised.
    p.consent_sha256, -- [hex] SHA-256 of the consent text they agreed to; missing where consent was obtained elsewhere.
    p.consented_at, -- When they agreed.
    p.created_at, -- When they came in.
    p.stage_at, -- When they came to their stage.
    p.seen_at, -- When their page or socket was last heard of.
    p.debriefed_at, -- When the debrief was shown.
    p.ended_at, -- When they finished, left or withdrew.
    p.erased_at -- Since when nothing of them is left but this row.
FROM participants p WHERE p.study_id = $1 ORDER BY p.id

-- name: assignments  In the study: one row a participant.
-- Who came into which arm, and how it was decided; with design.json and the seed, each can be worked out again.
SELECT
    p.pseudonym AS participant, -- The participant.
    p.arm, -- The arm.
    CASE WHEN t.arm IS NOT NULL THEN 'token' WHEN p.place IS NOT NULL THEN 'drawn' ELSE 'none' END AS how, -- token: their token named it; drawn: by seeded blocks; none: not assigned, or erased.
    p.stratum, -- The stratum.
    p.place, -- The place in the stratum, from 1.
    (p.place - 1) / (SELECT (s.design -> 'repeat')::int * sum((a.value -> 'weight')::int)
                     FROM studies s, jsonb_each(s.design -> 'arms') a WHERE s.id = p.study_id GROUP BY s.id) + 1 AS block -- The block of the place, from 1.
FROM participants p JOIN study_tokens t ON t.id = p.token_id WHERE p.study_id = $1 ORDER BY p.id

-- name: strata  In the study: one row a stratum.
-- How many places were handed out in each stratum.
SELECT
    stratum, -- The stratum; empty where there are none.
    count AS places -- Places handed out, also to those who were erased.
FROM study_assigned WHERE study_id = $1 ORDER BY stratum

-- name: attrition  In the study: one row an arm.
-- Who came, and how far, by arm. Withdrawn participants are counted, whatever became of their data.
SELECT
    p.arm, -- The arm; empty: left before they were assigned.
    count(*) AS came, -- All who came in.
    count(*) FILTER (WHERE p.state = 'finished') AS finished, -- Came to the end.
    count(*) FILTER (WHERE p.state = 'active') AS active, -- Still on the way.
    count(*) FILTER (WHERE p.state = 'dropped_out') AS dropped_out, -- Went away.
    count(*) FILTER (WHERE p.state = 'removed') AS removed, -- Were removed by a researcher.
    count(*) FILTER (WHERE p.state = 'failed') AS failed, -- Were let down by this program.
    count(*) FILTER (WHERE p.state = 'withdrawn') AS withdrawn, -- Withdrew.
    count(*) FILTER (WHERE p.state = 'withdrawn' AND p.kept = 'erase') AS withdrawn_erased, -- Of these: their data is erased.
    count(*) FILTER (WHERE p.state = 'withdrawn' AND p.kept = 'anonymised') AS withdrawn_anonymised, -- Of these: their data is kept, with nothing that leads to them.
    count(*) FILTER (WHERE p.stage = 'intake') AS stage_intake, -- Came no further than the questions before.
    count(*) FILTER (WHERE p.stage = 'chat') AS stage_chat, -- Came no further than the room.
    count(*) FILTER (WHERE p.stage = 'closing') AS stage_closing, -- Came no further than the questions after.
    count(*) FILTER (WHERE p.stage = 'debrief') AS stage_debrief, -- Came no further than the debrief.
    count(*) FILTER (WHERE p.stage = 'done') AS stage_done, -- Saw the last page.
    count(*) FILTER (WHERE p.debriefed_at IS NOT NULL) AS debriefed -- Were shown the debrief.
FROM participants p WHERE p.study_id = $1 GROUP BY p.arm ORDER BY p.arm

-- name: answers  In the study: one row an answer.
-- Answers to the questions before and after the room, in long form; questionnaire holds the same, a row a participant.
SELECT
    p.pseudonym AS participant, -- The participant.
    a.stage, -- intake (before the room) or closing (after it).
    a.question, -- The question's id; the codebook has its text.
    a.value, -- [json] The answer: a text, a number, a list of options; null: asked, not answered.
    a.at -- When.
FROM answers a JOIN participants p ON p.id = a.participant_id WHERE p.study_id = $1 ORDER BY p.id, a.stage, a.question

-- name: tokens  In the study: one row a kind of token.
-- How many tokens there are, by the arm they lead to and how they stand. Neither tokens nor their labels or hashes are in the package.
SELECT
    t.arm, -- The arm; missing: whoever comes is assigned.
    t.own, -- From the study's own list.
    CASE WHEN t.redeemed_at IS NOT NULL THEN 'used' WHEN t.revoked_at IS NOT NULL THEN 'revoked' ELSE 'open' END AS state, -- open, used, revoked.
    count(*) AS tokens -- How many.
FROM study_tokens t WHERE t.study_id = $1 GROUP BY 1, 2, 3 ORDER BY 1 NULLS FIRST, 2, 3

-- name: cast_members  In the study: one row an agent.
-- The agents of the study's rooms, as the model was told to play them.
SELECT
    m.ordinal, -- The agent's number in every room, from 1.
    m.name, -- What it is called there.
    m.persona_id, -- The persona.
    p.username, -- The persona's username.
    p.description, -- Who it is.
    p.bio, -- Its public line.
    p.profile, -- [json] Traits, goals, style and so on.
    p.model, -- A model of its own; missing: the study's.
    p.temperature -- A temperature of its own; missing: the study's.
FROM study_members m JOIN personas p ON p.id = m.persona_id WHERE m.study_id = $1 ORDER BY m.ordinal

-- name: sessions  In rooms: one row a session.
-- The rooms. A room whose participant was erased has no words any more, in any file.
SELECT
    r.key AS session, -- The session's id, as in its log.
    p.pseudonym AS participant, -- Whose it is; missing where they came again and had another.
    r.arm, -- The arm.
    r.seed, -- The seed of all chance in the room.
    r.pace, -- [json] How fast it was, and for how long.
    r.state, -- waiting, running, ending, ended.
    r.end_reason, -- time, left, dropped_out, removed, withdrawn, error, budget, study_closed.
    r.run_id, -- The run in the ledger.
    r.messages_count, -- Messages written in it.
    r.events_count, -- Events told in it.
    r.visits, -- How often the participant connected.
    r.created_at, -- When it was opened.
    r.started_at, -- When the participant first connected and the clock began.
    r.ends_at, -- When the clock ends.
    r.ended_at, -- When it took nothing more.
    r.erased_at -- When its words were erased.
FROM rooms r LEFT JOIN participants p ON p.id = r.participant_id WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id

-- name: members  In rooms: one row a member of a session.
-- Who is in which room: the participant has the number 0, agents those from 1.
SELECT
    r.key AS session, -- The session.
    m.ordinal AS member, -- The member's number in the room.
    m.name, -- What they are called in rows and prompts.
    m.persona_id, -- The persona that plays them; missing for the participant.
    m.told_up_to -- Up to which event the participant had received everything.
FROM room_members m JOIN rooms r ON r.id = m.room_id WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id, m.ordinal

-- name: messages  In rooms: one row a message.
-- What was written, without a gap in each session.
SELECT
    r.key AS session, -- The session.
    m.number, -- The message's number in the session, from 1.
    m.key AS message_id, -- The message's id, as on the wire and in logs.
    m.member, -- Who wrote it.
    w.name AS sender, -- Their name.
    nullif(m.body, '') AS body, -- The text; missing where it was erased.
    m.reply_to, -- The number of the message it answers.
    m.quoted_text, -- What it quotes of that.
    m.mentions, -- [json] The members it names.
    m.turn_id, -- The agent's turn in which it was written.
    (SELECT count(*) FROM room_reactions x WHERE (x.room_id, x.number, x.kind) = (m.room_id, m.number, 'like')) AS likes, -- How many like it in the end.
    m.at -- When it was told.
FROM room_messages m
JOIN rooms r ON r.id = m.room_id JOIN room_members w ON w.room_id = m.room_id AND w.ordinal = m.member
WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id, m.number

-- name: events  In rooms: one row an event.
-- All that a room's members were told, in its order.
SELECT
    r.key AS session, -- The session.
    e.position, -- The event's position in the session, from 1, without a gap.
    e.kind, -- message, typing, message_like, message_report, user_block, ended; notice, paused, resumed, extended: what researchers did; erased: something a participant did who was erased.
    e.number, -- The message it is about.
    e.member, -- Who did it.
    e.detail, -- [json] What else belongs to it.
    e.at -- When.
FROM room_events e JOIN rooms r ON r.id = e.room_id WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id, e.position

-- name: reactions  In rooms: one row a like.
-- Likes as they stand in the end; how they came and went is in events.
SELECT
    r.key AS session, -- The session.
    x.number, -- The message liked.
    x.member, -- Who likes it.
    x.at -- When.
FROM room_reactions x JOIN rooms r ON r.id = x.room_id
WHERE r.id = ANY ($1::bigint[]) AND x.kind = 'like' ORDER BY r.id, x.number, x.member

-- name: reports  In rooms: one row a report.
-- Messages that participants reported.
SELECT
    r.key AS session, -- The session.
    x.number, -- The message reported.
    x.member, -- Who reported it.
    x.reason, -- Why, in their words; may be empty.
    x.at -- When.
FROM room_reactions x JOIN rooms r ON r.id = x.room_id
WHERE r.id = ANY ($1::bigint[]) AND x.kind = 'report' ORDER BY r.id, x.number, x.member

-- name: blocks  In rooms: one row a block.
-- Whom participants blocked.
SELECT
    r.key AS session, -- The session.
    b.member, -- Who blocked.
    b.blocked, -- Whom.
    b.at -- When.
FROM room_blocks b JOIN rooms r ON r.id = b.room_id WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id, b.member, b.blocked

-- name: turns  In rooms: one row a turn.
-- The agents' goes: why each had one, and what came of it.
SELECT
    r.key AS session, -- The session.
    t.id AS turn_id, -- The turn.
    g.member, -- The agent.
    g.cause, -- background (by itself), answer (to the participant), addressed (spoken to).
    g.number, -- The participant's message it answers.
    g.plan, -- What happens only once: tick/N, answer/NUMBER, answer/NUMBER/MEMBER.
    t.state, -- done, limit, refused, failed, deferred; queued and running while under way.
    t.reason, -- Why it ended so.
    t.epoch, -- How often it was claimed by a process.
    t.next_step AS steps, -- Model calls.
    t.started_at, -- When it began.
    t.ended_at -- When it ended.
FROM turns t JOIN rooms r ON r.run_id = t.run_id JOIN room_goes g ON g.turn_id = t.id
WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id, t.id

-- name: calls  In rooms: one row a model call.
-- What models were asked and answered. The messages of a call's request are the `told` and `reply` of its turn's steps, one after the other, up to its own `told`.
SELECT
    r.key AS session, -- The session.
    c.turn_id, -- The turn.
    c.step, -- The step in the turn, from 0.
    c.status, -- ok, or what went wrong.
    c.detail, -- In words; erased: the words of this call are gone.
    c.model, -- The model asked for.
    c.model_returned, -- The model that said it answered.
    c.options, -- [json] Temperature, seed and so on, as sent.
    CASE WHEN r.erased_at IS NULL THEN c.told END AS told, -- [json] The messages added since the step before.
    CASE WHEN r.erased_at IS NULL THEN nullif(c.reply, '') END AS reply, -- [json] The assistant's message.
    CASE WHEN r.erased_at IS NULL THEN c.response END AS response, -- [base64] The answer as received.
    c.tools_sha256, -- [hex] Which tool schemas were sent: see texts.
    c.request_sha256, -- [hex] SHA-256 of the request as sent.
    c.prompt_tokens, -- Tokens read.
    c.completion_tokens, -- Tokens written.
    c.cached_tokens, -- Of those read: from the provider's cache.
    c.cost_usd, -- US dollars; missing: the price is unknown.
    c.latency_ms, -- Milliseconds.
    c.created_at -- When it was stored.
FROM rooms r JOIN turns t ON t.run_id = r.run_id JOIN calls c ON c.turn_id = t.id
WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id, c.turn_id, c.step

-- name: actions  In rooms: one row a function call of a model.
-- What agents did, or tried to.
SELECT
    r.key AS session, -- The session.
    a.turn_id, -- The turn.
    a.step, -- The step.
    a.ordinal, -- The place in the reply, from 0.
    a.name, -- The function called.
    CASE WHEN r.erased_at IS NULL THEN a.arguments END AS arguments, -- Its arguments as written.
    a.effect, -- What it would change; missing where nothing.
    a.target_id, -- The message it is aimed at, by number.
    a.outcome, -- made, already, not_found, not_allowed, read, refused, ended.
    a.object_id AS draft_id, -- The draft it made.
    CASE WHEN r.erased_at IS NULL THEN a.detail END AS detail -- Why it was refused.
FROM rooms r JOIN turns t ON t.run_id = r.run_id JOIN actions a ON a.turn_id = t.id
WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id, a.turn_id, a.step, a.ordinal

-- name: drafts  In rooms: one row a draft.
-- What agents wrote before it was told: as messages, or not.
SELECT
    r.key AS session, -- The session.
    d.id AS draft_id, -- The draft.
    d.member, -- The agent.
    d.turn_id, -- The turn in which it was written.
    d.kind, -- say or like_message.
    nullif(d.body, '') AS body, -- The text; missing for likes, and where it was erased.
    d.reply_to, -- The number of the message it answers or likes.
    d.state, -- typing, sent, discarded.
    d.reason, -- Why it was discarded.
    d.made_at, -- When it was written.
    d.settled_at -- When it was told or discarded.
FROM room_drafts d JOIN rooms r ON r.id = d.room_id WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id, d.id

-- name: texts  In rooms: one row a text.
-- Tool schemas that were sent with requests.
SELECT
    x.sha256 AS tools_sha256, -- [hex] SHA-256 of the text.
    x.body -- [json] The tool schemas.
FROM prompt_texts x
WHERE x.sha256 IN (
    SELECT c.tools_sha256 FROM rooms r JOIN turns t ON t.run_id = r.run_id JOIN calls c ON c.turn_id = t.id
    WHERE r.id = ANY ($1::bigint[])
) ORDER BY x.sha256

-- name: room_ids  Not a file: the study's rooms.
SELECT id FROM rooms WHERE study_id = $1 ORDER BY id

-- name: now  Not a file: when the snapshot was taken.
SELECT now() AS at, (SELECT version_num FROM alembic_version) AS schema, current_setting('server_version') AS server

-- name: study  Not a file: the study itself.
SELECT id, name, state, consent, design::text AS design, design_sha256, seed, created_at, opened_at, closed_at
FROM studies WHERE id = $1
