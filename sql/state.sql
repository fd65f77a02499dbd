-- What people are told of rows that differ. The statements that hash rows are made from the tables' columns (app/analysis/state.py).

-- name: handles  Personas by id.
SELECT id, username FROM personas WHERE id = ANY ($1::bigint[])

-- name: texts  How posts begin, by id.
SELECT id, left(body, 80) AS text FROM posts WHERE id = ANY ($1::bigint[])

-- name: players  Whose turns these are.
SELECT t.id, p.username FROM turns t JOIN personas p ON p.id = t.persona_id WHERE t.id = ANY ($1::bigint[])
