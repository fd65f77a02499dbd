-- What has been spent, as admins look at it. Reads are bounded: by time, by turns, or by rows.

-- name: of_personas  What the last 400 turns of personas $1, as far as they are of the last seven days, came to.
SELECT g.id,
       (SELECT t.started_at FROM turns t WHERE t.persona_id = g.id AND t.started_at IS NOT NULL ORDER BY t.id DESC LIMIT 1)
           AS last_turn,
       coalesce(s.turns, 0) AS turns, coalesce(s.failed, 0) AS failed, coalesce(s.usd, 0)::float8 AS usd,
       coalesce(s.unpriced, 0) AS unpriced
FROM unnest($1::bigint[]) AS g (id)
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE t.ended_at IS NOT NULL) AS turns, count(*) FILTER (WHERE t.state = 'failed') AS failed,
           sum(c.usd) AS usd, sum(c.unpriced) AS unpriced
    FROM (SELECT id, state, started_at, ended_at FROM turns WHERE persona_id = g.id ORDER BY id DESC LIMIT 400) t
    LEFT JOIN LATERAL (
        SELECT sum(cost_usd) AS usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced FROM calls WHERE turn_id = t.id
    ) c ON true
    WHERE t.started_at >= now() - interval '7 days'
) s ON true

-- name: instance_today  What the whole instance has spent and holds today, where a cap has ever asked.
SELECT spent_tokens, spent_usd::float8, held_tokens, held_usd::float8
FROM budgets WHERE scope = 'instance' AND key = 0 AND day = (now() AT TIME ZONE 'UTC')::date

-- name: persona_today  The same of persona $1.
SELECT spent_tokens, spent_usd::float8, held_tokens, held_usd::float8
FROM budgets WHERE scope = 'persona' AND key = $1 AND day = (now() AT TIME ZONE 'UTC')::date

-- name: personas_today  The ten personas of the last 5,000 turns that have spent most today, where a cap has ever asked.
SELECT p.id, p.username, b.spent_tokens, b.spent_usd::float8, b.held_tokens, b.held_usd::float8
FROM (
    SELECT l.persona_id, d.* FROM (SELECT DISTINCT persona_id FROM (SELECT persona_id FROM turns ORDER BY id DESC LIMIT 5000) n) l
    CROSS JOIN LATERAL (
        SELECT spent_tokens, spent_usd, held_tokens, held_usd FROM budgets
        WHERE scope = 'persona' AND key = l.persona_id AND day = (now() AT TIME ZONE 'UTC')::date OFFSET 0
    ) d
    ORDER BY d.spent_usd DESC, d.spent_tokens DESC, l.persona_id LIMIT 10
) b
CROSS JOIN LATERAL (SELECT id, username FROM personas WHERE id = b.persona_id OFFSET 0) p
ORDER BY b.spent_usd DESC, b.spent_tokens DESC, p.id

-- name: runs  The ten newest runs that a cap has asked for.
SELECT r.id, r.venue, r.state, r.created_at, (r.settings ->> 'budget_tokens')::bigint AS cap_tokens,
       (r.settings ->> 'budget_usd')::float8 AS cap_usd, b.spent_tokens, b.spent_usd::float8, b.held_tokens,
       b.held_usd::float8
FROM (SELECT * FROM budgets WHERE scope = 'run' ORDER BY key DESC LIMIT 10) b JOIN runs r ON r.id = b.key
ORDER BY r.id DESC

-- name: day  What the calls of the day $1 (UTC) came to.
SELECT count(*) AS calls, coalesce(sum(greatest(0, prompt_tokens)::bigint + greatest(0, completion_tokens)), 0)::bigint AS tokens,
       coalesce(sum(greatest(0, cost_usd)), 0)::float8 AS usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced
FROM calls
WHERE created_at >= $1::date::timestamp AT TIME ZONE 'UTC' AND created_at < ($1::date + 1)::timestamp AT TIME ZONE 'UTC'

-- name: today  The day it is (UTC), and how much of it has passed.
SELECT (now() AT TIME ZONE 'UTC')::date AS day,
       (extract(epoch FROM (now() AT TIME ZONE 'UTC')::time) / 86400)::float8 AS passed

-- name: halt  Since when everything is halted, and who said so last, among the newest 5,000 entries of the audit trail.
SELECT i.halted_at, l.at, l.subject, a.username
FROM instance i
LEFT JOIN LATERAL (
    SELECT * FROM (SELECT * FROM audit ORDER BY id DESC LIMIT 5000) newest
    WHERE action = 'scheduler.halt' ORDER BY id DESC LIMIT 1
) l ON true
LEFT JOIN admin a ON a.id = l.admin_id

-- name: models  The models that personas name, with how many; null for none.
SELECT model, count(*) AS personas FROM personas WHERE status IN ('active', 'paused') GROUP BY model ORDER BY 2 DESC, 1 LIMIT 50
