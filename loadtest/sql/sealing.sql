-- The session that seals a shard's journal, and how far it has come.
SELECT (SELECT pid FROM pg_stat_activity WHERE application_name = 'hivecore-ledger-seal' AND datname = current_database()),
       (SELECT coalesce(max(last_sequence), 0) FROM ledger.seal);
