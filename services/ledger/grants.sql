-- What each role may do with the books: the ledger appends, the auditor reads, nobody else is let in.
-- Run by the schema's owner after the migrations, as often as one likes. A new table is append-only
-- unless it is named here.

REVOKE ALL ON SCHEMA ledger FROM PUBLIC, hivecore_ledger, hivecore_account, hivecore_audit;
REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM PUBLIC, hivecore_ledger, hivecore_account, hivecore_audit;

GRANT USAGE ON SCHEMA ledger TO hivecore_ledger, hivecore_audit;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO hivecore_ledger, hivecore_audit;
GRANT INSERT ON ALL TABLES IN SCHEMA ledger TO hivecore_ledger;

-- The fence and the lease are one row each, for ever.
REVOKE INSERT ON ledger.journal_head, ledger.writer_lease FROM hivecore_ledger;
GRANT UPDATE (last_sequence, writer_epoch, booking_time) ON ledger.journal_head TO hivecore_ledger;
GRANT UPDATE (instance, expire_time, seconds, session_pid, session_start) ON ledger.writer_lease TO hivecore_ledger;

-- What is as it is now; how it came about stands in append-only tables.
GRANT UPDATE (sent_through, acknowledged_through, landed_through) ON ledger.peer TO hivecore_ledger;
GRANT UPDATE (floor_minor, restrictions, balance_minor_max, transfer_minor_max, day_minor_max, day_count_max)
   ON ledger.account TO hivecore_ledger;
GRANT UPDATE (amount_minor, captured_minor, expire_time, state) ON ledger.hold TO hivecore_ledger;
GRANT UPDATE (state, refusal, resolve_sequence) ON ledger.promise TO hivecore_ledger;
GRANT UPDATE (day_minor_max), DELETE ON ledger.customer_cap TO hivecore_ledger;
GRANT UPDATE (amount_minor) ON ledger.value_sum TO hivecore_ledger;

GRANT SELECT ON public.schema_migration TO hivecore_ledger, hivecore_audit;
