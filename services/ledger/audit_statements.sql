-- What the audit asks about what transfers are found by and balances by value date are read from.
-- The form of answers is audit.sql's.

-- check_metadata --
-- Metadata belongs to a transfer that was asked for here, landed, or is promised or kept, and keeps within its bounds.
WITH kept AS (
    SELECT sequence, count(*) AS key_count, sum(octet_length(key) + octet_length(value)) AS bytes
      FROM ledger.metadata GROUP BY sequence
), complaint AS (
    SELECT 'metadata_misplaced' AS check_name, k.sequence,
           format('sequence %s has %s keys of metadata, but is %s', k.sequence, k.key_count,
                  coalesce('a transfer of kind ' || t.kind, 'no transfer')) AS evidence
      FROM kept k LEFT JOIN ledger.transfer t ON t.sequence = k.sequence
     WHERE t.kind IS NULL OR t.kind NOT IN (1, 2, 9, 10)
     UNION ALL
    SELECT 'metadata_misshapen', sequence,
           format('sequence %s has %s keys of metadata, %s bytes in all', sequence, key_count, bytes)
      FROM kept WHERE key_count > $2::bigint OR bytes > $3::bigint
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- check_value_sums --
-- Each sum over days is what value-dated entries add to it; sums of nothing may be there, as 0.
WITH due AS (
    SELECT v.account_number, moved.day - moved.day % width.days AS first_day, width.days AS width_days,
           sum(moved.amount_minor) AS amount_minor
      FROM ledger.value_dated v
     CROSS JOIN LATERAL (VALUES (v.value_date - date '1970-01-01', v.amount_minor),
                                (v.business_date - date '1970-01-01', -v.amount_minor::numeric)) AS moved (day, amount_minor)
     CROSS JOIN (VALUES (1), (64), (4096)) AS width (days)
     GROUP BY 1, 2, 3
), complaint AS (
    SELECT 'value_sum_differs' AS check_name, account_number, first_day,
           format('account %s, %s days from %s: entries add up to %s, the books say %s',
                  lpad(account_number::text, 16, '0'), width_days, date '1970-01-01' + first_day,
                  coalesce(due.amount_minor, 0), coalesce(kept.amount_minor, 0)) AS evidence
      FROM due FULL JOIN ledger.value_sum kept USING (account_number, first_day, width_days)
     WHERE coalesce(due.amount_minor, 0) <> coalesce(kept.amount_minor, 0)
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY account_number, first_day) AS place
          FROM complaint) numbered
 WHERE place <= $1;
