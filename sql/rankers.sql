-- Rankers: each one statement for any number of viewers at once, giving (viewer, item, rank, score, reason, chance).
-- Formulas, units and sources: docs/ranking.md and app/world/ranking.py. Whatever a viewer costs is bounded, however large the world.
-- All take the same: $1 viewers, $2 the time in the world, $3 items a viewer, $4 a key of chance for each viewer, $5 posts that are
-- looked at, $6 half-life of a post's youth and $7 of an engagement, both in hours. {…} stands for one of the parts below.

-- name: asked  A part: gives all parameters their types, whichever a ranker uses.
asked AS (SELECT $1::bigint[], $2::timestamptz, $3::int, $4::bigint[], $5::int, $6::float8, $7::float8)

-- name: may_see  A part: whether v.viewer is to be shown c, the one place that says so: not its own, nothing of or upon whom it muted, or where one blocked the other. c.original_id is who wrote what c shares or, negative, quotes: a quote of one's own post is to be seen.
v.viewer <> c.author_id AND v.viewer IS DISTINCT FROM c.original_id
AND NOT EXISTS (
    SELECT FROM mutes m WHERE m.persona_id = v.viewer AND m.muted_id IN (c.author_id, abs(c.original_id)) OFFSET 0
)
AND c.author_id <> ALL (v.foes) AND (abs(c.original_id) = ANY (v.foes)) IS NOT TRUE

-- name: viewers  A part: the viewers with their keys of chance and who blocked them (v.foes), looked up once for each.
(
    SELECT u.viewer, u.key, ARRAY(SELECT m.persona_id FROM mutes m WHERE m.muted_id = u.viewer AND m.block) AS foes
    FROM unnest($1::bigint[], $4::bigint[]) AS u (viewer, key) OFFSET 0
)

-- name: original  A part: whose post p shares, or, negative, quotes.
LEFT JOIN LATERAL (
    SELECT CASE WHEN p.repost_of IS NULL THEN -author_id ELSE author_id END AS author_id
    FROM posts o WHERE o.id = coalesce(p.repost_of, p.quote_of) OFFSET 0
) o ON true

-- name: may_meet  A part: whether p.id is to be suggested to v.viewer: neither itself, followed already, gone, nor muted by either.
p.id <> v.viewer AND p.status IN ('active', 'paused')
AND NOT EXISTS (SELECT FROM follows f WHERE f.follower = v.viewer AND f.followed = p.id OFFSET 0)
AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = v.viewer AND m.muted_id = p.id OFFSET 0)
AND NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = p.id AND m.muted_id = v.viewer OFFSET 0)

-- name: newest  A part: the newest posts, once for all viewers, as arrays, whose order no viewer has to sort again.
newest AS MATERIALIZED (
    SELECT array_agg(p.id ORDER BY p.id DESC) AS ids, array_agg(p.author_id ORDER BY p.id DESC) AS authors,
           array_agg(o.author_id ORDER BY p.id DESC) AS originals,
           array_agg(extract(epoch FROM p.created_at - $2) / 3600 ORDER BY p.id DESC)::float8[] AS scores,
           array_agg('newest'::text) AS reasons
    FROM (SELECT * FROM posts WHERE NOT hidden ORDER BY id DESC LIMIT $5) p
    {original}
)

-- name: each_viewer  A part: from arrays in the order of a ranking, each viewer's first that it may see.
SELECT v.viewer, c.item, c.rank, c.score, c.reason, NULL::float8 AS chance
FROM {viewers} AS v CROSS JOIN ranked
CROSS JOIN LATERAL (
    SELECT c.item, row_number() OVER (ORDER BY c.place) AS rank, c.score, c.reason
    FROM unnest(ranked.ids, ranked.authors, ranked.originals, ranked.scores, ranked.reasons)
         WITH ORDINALITY AS c (item, author_id, original_id, score, reason, place)
    WHERE {may_see}
    ORDER BY c.place LIMIT $3
) c

-- name: latest  Newest first.
WITH {asked}, {newest}, ranked AS (SELECT * FROM newest)
{each_viewer}

