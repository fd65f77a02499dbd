-- API keys of programs.

-- name: hold_owner  Nobody else makes keys for this admin or disables them until we are done; no row for a disabled one.
SELECT username FROM admin WHERE id = $1 AND disabled_at IS NULL FOR NO KEY UPDATE

-- name: add  A new key; no row when the admin has $5 that live.
INSERT INTO admin_keys (admin_id, name, key_sha256, expires_at)
SELECT $1, $2, $3, now() + make_interval(days => $4)
WHERE (SELECT count(*) FROM admin_keys WHERE admin_id = $1 AND revoked_at IS NULL AND expires_at > now()) < $5
RETURNING id, name, created_at, expires_at

-- name: holder  The admin who acts by a live key; that it was used is written once a minute.
WITH found AS (
    SELECT k.id AS key_id, a.id, a.username, a.email, a.role
    FROM admin_keys k JOIN admin a ON a.id = k.admin_id
    WHERE k.key_sha256 = $1 AND k.revoked_at IS NULL AND k.expires_at > now() AND a.disabled_at IS NULL
), noted AS (
    UPDATE admin_keys k SET last_used_at = now() FROM found f
    WHERE k.id = f.key_id AND (k.last_used_at IS NULL OR k.last_used_at <= now() - interval '1 minute')
)
SELECT id, username, email, role FROM found

-- name: keys  The newest 200 keys, those that live first.
SELECT k.id, k.admin_id, a.username AS owner, k.name, k.created_at, k.expires_at, k.last_used_at,
       CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'live' END AS state
FROM admin_keys k JOIN admin a ON a.id = k.admin_id
ORDER BY (k.revoked_at IS NULL AND k.expires_at > now()) DESC, k.id DESC LIMIT 200

-- name: revoke  Ends a live key, of admin $2 if given.
UPDATE admin_keys SET revoked_at = now()
WHERE id = $1 AND ($2::bigint IS NULL OR admin_id = $2) AND revoked_at IS NULL AND expires_at > now() RETURNING name
