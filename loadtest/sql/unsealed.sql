-- How many sequences of a shard's journal no seal covers yet.
SELECT (SELECT last_sequence FROM ledger.journal_head) - (SELECT coalesce(max(last_sequence), 0) FROM ledger.seal);
