-- Personas as a file of all that they are and were, and back.

-- name: all  Every persona but those that only play in rooms, departed ones too, with their former versions.
SELECT p.id, p.username, p.description, p.bio, p.profile, p.model, p.temperature, p.activity, p.status, p.created_at,
       p.departed_at, v.versions
FROM personas p CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object('version', version, 'spec', spec, 'created_at', created_at) ORDER BY version), '[]')::text
           AS versions
    FROM persona_versions WHERE persona_id = p.id
) v
WHERE p.status <> 'cast' ORDER BY p.id

-- name: here  Who is here: numbers, names and since when; nobody is added or renamed until the transaction ends.
SELECT id, username, status, created_at FROM personas

-- name: hold  So nobody is.
LOCK TABLE personas IN SHARE ROW EXCLUSIVE MODE

-- name: insert  A persona as it was; $1 is its number if that is free.
INSERT INTO personas (id, username, description, bio, profile, model, temperature, activity, status, created_at, departed_at)
VALUES (coalesce($1::bigint, nextval(pg_get_serial_sequence('personas', 'id'))),
        $2, $3, $4, $5::jsonb, $6, $7::float8, $8::float8, $9, $10::timestamptz, $11::timestamptz)
RETURNING id

-- name: insert_versions  What it was before.
INSERT INTO persona_versions (persona_id, version, spec, created_at)
SELECT $1::bigint, * FROM unnest($2::int[], $3::jsonb[], $4::timestamptz[])

-- name: number_on  New personas get numbers behind all that are there, and behind $1.
SELECT setval(pg_get_serial_sequence('personas', 'id'), greatest($1::bigint, s.last_value, (SELECT max(id) FROM personas)))
FROM pg_sequences s WHERE format('%I.%I', s.schemaname, s.sequencename) = pg_get_serial_sequence('personas', 'id')
