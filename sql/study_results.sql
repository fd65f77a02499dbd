-- A first look at what a study has brought: counts and spans only, by arm. Whoever was erased is not in them.

-- name: rooms  How long the rooms of study $1 took, and how much was written in them, by arm.
SELECT r.arm, count(*) AS rooms, count(*) FILTER (WHERE r.state IN ('ending', 'ended')) AS ended,
       percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY extract(epoch FROM r.ended_at - r.started_at)::float8)
           FILTER (WHERE r.ended_at IS NOT NULL AND r.started_at IS NOT NULL) AS seconds,
       percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY w.theirs) AS theirs,
       percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY w.others) AS others,
       count(*) FILTER (WHERE w.theirs = 0) AS silent
FROM rooms r
CROSS JOIN LATERAL (
    SELECT (count(*) FILTER (WHERE m.member = 0))::float8 AS theirs, (count(*) FILTER (WHERE m.member > 0))::float8 AS others
    FROM room_messages m WHERE m.room_id = r.id
) w
WHERE r.study_id = $1 AND r.participant_id IS NOT NULL AND r.erased_at IS NULL AND r.started_at IS NOT NULL
GROUP BY r.arm ORDER BY r.arm

-- name: ends  Why the rooms of study $1 ended, by arm.
SELECT arm, coalesce(end_reason, state) AS reason, count(*) AS rooms
FROM rooms WHERE study_id = $1 AND participant_id IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2

-- name: answered  How many answered each question of study $1 at stage $2, and how many were asked and did not, by arm.
SELECT p.arm, a.question, count(*) FILTER (WHERE a.value <> 'null') AS answered, count(*) FILTER (WHERE a.value = 'null') AS left_out
FROM participants p JOIN answers a ON a.participant_id = p.id
WHERE p.study_id = $1 AND a.stage = $2 GROUP BY 1, 2

-- name: chosen  How often each option or point of these questions ($3) was chosen, by arm.
SELECT p.arm, a.question, v.value::text AS value, count(*) AS times
FROM participants p JOIN answers a ON a.participant_id = p.id
CROSS JOIN LATERAL jsonb_array_elements(
    CASE jsonb_typeof(a.value) WHEN 'array' THEN a.value WHEN 'null' THEN '[]' ELSE jsonb_build_array(a.value) END
) AS v (value)
WHERE p.study_id = $1 AND a.stage = $2 AND a.question = ANY ($3::text[]) GROUP BY 1, 2, 3

-- name: spans  How the numbers that were given to these questions ($3) lie, by arm.
SELECT p.arm, a.question, percentile_cont(ARRAY[0, 0.25, 0.5, 0.75, 1]) WITHIN GROUP (ORDER BY a.value::text::float8) AS at
FROM participants p JOIN answers a ON a.participant_id = p.id
WHERE p.study_id = $1 AND a.stage = $2 AND a.question = ANY ($3::text[]) AND jsonb_typeof(a.value) = 'number' GROUP BY 1, 2
