-- What each account holds by its last entry.
SELECT DISTINCT ON (account_number) lpad(account_number::text, 16, '0'), balance_after_minor
  FROM ledger.entry
 ORDER BY account_number, sequence DESC;
