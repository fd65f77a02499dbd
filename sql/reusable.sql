-- Answers to requests, for whoever asks the same again.

-- name: answer  What the request $1 was answered; it has been used once more.
UPDATE reusable SET uses = uses + 1 WHERE request_sha256 = $1 RETURNING model, reply, response

-- name: keep  The first answer to a request stays.
INSERT INTO reusable (request_sha256, model, reply, response, prompt_tokens, completion_tokens, cost_usd)
VALUES ($1, $2, $3, $4, $5, $6, $7::float8::numeric) ON CONFLICT DO NOTHING

-- name: kept  How many answers there are, how often they were used, and what that has saved.
SELECT count(*) AS answers, coalesce(sum(uses), 0) AS uses,
       coalesce(sum(uses::bigint * (prompt_tokens + completion_tokens)), 0)::bigint AS tokens,
       coalesce(sum(uses * cost_usd), 0)::float8 AS usd, min(created_at) AS oldest,
       pg_total_relation_size('reusable') AS bytes
FROM reusable

-- name: clear  Forgets them; those that were kept before $1, or (null) all.
WITH gone AS (DELETE FROM reusable WHERE $1::timestamptz IS NULL OR created_at < $1 RETURNING 1) SELECT count(*) FROM gone