-- name: hot  Liked, discussed and young first.
WITH {asked},
ranked AS MATERIALIZED (
    SELECT array_agg(k.id ORDER BY k.hot DESC, k.id DESC) AS ids, array_agg(p.author_id ORDER BY k.hot DESC, k.id DESC) AS authors,
           array_agg(o.author_id ORDER BY k.hot DESC, k.id DESC) AS originals,
           array_agg(k.hot ORDER BY k.hot DESC, k.id DESC) AS scores,
           array_agg(format('likes %s, comments %s', k.likes_count, k.comments_count) ORDER BY k.hot DESC, k.id DESC) AS reasons
    FROM (
        SELECT post_id AS id, hot, likes_count, comments_count FROM post_counts WHERE NOT hidden
        ORDER BY hot DESC, post_id DESC LIMIT $5
    ) k
    CROSS JOIN LATERAL (SELECT author_id, repost_of, quote_of FROM posts p WHERE p.id = k.id OFFSET 0) p
    {original}
)
{each_viewer}

-- name: top  Most liked first.
WITH {asked},
ranked AS MATERIALIZED (
    SELECT array_agg(k.id ORDER BY k.likes DESC, k.id DESC) AS ids, array_agg(p.author_id ORDER BY k.likes DESC, k.id DESC) AS authors,
           array_agg(o.author_id ORDER BY k.likes DESC, k.id DESC) AS originals,
           array_agg(k.likes ORDER BY k.likes DESC, k.id DESC)::float8[] AS scores,
           array_agg(format('likes %s', k.likes) ORDER BY k.likes DESC, k.id DESC) AS reasons
    FROM (
        SELECT post_id AS id, likes_count AS likes FROM post_counts WHERE NOT hidden
        ORDER BY likes_count DESC, post_id DESC LIMIT $5
    ) k
    CROSS JOIN LATERAL (SELECT author_id, repost_of, quote_of FROM posts p WHERE p.id = k.id OFFSET 0) p
    {original}
)
{each_viewer}

-- name: following  Newest first of those whom a viewer follows, of the $5 it followed last.
WITH {asked}
SELECT v.viewer, c.item, c.rank, c.score, c.reason, NULL::float8 AS chance
FROM {viewers} AS v
CROSS JOIN LATERAL (
    SELECT c.item, row_number() OVER (ORDER BY c.item DESC) AS rank,
           (extract(epoch FROM c.created_at - $2) / 3600)::float8 AS score, 'follows ' || c.author_id AS reason
    FROM (
        SELECT n.id AS item, p.author_id, p.created_at,
               (SELECT CASE WHEN p.repost_of IS NULL THEN -o.author_id ELSE o.author_id END FROM posts o WHERE o.id = coalesce(p.repost_of, p.quote_of)) AS original_id
        FROM (
            SELECT w.id FROM (SELECT followed FROM follows WHERE follower = v.viewer ORDER BY id DESC LIMIT $5) f
            CROSS JOIN LATERAL (SELECT id FROM posts WHERE author_id = f.followed AND NOT hidden ORDER BY id DESC LIMIT $3) w
            WHERE NOT EXISTS (SELECT FROM mutes m WHERE m.persona_id = v.viewer AND m.muted_id = f.followed OFFSET 0)
            ORDER BY w.id DESC LIMIT 2 * $3
        ) n
        CROSS JOIN LATERAL (SELECT author_id, repost_of, quote_of, created_at FROM posts p WHERE p.id = n.id OFFSET 0) p
        ORDER BY n.id DESC
    ) c
    WHERE {may_see}
    ORDER BY c.item DESC LIMIT $3
) c

-- name: random  Drawn without replacement among the newest; `since` is the oldest post that could have been drawn.
WITH {asked}, {newest}
SELECT v.viewer, c.item, c.rank, c.draw AS score, format('drawn from %s', c.among) AS reason,
       1.0::float8 / (c.among - c.rank + 1) AS chance, n.ids[cardinality(n.ids)] AS since
FROM {viewers} AS v CROSS JOIN newest n
CROSS JOIN LATERAL (
    SELECT c.item, c.draw, row_number() OVER (ORDER BY c.draw DESC, c.item DESC) AS rank, count(*) OVER () AS among
    FROM (
        SELECT c.item, ('x' || left(md5(v.key || ':' || c.item), 13))::bit(52)::bigint / 4503599627370496.0::float8 AS draw
        FROM unnest(n.ids, n.authors, n.originals) AS c (item, author_id, original_id)
        WHERE {may_see}
    ) c
    ORDER BY c.draw DESC, c.item DESC LIMIT $3
) c

