-- What calls have cost, told apart by one thing or another. Each statement takes the first and the last day (UTC, null: any).

-- name: by_day
SELECT (c.created_at AT TIME ZONE 'UTC')::date::text AS day, {sums}

-- name: by_model
SELECT c.model AS model, {sums}

-- name: by_venue
SELECT r.venue AS venue, {sums}

-- name: by_run
SELECT r.id::text AS run, {sums}

-- name: by_persona
SELECT p.username AS persona, {sums}

-- name: sums
count(*) AS calls, coalesce(sum(greatest(0, c.prompt_tokens)), 0)::bigint AS prompt_tokens,
coalesce(sum(greatest(0, c.cached_tokens)), 0)::bigint AS cached_tokens,
coalesce(sum(greatest(0, c.completion_tokens)), 0)::bigint AS completion_tokens,
coalesce(sum(c.cost_usd), 0)::float8 AS usd, count(*) FILTER (WHERE c.cost_usd IS NULL) AS unpriced

-- name: calls
FROM calls c JOIN turns t ON t.id = c.turn_id JOIN runs r ON r.id = t.run_id JOIN personas p ON p.id = t.persona_id
WHERE ($1::date IS NULL OR c.created_at >= $1::date::timestamp AT TIME ZONE 'UTC')
  AND ($2::date IS NULL OR c.created_at < ($2::date + 1)::timestamp AT TIME ZONE 'UTC')
GROUP BY 1 ORDER BY usd DESC, calls DESC, 1
