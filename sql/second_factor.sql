-- Authenticators and recovery codes. Whatever may count once is one conditional statement.

-- name: begin  A new secret that is not asked for yet; no row when one is in force.
INSERT INTO admin_totp (admin_id, secret) VALUES ($1, $2)
ON CONFLICT (admin_id) DO UPDATE SET secret = excluded.secret, last_step = 0, created_at = now()
WHERE admin_totp.confirmed_at IS NULL
RETURNING admin_id

-- name: pending  The secret that waits for its first code, for $2 minutes at most.
SELECT secret FROM admin_totp
WHERE admin_id = $1 AND confirmed_at IS NULL AND created_at > now() - make_interval(mins => $2)

-- name: confirm  Puts the secret $3 in force with the step of its first code; no row when it is, or is another by now.
UPDATE admin_totp SET confirmed_at = now(), last_step = $2
WHERE admin_id = $1 AND secret = $3 AND confirmed_at IS NULL RETURNING admin_id

-- name: secret  The secret in force.
SELECT secret FROM admin_totp WHERE admin_id = $1 AND confirmed_at IS NOT NULL

-- name: spend_step  Takes the code of step $2 of secret $3; no row when this step or a later one has been taken.
UPDATE admin_totp SET last_step = $2
WHERE admin_id = $1 AND secret = $3 AND confirmed_at IS NOT NULL AND last_step < $2 RETURNING admin_id

-- name: add_recovery  The hashes of new recovery codes instead of all older ones.
WITH old AS (DELETE FROM admin_recovery_codes WHERE admin_id = $1)
INSERT INTO admin_recovery_codes (admin_id, code_sha256) SELECT $1, unnest($2::bytea[])

-- name: spend_recovery  Takes a recovery code; no row when it is unknown or has been used.
UPDATE admin_recovery_codes SET used_at = now()
WHERE admin_id = $1 AND code_sha256 = $2 AND used_at IS NULL RETURNING admin_id

-- name: recovery_left  How many recovery codes are left.
SELECT count(*) FROM admin_recovery_codes WHERE admin_id = $1 AND used_at IS NULL

-- name: state  Since when codes are asked for, and how many recovery codes are left.
SELECT confirmed_at, (SELECT count(*) FROM admin_recovery_codes WHERE admin_id = $1 AND used_at IS NULL) AS recovery
FROM admin_totp WHERE admin_id = $1 AND confirmed_at IS NOT NULL

-- name: forget  No authenticator any more; no row when there was none in force.
WITH codes AS (DELETE FROM admin_recovery_codes WHERE admin_id = $1)
DELETE FROM admin_totp WHERE admin_id = $1 AND confirmed_at IS NOT NULL RETURNING admin_id