-- name: engaged  A part: what a viewer liked (weight 1), commented on, shared or quoted (2) last, halved for each half-life of age.
engaged AS MATERIALIZED (
    SELECT v.viewer, p.author_id, p.search, e.worth * power(0.5, least(60, greatest(0, e.hours) / $7)) AS weight
    FROM unnest($1::bigint[]) AS v (viewer)
    CROSS JOIN LATERAL (
        (SELECT post_id, 1.0::float8 AS worth, extract(epoch FROM $2 - created_at)::float8 / 3600 AS hours
         FROM likes WHERE persona_id = v.viewer ORDER BY id DESC LIMIT 20)
        UNION ALL
        (SELECT post_id, 2.0, extract(epoch FROM $2 - created_at)::float8 / 3600
         FROM comments WHERE author_id = v.viewer ORDER BY id DESC LIMIT 10)
        UNION ALL
        (SELECT s.upon, 2.0, extract(epoch FROM $2 - s.created_at)::float8 / 3600
         FROM (
             SELECT coalesce(repost_of, quote_of) AS upon, created_at FROM posts WHERE author_id = v.viewer ORDER BY id DESC LIMIT 10
         ) s
         WHERE s.upon IS NOT NULL)
    ) e
    CROSS JOIN LATERAL (SELECT author_id, search, hidden FROM posts p WHERE p.id = e.post_id OFFSET 0) p
    WHERE p.author_id <> v.viewer AND NOT p.hidden
),
fondness AS MATERIALIZED (
    SELECT viewer, array_agg(author_id ORDER BY place) AS authors, array_agg(weight ORDER BY place) AS weights
    FROM (
        SELECT viewer, author_id, sum(weight ORDER BY weight) AS weight,
               row_number() OVER (PARTITION BY viewer ORDER BY sum(weight ORDER BY weight) DESC, author_id) AS place
        FROM engaged GROUP BY 1, 2
    ) a
    WHERE place <= 10 GROUP BY viewer
)

