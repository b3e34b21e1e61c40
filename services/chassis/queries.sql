-- What the chassis itself asks of a database: which migrations it has.

-- lock_migrations --
-- One migration at a time in a database, however many processes start; released by the end of the
-- transaction. A migration may take as long as it takes.
SELECT set_config('statement_timeout', '0', true), pg_advisory_xact_lock(hashtextextended('hivecore.schema_migration', 0));

-- create_schema_migration --
CREATE TABLE IF NOT EXISTS public.schema_migration (
    package    text        NOT NULL,
    number     integer     NOT NULL CHECK (number >= 1),
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    apply_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (package, number)
);

-- applied_checksum --
SELECT checksum FROM public.schema_migration WHERE package = $1 AND number = $2;

-- applied_checksums --
SELECT number, checksum FROM public.schema_migration WHERE package = $1;

-- knows_migrations --
SELECT to_regclass('public.schema_migration') IS NOT NULL;

-- record_migration --
INSERT INTO public.schema_migration (package, number, name, checksum) VALUES ($1, $2, $3, $4);

-- create_database_statement --
-- CREATE DATABASE takes no parameters, so PostgreSQL itself quotes the name; no row when it exists.
SELECT format('CREATE DATABASE %I', $1::text)
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = $1::name);

-- drop_database_statement --
SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text);

-- create_pg_stat_statements --
-- Shows the statements of every database of the cluster, from the one database that has it.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;

-- create_role_statement --
-- CREATE ROLE takes no parameters either; no row when it exists.
SELECT format('CREATE ROLE %I LOGIN', $1::text)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::name);
