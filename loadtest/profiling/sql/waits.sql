-- What every busy process of the server waits for at this moment; who waits for a client is idle and not counted.
SELECT CASE WHEN backend_type = 'client backend' THEN application_name ELSE backend_type END,
       wait_event_type || ': ' || wait_event,
       count(*)
  FROM pg_stat_activity
 WHERE pid <> pg_backend_pid()
   AND coalesce(wait_event_type, '') <> 'Activity'
   AND (backend_type <> 'client backend' OR state = 'active')
 GROUP BY 1, 2
\watch
