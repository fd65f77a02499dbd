-- Admins, invitations and sessions. Whatever may happen once is one conditional statement.

-- name: bootstrap  Takes the right to register the first admin; no row when it was taken before.
UPDATE instance SET bootstrapped_at = now() WHERE bootstrapped_at IS NULL RETURNING bootstrapped_at

-- name: bootstrapped  Whether there has been a first admin.
SELECT bootstrapped_at IS NOT NULL FROM instance

-- name: accept_invitation  Uses an invitation for its address; no row when it is unknown, used, revoked, expired or another's.
UPDATE admin_invitations SET accepted_at = now()
WHERE token_sha256 = $1 AND lower(email) = lower($2)
  AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()
RETURNING id

-- name: add_admin  A new admin; no row when username or e-mail is taken.
INSERT INTO admin (username, email, password_hash) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING id, username, email, created_at

-- name: invite  A new invitation; older open ones for the address end.
WITH older AS (
    UPDATE admin_invitations SET revoked_at = now()
    WHERE lower(email) = lower($1) AND accepted_at IS NULL AND revoked_at IS NULL
)
INSERT INTO admin_invitations (email, token_sha256, invited_by, expires_at)
VALUES ($1, $2, $3, now() + make_interval(hours => $4))
RETURNING id, email, created_at, expires_at

-- name: invitations  All invitations, newest first, with their state.
SELECT i.id, i.email, a.username AS invited_by, i.created_at, i.expires_at, i.accepted_at, i.revoked_at,
       CASE WHEN i.accepted_at IS NOT NULL THEN 'accepted' WHEN i.revoked_at IS NOT NULL THEN 'revoked'
            WHEN i.expires_at <= now() THEN 'expired' ELSE 'open' END AS state
FROM admin_invitations i LEFT JOIN admin a ON a.id = i.invited_by ORDER BY i.id DESC LIMIT 200

-- name: revoke_invitation  Ends an open invitation.
UPDATE admin_invitations SET revoked_at = now() WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id

-- name: by_login  An admin by username or e-mail.
SELECT id, username, email, password_hash FROM admin
WHERE (lower(username) = lower($1) OR lower(email) = lower($1)) AND disabled_at IS NULL
ORDER BY lower(username) = lower($1) DESC LIMIT 1

-- name: admins  All admins.
SELECT id, username, email, created_at, disabled_at FROM admin ORDER BY id

-- name: open_session  A session that access tokens hang on.
INSERT INTO admin_sessions (jti, admin_id, expires_at) VALUES ($1, $2, now() + make_interval(mins => $3))
RETURNING created_at, expires_at

-- name: session  The admin of a live session.
SELECT a.id, a.username, a.email FROM admin_sessions s JOIN admin a ON a.id = s.admin_id
WHERE s.jti = $1 AND s.admin_id = $2 AND s.revoked_at IS NULL AND s.expires_at > now() AND a.disabled_at IS NULL

-- name: close_session  Ends one session.
UPDATE admin_sessions SET revoked_at = now() WHERE jti = $1 AND revoked_at IS NULL

-- name: set_password  A new password ends all sessions.
WITH ended AS (UPDATE admin_sessions SET revoked_at = now() WHERE admin_id = $1 AND revoked_at IS NULL)
UPDATE admin SET password_hash = $2 WHERE id = $1 RETURNING id

-- name: rehash  The same password under newer parameters.
UPDATE admin SET password_hash = $2 WHERE id = $1

-- name: count_attempt  Counts an attempt in the window of $2 seconds and tells how many that makes, and when it ends.
INSERT INTO login_attempts (key, window_start, attempts)
VALUES ($1, to_timestamp(floor(extract(epoch FROM now()) / $2::int) * $2::int), 1)
ON CONFLICT (key, window_start) DO UPDATE SET attempts = login_attempts.attempts + 1
RETURNING attempts, ceil(extract(epoch FROM window_start) + $2::int - extract(epoch FROM now()))::int AS left

-- name: take_back_attempts  One attempt less under each key of $1 in its newest window; windows of yesterday end.
WITH old AS (DELETE FROM login_attempts WHERE window_start < now() - interval '1 day')
UPDATE login_attempts a SET attempts = greatest(0, attempts - 1)
WHERE key = ANY ($1::text[])
  AND window_start = (SELECT max(window_start) FROM login_attempts n WHERE n.key = a.key)

-- name: audit_turn  Waits until nobody else appends: entries are chained in the order of their ids.
SELECT pg_advisory_xact_lock(hashtextextended('audit', 0))

-- name: audit_append  What an admin did; the hash covers the entry and the hash before it.
WITH entry AS (SELECT nextval('audit_id_seq') AS id, clock_timestamp() AS at, $4::jsonb AS detail),
last AS (SELECT coalesce((SELECT hash FROM audit ORDER BY id DESC LIMIT 1), '') AS hash)
INSERT INTO audit (id, at, admin_id, action, subject, detail, previous, hash)
SELECT e.id, e.at, $1::bigint, $2::text, $3::text, e.detail, l.hash, sha256(l.hash || convert_to(jsonb_build_array(
    e.id, extract(epoch FROM e.at), $1::bigint, $2::text, $3::text, e.detail
)::text, 'UTF8'))
FROM entry e, last l

-- name: audit_broken  The first entry whose hash is not what it should be; no row when the chain holds.
SELECT id FROM (
    SELECT id, hash, previous, coalesce(lag(hash) OVER (ORDER BY id), '') AS last, sha256(
        previous || convert_to(jsonb_build_array(
            id, extract(epoch FROM at), admin_id, action, subject, detail
        )::text, 'UTF8')
    ) AS made
    FROM audit
) chain WHERE previous <> last OR hash <> made ORDER BY id LIMIT 1
