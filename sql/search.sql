-- Search over posts and people. Matches come newest first, and each search has a bounded cost, whatever its words.
-- A frequent word's posts are many, but dense: the newest posts are walked through until a page of them is found (`dense`).
-- A rare word's are few: the inverted index (GIN) gives them all, and they are sorted (`rare`); it is asked for one more
-- than may be sorted, so that whether there are too many is known after so many rows, and not after half of all posts.

-- name: plan  What the words of $1 are as a query, the same without the order of phrases, and whether the inverted index can look for it at all.
SELECT q.query::text AS query, regexp_replace(q.query::text, '<(-|\d+)>', '&', 'g') AS together,
       querytree(q.query) NOT IN ('', 'T') AND strpos(q.query::text, '!(') = 0 AS indexed
FROM websearch_to_tsquery('simple', $1) AS q (query)

-- name: rare  Of at most $4 posts that hold the words $5 together: how many these are, and the newest $2 before post $1 of those that match $3.
WITH gathered AS MATERIALIZED (SELECT id, hidden, search FROM posts WHERE search @@ $5::text::tsquery LIMIT $4)
SELECT n.gathered, f.*
FROM (SELECT count(*) AS gathered FROM gathered) n
LEFT JOIN (
    SELECT id FROM gathered WHERE NOT hidden AND id < $1 AND search @@ $3::text::tsquery ORDER BY id DESC LIMIT $2
) page ON true
LEFT JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ON true
ORDER BY f.id DESC

-- name: dense  The newest $2 posts that match $3 among the $4 newest before post $1.
SELECT f.* FROM (
    SELECT l.id FROM (SELECT id, search FROM posts WHERE NOT hidden AND id < $1 ORDER BY id DESC LIMIT $4) l
    WHERE l.search @@ $3::text::tsquery LIMIT $2
) page
CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ORDER BY f.id DESC

-- name: rare_for_persona  As `rare`, as persona $6 sees them.
WITH gathered AS MATERIALIZED (SELECT id, quote_of, hidden, search FROM posts WHERE search @@ $5::text::tsquery LIMIT $4)
SELECT n.gathered, f.*
FROM (SELECT count(*) AS gathered FROM gathered) n
LEFT JOIN (
    SELECT g.id FROM gathered g WHERE NOT g.hidden AND g.id < $1 AND g.search @@ $3::text::tsquery
      AND NOT EXISTS (
          SELECT FROM mutes m JOIN posts a ON a.id IN (g.id, g.quote_of)
          WHERE m.persona_id = $6 AND m.muted_id = a.author_id OR m.block AND m.muted_id = $6 AND m.persona_id = a.author_id
      )
    ORDER BY g.id DESC LIMIT $2
) page ON true
LEFT JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ON true
ORDER BY f.id DESC

-- name: dense_for_persona  As `dense`, as persona $5 sees them.
SELECT f.* FROM (
    SELECT l.id FROM (SELECT id, quote_of, search FROM posts WHERE NOT hidden AND id < $1 ORDER BY id DESC LIMIT $4) l
    WHERE l.search @@ $3::text::tsquery
      AND NOT EXISTS (
          SELECT FROM mutes m JOIN posts a ON a.id IN (l.id, l.quote_of)
          WHERE m.persona_id = $5 AND m.muted_id = a.author_id OR m.block AND m.muted_id = $5 AND m.persona_id = a.author_id
      )
    LIMIT $2
) page
CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = page.id OFFSET 0) f ORDER BY f.id DESC

-- name: looked  How many the $2 posts before post $1 are, and the oldest of them.
SELECT count(*) AS posts, min(id) AS oldest
FROM (SELECT id FROM posts WHERE NOT hidden AND id < $1 ORDER BY id DESC LIMIT $2) among

-- name: people  Personas but $1 whose handle begins with $2, or whose bio or name holds $3: best known first, at most $4.
SELECT id, username, bio, followers_count, profile ->> 'display_name' AS display_name, profile ->> 'leaning' AS leaning
FROM personas p
WHERE status IN ('active', 'paused') AND id <> $1
  AND (starts_with(lower(username), lower($2)) OR bio ILIKE '%' || $3 || '%' OR profile ->> 'display_name' ILIKE '%' || $3 || '%')
  AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = $1 AND m.muted_id = p.id)
  AND NOT EXISTS (SELECT FROM mutes m WHERE m.block AND m.muted_id = $1 AND m.persona_id = p.id)
ORDER BY followers_count DESC, id LIMIT $4
