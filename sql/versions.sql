-- What personas were before: each replacement keeps the description it replaced.

-- name: lock  One persona that has not departed; who changes it next waits.
SELECT id, username, description, bio, profile, model, temperature, activity, status
FROM personas WHERE id = $1 AND status IN ('active', 'paused') FOR NO KEY UPDATE

-- name: keep  The next version of persona $1, told from here on as $2, replaced by admin $3. The persona is locked.
INSERT INTO persona_versions (persona_id, version, spec, replaced_by)
SELECT $1::bigint, coalesce(max(version), 0) + 1, $2::jsonb, $3::bigint FROM persona_versions WHERE persona_id = $1
RETURNING version

-- name: number  Which version persona $1 is at.
SELECT coalesce(max(version), 0) + 1 FROM persona_versions WHERE persona_id = $1

-- name: versions  Former versions of persona $1 before version $2, newest first.
SELECT v.version, v.spec::text AS spec, v.created_at, v.replaced_by, a.username AS admin
FROM persona_versions v LEFT JOIN admin a ON a.id = v.replaced_by
WHERE v.persona_id = $1 AND v.version < $2 ORDER BY v.version DESC LIMIT $3

-- name: version  One of them.
SELECT spec::text AS spec FROM persona_versions WHERE persona_id = $1 AND version = $2

-- name: come_back  A departed persona is here again, paused.
UPDATE personas SET status = 'paused', departed_at = NULL WHERE id = $1 AND status = 'departed' RETURNING username
