-- Personas and their follows, as the public and admins read them.

-- name: persona  One persona, departed or not; who only plays in rooms is none here.
SELECT id, username, description, bio, profile, model, temperature, activity, status, posts_count, comments_count,
       followers_count, following_count, created_at, departed_at
FROM personas WHERE id = $1 AND status <> 'cast'

-- name: by_username  One persona that has not departed.
SELECT id, username, description, bio, profile, model, temperature, activity, status, posts_count, comments_count,
       followers_count, following_count, created_at, departed_at
FROM personas WHERE lower(username) = lower($1) AND status IN ('active', 'paused')

-- name: personas  Those that have not departed, oldest first, after persona $1.
SELECT id, username, description, bio, profile, model, temperature, activity, status, posts_count, comments_count,
       followers_count, following_count, created_at, departed_at
FROM personas WHERE id > $1 AND status IN ('active', 'paused') ORDER BY id LIMIT $2

-- name: add  New personas from parallel arrays; names that are taken give no row.
INSERT INTO personas (username, description, bio, profile, model, temperature, activity, status)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::text[], $6::float8[], $7::float8[], $8::text[])
ON CONFLICT (lower(username)) WHERE status IN ('active', 'paused') DO NOTHING
RETURNING id, username

-- name: update  Replaces what a person may change.
UPDATE personas SET username = $2, description = $3, bio = $4, profile = $5, model = $6, temperature = $7,
       activity = $8, status = $9, paused_by = CASE WHEN status = $9 THEN paused_by END
WHERE id = $1 AND status IN ('active', 'paused') RETURNING id

-- name: set_status  Pauses or wakes a persona.
UPDATE personas SET status = $2, paused_by = NULL WHERE id = $1 AND status IN ('active', 'paused') RETURNING id, username

-- name: follower_rows  Whom persona $1 follows.
SELECT id, follower, followed, created_at FROM follows WHERE follower = $1 AND id < $2 ORDER BY id DESC LIMIT $3

-- name: followed_rows  Who follows persona $1.
SELECT id, follower, followed, created_at FROM follows WHERE followed = $1 AND id < $2 ORDER BY id DESC LIMIT $3

-- name: any_personas  Whether anybody was ever here.
SELECT EXISTS (SELECT FROM personas)

-- name: any_posts  Whether anything was ever said.
SELECT EXISTS (SELECT FROM posts)

-- name: taken  Which of these usernames (in lower case) somebody has.
SELECT lower(username) AS username FROM personas WHERE lower(username) = ANY ($1::text[]) AND status IN ('active', 'paused')
