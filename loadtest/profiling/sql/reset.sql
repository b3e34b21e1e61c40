-- Count statements anew. The extension lies in the control database; the library is loaded at the server's start.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SELECT pg_stat_statements_reset();
