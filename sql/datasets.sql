-- Packages of data that are being built, or were; they lie in the home world, their files in SIMFEED_HOME/datasets.

-- name: add  A package that is being built from now on.
INSERT INTO datasets (key, kind, about, options, created_by) VALUES ($1, $2, $3, $4, $5) RETURNING id

-- name: dataset  One, by its key.
SELECT d.*, a.username AS by FROM datasets d LEFT JOIN admin a ON a.id = d.created_by WHERE d.key = $1

-- name: listed  The newest first, before number $1, at most $2.
SELECT d.*, a.username AS by FROM datasets d LEFT JOIN admin a ON a.id = d.created_by WHERE d.id < $1 ORDER BY d.id DESC LIMIT $2

-- name: words  What is done just now.
UPDATE datasets SET words = $2 WHERE key = $1 AND state = 'running'

-- name: finish  A package is whole.
UPDATE datasets SET state = 'completed', reason = NULL, words = '', file = $2, size = $3, rows = $4, sha256 = $5, ended_at = now()
WHERE key = $1 RETURNING id

-- name: fail  Nothing came of it.
UPDATE datasets SET state = 'failed', reason = $2, words = '', ended_at = now() WHERE key = $1 AND state = 'running' RETURNING id

-- name: orphaned  A server ended while it built these.
UPDATE datasets SET state = 'failed', reason = 'the server ended while it was built', words = '', ended_at = now()
WHERE state = 'running' AND key <> ALL ($1::text[]) RETURNING key

-- name: doi  Under which DOI it is published.
UPDATE datasets SET doi = $2 WHERE key = $1 RETURNING id

-- name: drop  Forget a package.
DELETE FROM datasets WHERE key = $1 RETURNING file
