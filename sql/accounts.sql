-- Admins, invitations and sessions. Whatever may happen once is one conditional statement.

-- name: bootstrap  Takes the right to register the first admin; no row when it was taken before.
UPDATE instance SET bootstrapped_at = now() WHERE bootstrapped_at IS NULL RETURNING bootstrapped_at

-- name: bootstrapped  Whether there has been a first admin.
SELECT bootstrapped_at IS NOT NULL FROM instance

-- name: accept_invitation  Uses an invitation for its address; no row when it is unknown, used, revoked, expired or another's.
UPDATE admin_invitations SET accepted_at = now()
WHERE token_sha256 = $1 AND lower(email) = lower($2)
  AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()
RETURNING role

-- name: add_admin  A new admin; no row when username or e-mail is taken.
INSERT INTO admin (username, email, password_hash, role) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING id, username, email, role, created_at

-- name: invite  A new invitation; older open ones for the address end.
WITH older AS (
    UPDATE admin_invitations SET revoked_at = now()
    WHERE lower(email) = lower($1) AND accepted_at IS NULL AND revoked_at IS NULL
)
INSERT INTO admin_invitations (email, token_sha256, invited_by, expires_at, role)
VALUES ($1, $2, $3, now() + make_interval(hours => $4), $5)
RETURNING id, email, role, created_at, expires_at

-- name: invitations  All invitations, newest first, with their state.
SELECT i.id, i.email, i.role, a.username AS invited_by, i.created_at, i.expires_at, i.accepted_at, i.revoked_at,
       CASE WHEN i.accepted_at IS NOT NULL THEN u.username END AS used_by,
       CASE WHEN i.accepted_at IS NOT NULL THEN 'accepted' WHEN i.revoked_at IS NOT NULL THEN 'revoked'
            WHEN i.expires_at <= now() THEN 'expired' ELSE 'open' END AS state
FROM admin_invitations i LEFT JOIN admin a ON a.id = i.invited_by LEFT JOIN admin u ON lower(u.email) = lower(i.email)
ORDER BY i.id DESC LIMIT 200

-- name: revoke_invitation  Ends an open invitation.
UPDATE admin_invitations SET revoked_at = now() WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id

-- name: by_login  An admin by username or e-mail; `second` when codes of an authenticator are asked for.
SELECT id, username, email, role, password_hash,
       EXISTS (SELECT FROM admin_totp t WHERE t.admin_id = admin.id AND t.confirmed_at IS NOT NULL) AS second
FROM admin
WHERE (lower(username) = lower($1) OR lower(email) = lower($1)) AND disabled_at IS NULL
ORDER BY lower(username) = lower($1) DESC LIMIT 1

-- name: by_id  An admin who is not disabled.
SELECT id, username, email, role, password_hash FROM admin WHERE id = $1 AND disabled_at IS NULL

-- name: admins  All admins.
SELECT id, username, email, role, created_at, disabled_at FROM admin ORDER BY id

-- name: roll  All admins, when each signed in last, and how many sessions are open.
SELECT a.id, a.username, a.email, a.role, a.created_at, a.disabled_at, s.last_sign_in, coalesce(s.open, 0) AS sessions,
       EXISTS (SELECT FROM admin_totp t WHERE t.admin_id = a.id AND t.confirmed_at IS NOT NULL) AS second
FROM admin a LEFT JOIN LATERAL (
    SELECT max(created_at) AS last_sign_in, count(*) FILTER (WHERE revoked_at IS NULL AND expires_at > now()) AS open
    FROM admin_sessions WHERE admin_id = a.id
) s ON true
ORDER BY a.id LIMIT 500

-- name: hold_admins  Nobody else disables, changes a role or is signed in until we are done.
SELECT id FROM admin WHERE disabled_at IS NULL ORDER BY id FOR NO KEY UPDATE

-- name: disable  Shuts $1 out on behalf of admin $2, who must not be shut out; sessions, open invitations and keys end.
WITH gone AS (
    UPDATE admin SET disabled_at = now()
    WHERE id = $1 AND id <> $2 AND disabled_at IS NULL
      AND EXISTS (SELECT FROM admin doer WHERE doer.id = $2 AND doer.role = 'admin' AND doer.disabled_at IS NULL)
    RETURNING id, username
), dead AS (
    UPDATE admin_keys SET revoked_at = now() WHERE admin_id IN (SELECT id FROM gone) AND revoked_at IS NULL
), ended AS (
    UPDATE admin_sessions SET revoked_at = now() WHERE admin_id IN (SELECT id FROM gone) AND revoked_at IS NULL
), withdrawn AS (
    UPDATE admin_invitations SET revoked_at = now()
    WHERE invited_by IN (SELECT id FROM gone) AND accepted_at IS NULL AND revoked_at IS NULL
)
SELECT username FROM gone

-- name: enable  Lets a disabled admin in again.
UPDATE admin SET disabled_at = NULL WHERE id = $1 AND disabled_at IS NOT NULL RETURNING username

