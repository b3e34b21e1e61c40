-- The statements that took longest in all since the reset, of all databases.
SELECT d.datname, s.calls, round(s.total_exec_time::numeric, 1), s.rows, s.wal_bytes::bigint, left(s.query, 200)
  FROM pg_stat_statements s
  JOIN pg_database d ON d.oid = s.dbid
 WHERE s.query !~ 'pg_stat_'
 ORDER BY s.total_exec_time DESC
 LIMIT 20;
