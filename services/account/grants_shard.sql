-- What each role may do with a shard's customer and account records: they are the account service's alone.
-- Run by the schema's owner after the migrations, as often as one likes.

REVOKE ALL ON SCHEMA account FROM PUBLIC, hivecore_ledger, hivecore_account, hivecore_audit;
REVOKE ALL ON ALL TABLES IN SCHEMA account FROM PUBLIC, hivecore_ledger, hivecore_account, hivecore_audit;

GRANT USAGE ON SCHEMA account TO hivecore_account, hivecore_audit;
GRANT SELECT ON ALL TABLES IN SCHEMA account TO hivecore_account, hivecore_audit;
GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA account TO hivecore_account;

-- A name stands for its number, and a file for its content, for ever; an opening that failed takes its record back.
REVOKE UPDATE ON account.claim, account.payment_file FROM hivecore_account;
GRANT DELETE ON account.customer, account.account TO hivecore_account;

GRANT SELECT ON public.schema_migration TO hivecore_account, hivecore_audit;