-- name: set_role  Makes $1 a $3 on behalf of admin $2, who stays one; what an observer had invited is withdrawn.
WITH changed AS (
    UPDATE admin SET role = $3
    WHERE id = $1 AND id <> $2 AND role <> $3
      AND EXISTS (SELECT FROM admin doer WHERE doer.id = $2 AND doer.role = 'admin' AND doer.disabled_at IS NULL)
    RETURNING id, username
), withdrawn AS (
    UPDATE admin_invitations SET revoked_at = now()
    WHERE $3 = 'observer' AND invited_by IN (SELECT id FROM changed) AND accepted_at IS NULL AND revoked_at IS NULL
)
SELECT username FROM changed

-- name: role  An admin's role, disabled or not.
SELECT role FROM admin WHERE id = $1

-- name: open_session  A session that access tokens hang on; no row for a disabled admin.
INSERT INTO admin_sessions (jti, admin_id, expires_at)
SELECT $1, id, now() + make_interval(mins => $3) FROM admin WHERE id = $2 AND disabled_at IS NULL FOR SHARE
RETURNING created_at, expires_at

-- name: sessions  An admin's live sessions.
SELECT jti, created_at, expires_at FROM admin_sessions
WHERE admin_id = $1 AND revoked_at IS NULL AND expires_at > now() ORDER BY created_at DESC LIMIT 200

-- name: session  The admin of a live session.
SELECT a.id, a.username, a.email, a.role FROM admin_sessions s JOIN admin a ON a.id = s.admin_id
WHERE s.jti = $1 AND s.admin_id = $2 AND s.revoked_at IS NULL AND s.expires_at > now() AND a.disabled_at IS NULL

-- name: close_session  Ends one session.
UPDATE admin_sessions SET revoked_at = now() WHERE jti = $1 AND revoked_at IS NULL

-- name: end_session  Ends a session of admin $1; no row when it has ended or is another's.
UPDATE admin_sessions SET revoked_at = now()
WHERE admin_id = $1 AND jti = $2 AND revoked_at IS NULL AND expires_at > now() RETURNING jti

-- name: end_sessions  Ends all sessions of an admin.
UPDATE admin_sessions SET revoked_at = now() WHERE admin_id = $1 AND revoked_at IS NULL AND expires_at > now() RETURNING jti

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

-- name: audit_stretch  How the chain holds on after entry $1 with hash $2, for $3 entries.
WITH made AS (
    SELECT id, hash, previous, coalesce(lag(hash) OVER (ORDER BY id), $2::bytea) AS last, sha256(
        previous || convert_to(jsonb_build_array(
            id, extract(epoch FROM at), admin_id, action, subject, detail
        )::text, 'UTF8')
    ) AS made
    FROM (SELECT * FROM audit WHERE id > $1::bigint ORDER BY id LIMIT $3) stretch
)
SELECT count(*) AS entries, max(id) AS last_id, (SELECT hash FROM made ORDER BY id DESC LIMIT 1) AS head,
       min(id) FILTER (WHERE previous <> last OR hash <> made) AS broken
FROM made

-- name: audit_goes_on  Whether there is an entry after $1.
SELECT EXISTS (SELECT FROM audit WHERE id > $1)

-- name: audit_page  The newest $5 entries before $1 of those that match, among the newest $6; admin 0 is nobody.
SELECT l.id, l.at, l.admin_id, a.username, l.action, l.subject, l.detail::text AS detail, l.hash
FROM (SELECT * FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $6) l LEFT JOIN admin a ON a.id = l.admin_id
WHERE ($2::bigint IS NULL OR coalesce(l.admin_id, 0) = $2)
  AND ($3::text IS NULL OR l.action = $3)
  AND ($4::text IS NULL OR strpos(lower(l.subject || ' ' || l.detail::text), lower($4)) > 0)
ORDER BY l.id DESC LIMIT $5

-- name: audit_looked  The oldest of the newest $2 entries before $1; no row when no older ones are left.
SELECT id FROM audit WHERE id < $1 AND EXISTS (SELECT FROM audit o WHERE o.id < audit.id)
ORDER BY id DESC OFFSET $2::int - 1 LIMIT 1

-- name: audit_actions  The kinds of the newest $1 entries.
SELECT DISTINCT action FROM (SELECT action FROM audit ORDER BY id DESC LIMIT $1) newest ORDER BY action

-- name: audit_lines  The next $2 entries after $1, with the text that the hash is made of.
SELECT l.id, l.at, l.admin_id, a.username AS admin, l.action, l.subject, l.detail::text AS detail,
       encode(l.previous, 'hex') AS previous, encode(l.hash, 'hex') AS hash,
       jsonb_build_array(l.id, extract(epoch FROM l.at), l.admin_id, l.action, l.subject, l.detail)::text AS hashed
FROM (SELECT * FROM audit WHERE id > $1::bigint ORDER BY id LIMIT $2) l LEFT JOIN admin a ON a.id = l.admin_id
ORDER BY l.id