-- name: interest  Of the authors and in the words that a viewer engages with, worth something to all, and young.
WITH {asked}, {engaged},
pool AS MATERIALIZED (
    SELECT p.id, p.author_id, p.search, p.created_at, length(p.search) AS words
    FROM (SELECT * FROM posts WHERE NOT hidden ORDER BY id DESC LIMIT $5) p WHERE p.repost_of IS NULL
),
words AS MATERIALIZED (
    SELECT l.lexeme, ln(1 + (SELECT count(*) FROM pool) / count(*)::float8) AS idf, array_agg(p.id) AS posts
    FROM pool p CROSS JOIN LATERAL unnest(tsvector_to_array(p.search)) AS l (lexeme)
    GROUP BY 1 HAVING count(*) <= greatest(3, (SELECT count(*) FROM pool) / 8)
),
taste AS MATERIALIZED (
    SELECT viewer, lexeme, place, x / sqrt(sum(x * x) OVER (PARTITION BY viewer)) AS weight, posts
    FROM (
        SELECT t.viewer, t.lexeme, t.weight * w.idf AS x, w.posts,
               row_number() OVER (PARTITION BY t.viewer ORDER BY t.weight * w.idf DESC, t.lexeme) AS place
        FROM (
            SELECT viewer, lexeme, sum(weight ORDER BY weight) AS weight
            FROM (
                SELECT e.viewer, l.lexeme, e.weight
                FROM engaged e CROSS JOIN LATERAL unnest(tsvector_to_array(e.search)) AS l (lexeme)
                UNION ALL
                SELECT v.viewer, l.lexeme, 1
                FROM unnest($1::bigint[]) AS v (viewer)
                CROSS JOIN LATERAL (
                    SELECT to_tsvector('simple', left(p.profile ->> 'interests', 2000)) AS search
                    FROM personas p WHERE p.id = v.viewer AND p.profile ? 'interests' OFFSET 0
                ) p
                CROSS JOIN LATERAL unnest(tsvector_to_array(p.search)) AS l (lexeme)
            ) given GROUP BY 1, 2
        ) t JOIN words w USING (lexeme)
    ) ranked WHERE place <= 12
),
worthy AS MATERIALIZED (
    SELECT p.id FROM pool p CROSS JOIN LATERAL (
        SELECT log(1 + likes_count + 2 * comments_count) * power(0.5, least(60, greatest(0, extract(epoch FROM $2 - p.created_at) / 3600) / $6)) AS worth
        FROM post_counts k WHERE k.post_id = p.id OFFSET 0
    ) k
    ORDER BY k.worth DESC, p.id DESC LIMIT 3 * $3
),
candidates AS (
    SELECT viewer, item, max(topic) AS topic, min(place) AS place
    FROM (
        SELECT viewer, item, topic, place
        FROM (
            SELECT m.*, row_number() OVER (PARTITION BY viewer ORDER BY topic DESC, item DESC) AS nearest
            FROM (
                SELECT t.viewer, m.item, sum(t.weight ORDER BY t.place) / sqrt(p.words) AS topic, min(t.place) AS place
                FROM taste t CROSS JOIN LATERAL unnest(t.posts) AS m (item) JOIN pool p ON p.id = m.item
                GROUP BY t.viewer, m.item, p.words
            ) m
        ) m WHERE nearest <= 4 * $3
        UNION ALL
        SELECT f.viewer, n.id, 0, NULL
        FROM fondness f CROSS JOIN LATERAL unnest(f.authors) AS a (id)
        CROSS JOIN LATERAL (SELECT id FROM posts WHERE author_id = a.id AND NOT hidden ORDER BY id DESC LIMIT 5) n
        UNION ALL
        SELECT v.viewer, w.id, 0, NULL FROM unnest($1::bigint[]) AS v (viewer) CROSS JOIN worthy w
    ) found
    GROUP BY 1, 2
),
scored AS (
    SELECT c.*, (c.share + c.topic + 0.1 * log(1 + c.likes_count + 2 * c.comments_count))
                * power(0.5, least(60, greatest(0, c.hours / $6))) AS score
    FROM (
        SELECT c.viewer, c.item, c.topic, c.place, p.author_id, p.original_id, k.likes_count, k.comments_count,
               coalesce(f.weights[array_position(f.authors, p.author_id)] / f.weights[1], 0) AS share,
               extract(epoch FROM $2 - p.created_at)::float8 / 3600 AS hours
        FROM candidates c
        CROSS JOIN LATERAL (
            SELECT author_id, created_at, repost_of, (SELECT -o.author_id FROM posts o WHERE o.id = p.quote_of) AS original_id
            FROM posts p WHERE p.id = c.item OFFSET 0
        ) p
        CROSS JOIN LATERAL (SELECT likes_count, comments_count FROM post_counts k WHERE k.post_id = c.item OFFSET 0) k
        LEFT JOIN fondness f ON f.viewer = c.viewer
        WHERE p.repost_of IS NULL
    ) c
)
SELECT r.viewer, r.item, r.rank, r.score, concat_ws(
           ', ', 'author ' || round(nullif(r.share, 0)::numeric, 2),
           'word ' || t.lexeme || ' ' || round(nullif(r.topic, 0)::numeric, 2), 'likes ' || r.likes_count, 'comments ' || r.comments_count
       ) AS reason, NULL::float8 AS chance
FROM (
    SELECT c.*, row_number() OVER (PARTITION BY c.viewer ORDER BY c.score DESC, c.item DESC) AS rank
    FROM scored c JOIN {viewers} AS v USING (viewer)
    WHERE {may_see} AND NOT EXISTS (SELECT FROM likes l WHERE l.post_id = c.item AND l.persona_id = v.viewer OFFSET 0)
) r
LEFT JOIN taste t ON t.viewer = r.viewer AND t.place = r.place
WHERE r.rank <= $3

