-- Which PostgreSQL, and how durable its commits are.
SELECT name, current_setting(name)
  FROM pg_settings
 WHERE name IN ('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums',
                'wal_compression', 'shared_buffers', 'max_wal_size', 'checkpoint_timeout')
 ORDER BY name;
