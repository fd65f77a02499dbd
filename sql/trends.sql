-- What members begin to talk about, of the newest posts that anybody can see. Words are those of the index of the search.

-- name: rising  Of the newest $4 own posts since $2: words and hashtags by how many posts and writers, from the cut on and before it; $1: now, $3: since when is of late. $5: least writers.
-- Where posts of late would fill more than half of what is looked at, the newer half of it is of late.
WITH looked AS MATERIALIZED (
    SELECT id, author_id, body, search, created_at FROM posts
    WHERE NOT hidden AND repost_of IS NULL AND created_at > $2 AND created_at <= $1 ORDER BY id DESC LIMIT $4
),
cut AS MATERIALIZED (
    SELECT greatest($3::timestamptz, CASE WHEN count(*) = $4 THEN percentile_disc(0.5) WITHIN GROUP (ORDER BY created_at) END) AS at
    FROM looked
),
parts AS MATERIALIZED (SELECT l.*, l.created_at > c.at AS late FROM looked l CROSS JOIN cut c),
sizes AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE late) AS late, count(*) FILTER (WHERE NOT late) AS before FROM parts
),
tags AS MATERIALIZED (
    SELECT DISTINCT p.id, lower(m[1]) AS word
    FROM parts p CROSS JOIN LATERAL regexp_matches(p.body, '(?:^|[^\w&])#([[:alpha:]]\w{1,49})', 'g') AS m
    WHERE strpos(p.body, '#') > 0
),
told AS (
    SELECT w.word AS term, p.late, p.author_id FROM parts p CROSS JOIN LATERAL unnest(tsvector_to_array(p.search)) AS w (word)
    WHERE length(w.word) BETWEEN 3 AND 40 AND NOT EXISTS (SELECT FROM tags t WHERE t.id = p.id AND t.word = w.word)
    UNION ALL
    SELECT '#' || t.word, p.late, p.author_id FROM tags t JOIN parts p USING (id)
),
counted AS MATERIALIZED (
    SELECT term, count(*) FILTER (WHERE late) AS posts, count(*) FILTER (WHERE NOT late) AS before,
           count(DISTINCT author_id) FILTER (WHERE late) AS authors
    FROM told GROUP BY term HAVING count(*) FILTER (WHERE late) >= $5
)
SELECT c.term, c.posts, c.before, c.authors, s.late AS posts_of_late, s.before AS posts_before, t.at AS since
FROM sizes s CROSS JOIN cut t
LEFT JOIN counted c ON c.authors >= $5 AND c.posts * s.before > c.before * s.late
     AND (c.term LIKE '#%' OR (c.term ~ '^[[:alpha:]][[:alpha:]''’-]+$' AND ts_lexize('english_stem', c.term) <> '{}'))