-- name: similar_people  What those who like the same posts liked lately; where that is not enough, the newest.
WITH {asked}, {newest},
liked AS MATERIALIZED (
    SELECT v.viewer, l.post_id, count(*) OVER (PARTITION BY v.viewer) AS number
    FROM unnest($1::bigint[]) AS v (viewer)
    CROSS JOIN LATERAL (SELECT post_id FROM likes WHERE persona_id = v.viewer ORDER BY id DESC LIMIT 16) l
),
alike AS MATERIALIZED (
    SELECT a.viewer, a.other, a.overlap, a.overlap / sqrt(a.number * n.number) AS likeness
    FROM (
        SELECT l.viewer, k.persona_id AS other, l.number, count(*) AS overlap,
               row_number() OVER (PARTITION BY l.viewer ORDER BY count(*) DESC, k.persona_id) AS place
        FROM liked l CROSS JOIN LATERAL (
            (SELECT persona_id FROM likes WHERE post_id = l.post_id AND persona_id > l.viewer ORDER BY persona_id LIMIT 8)
            UNION ALL
            (SELECT persona_id FROM likes WHERE post_id = l.post_id AND persona_id < l.viewer ORDER BY persona_id DESC LIMIT 8)
        ) k
        GROUP BY 1, 2, 3
    ) a
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (SELECT FROM likes WHERE persona_id = a.other ORDER BY id DESC LIMIT 50) k
    ) n
    WHERE a.place <= 8
),
tips AS MATERIALIZED (
    SELECT t.*, row_number() OVER (PARTITION BY viewer ORDER BY score DESC, item DESC) AS place
    FROM (
        SELECT a.viewer, k.post_id AS item, count(*) AS people,
               sum(a.likeness * power(0.5, least(60, greatest(0, extract(epoch FROM $2 - k.created_at)::float8 / 3600) / $6)) ORDER BY a.other) AS score
        FROM alike a
        CROSS JOIN LATERAL (SELECT post_id, created_at FROM likes WHERE persona_id = a.other ORDER BY id DESC LIMIT 12) k
        GROUP BY 1, 2
    ) t
)
SELECT c.viewer, c.item, c.rank, c.score, c.reason, NULL::float8 AS chance
FROM (
    SELECT c.*, row_number() OVER (PARTITION BY c.viewer ORDER BY c.score DESC, c.item DESC) AS rank
    FROM (
        SELECT DISTINCT ON (u.viewer, u.item) u.*
        FROM (
            SELECT t.viewer, t.item, p.author_id, p.original_id, t.score, format('liked by %s alike', t.people) AS reason
            FROM tips t
            CROSS JOIN LATERAL (
                SELECT author_id, hidden,
                       (SELECT CASE WHEN p.repost_of IS NULL THEN -o.author_id ELSE o.author_id END FROM posts o WHERE o.id = coalesce(p.repost_of, p.quote_of)) AS original_id
                FROM posts p WHERE p.id = t.item OFFSET 0
            ) p
            WHERE t.place <= 3 * $3 AND NOT p.hidden
            UNION ALL
            SELECT v.viewer, n.id, n.author_id, n.original_id, 0, 'newest'
            FROM unnest($1::bigint[]) AS v (viewer) CROSS JOIN newest
            CROSS JOIN LATERAL unnest(newest.ids, newest.authors, newest.originals) AS n (id, author_id, original_id)
        ) u
        ORDER BY u.viewer, u.item, u.score DESC
    ) c JOIN {viewers} AS v USING (viewer)
    WHERE {may_see} AND NOT EXISTS (SELECT FROM likes l WHERE l.post_id = c.item AND l.persona_id = v.viewer OFFSET 0)
) c
WHERE c.rank <= $3

-- name: common_neighbours  Whom most of those follow whom a viewer follows: of the last 50, the last 50 of each.
WITH {asked}
SELECT v.viewer, c.item, c.rank, c.score, format('in common %s', c.people) AS reason, NULL::float8 AS chance
FROM unnest($1::bigint[]) AS v (viewer)
CROSS JOIN LATERAL (
    SELECT c.*, row_number() OVER (ORDER BY c.score DESC, c.item) AS rank
    FROM (
        SELECT x.followed AS item, count(*)::float8 AS score, count(*) AS people
        FROM (SELECT followed FROM follows WHERE follower = v.viewer ORDER BY id DESC LIMIT 50) z
        CROSS JOIN LATERAL (SELECT followed FROM follows WHERE follower = z.followed ORDER BY id DESC LIMIT 50) x
        GROUP BY 1 ORDER BY 2 DESC, 1
    ) c
    CROSS JOIN LATERAL (SELECT id, status FROM personas p WHERE p.id = c.item OFFSET 0) p
    WHERE {may_meet}
    ORDER BY c.score DESC, c.item LIMIT $3
) c

