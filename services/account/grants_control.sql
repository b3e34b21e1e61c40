-- What each role may do with the control database: it is the account service's alone.
-- Run by the schema's owner after the migrations, as often as one likes.

REVOKE ALL ON SCHEMA control FROM PUBLIC, hivecore_ledger, hivecore_account, hivecore_audit;
REVOKE ALL ON ALL TABLES IN SCHEMA control FROM PUBLIC, hivecore_ledger, hivecore_account, hivecore_audit;

GRANT USAGE ON SCHEMA control TO hivecore_account, hivecore_audit;
GRANT SELECT ON ALL TABLES IN SCHEMA control TO hivecore_account, hivecore_audit;
GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA control TO hivecore_account;
REVOKE INSERT ON control.bank, control.catalogue FROM hivecore_account;
-- A published version of a product stays as it is.
REVOKE UPDATE ON control.product FROM hivecore_account;

GRANT SELECT ON public.schema_migration TO hivecore_account, hivecore_audit;