-- name: adamic_adar  The same, where those who have few ties count for more.
WITH {asked}
SELECT v.viewer, c.item, c.rank, c.score, format('in common %s', c.people) AS reason, NULL::float8 AS chance
FROM unnest($1::bigint[]) AS v (viewer)
CROSS JOIN LATERAL (
    SELECT c.*, row_number() OVER (ORDER BY c.score DESC, c.item) AS rank
    FROM (
        SELECT x.followed AS item, sum(1 / ln(greatest(2, z.ties)::float8) ORDER BY z.id) AS score, count(*) AS people
        FROM (
            SELECT o.id, o.followers_count + o.following_count AS ties
            FROM (SELECT followed FROM follows WHERE follower = v.viewer ORDER BY id DESC LIMIT 50) f
            CROSS JOIN LATERAL (SELECT id, followers_count, following_count FROM personas o WHERE o.id = f.followed OFFSET 0) o
        ) z
        CROSS JOIN LATERAL (SELECT followed FROM follows WHERE follower = z.id ORDER BY id DESC LIMIT 50) x
        GROUP BY 1 ORDER BY 2 DESC, 1
    ) c
    CROSS JOIN LATERAL (SELECT id, status FROM personas p WHERE p.id = c.item OFFSET 0) p
    WHERE {may_meet}
    ORDER BY c.score DESC, c.item LIMIT $3
) c

-- name: preferential  Who has most ties, of those whom anybody followed in the last $5 follows.
WITH {asked},
known AS MATERIALIZED (
    SELECT array_agg(p.id ORDER BY p.ties DESC, p.id) AS ids, array_agg(p.ties ORDER BY p.ties DESC, p.id) AS ties
    FROM (SELECT DISTINCT followed FROM (SELECT followed FROM follows ORDER BY id DESC LIMIT $5) f) f
    CROSS JOIN LATERAL (SELECT id, followers_count + following_count AS ties FROM personas p WHERE p.id = f.followed OFFSET 0) p
)
SELECT v.viewer, c.item, c.rank, c.ties * coalesce(o.ties, 0)::float8 AS score, format('ties %s', c.ties) AS reason, NULL::float8 AS chance
FROM unnest($1::bigint[]) AS v (viewer) CROSS JOIN known
LEFT JOIN LATERAL (SELECT followers_count + following_count AS ties FROM personas o WHERE o.id = v.viewer OFFSET 0) o ON true
CROSS JOIN LATERAL (
    SELECT c.item, c.ties, row_number() OVER (ORDER BY c.place) AS rank
    FROM unnest(known.ids, known.ties) WITH ORDINALITY AS c (item, ties, place)
    CROSS JOIN LATERAL (SELECT id, status FROM personas p WHERE p.id = c.item OFFSET 0) p
    WHERE {may_meet}
    ORDER BY c.place LIMIT $3
) c

-- name: fond  Whose posts a viewer engages with and whom it does not follow.
WITH {asked}, {engaged}
SELECT v.viewer, c.item, c.rank, c.score, format('engagements %s', c.times) AS reason, NULL::float8 AS chance
FROM (
    SELECT c.*, row_number() OVER (PARTITION BY c.viewer ORDER BY c.score DESC, c.item) AS rank
    FROM (
        SELECT viewer, author_id AS item, sum(weight ORDER BY weight) AS score, count(*) AS times FROM engaged GROUP BY 1, 2
    ) c
    JOIN unnest($1::bigint[]) AS v (viewer) USING (viewer)
    CROSS JOIN LATERAL (SELECT id, status FROM personas p WHERE p.id = c.item OFFSET 0) p
    WHERE {may_meet}
) c JOIN unnest($1::bigint[]) AS v (viewer) USING (viewer)
WHERE c.rank <= $3

-- name: posts  These posts, in this order, without those that are hidden.
SELECT f.* FROM unnest($1::bigint[]) WITH ORDINALITY AS i (id, place)
CROSS JOIN LATERAL (SELECT * FROM feed_posts v WHERE v.id = i.id OFFSET 0) f ORDER BY i.place

-- name: people  These personas, in this order.
SELECT p.* FROM unnest($1::bigint[]) WITH ORDINALITY AS i (id, place)
CROSS JOIN LATERAL (SELECT id, username, bio, followers_count FROM personas p WHERE p.id = i.id OFFSET 0) p ORDER BY i.place
