-- What the audit asks about the products that accounts have, of the account service's records beside the books.

-- has_records --
SELECT to_regclass('account.product_move') IS NOT NULL AS found;

-- products_in_use --
-- Every version that accounts have, had before a move or were to be moved to, with one account of each currency.
SELECT code, version::integer, currency::integer, count(*) AS account_count, min(account_number) AS account_number
  FROM (SELECT product_code AS code, product_version AS version, currency, account_number FROM account.account
         UNION
        SELECT m.from_code, m.from_version, a.currency, account_number
          FROM account.product_move m JOIN account.account a USING (account_number)
         UNION
        SELECT m.to_code, m.to_version, a.currency, account_number
          FROM account.product_move m JOIN account.account a USING (account_number)) used
 WHERE code <> ''
 GROUP BY code, version, currency
 ORDER BY code, version, currency;

-- check_fee_payers --
-- Whoever was charged a fee here has, or had before a move, a product that could say so.
WITH payer AS (
    SELECT f.debit_account, min(f.sequence) AS sequence, count(*) AS fee_count
      FROM ledger.further_leg f
      JOIN ledger.transfer t ON t.sequence = f.transfer_sequence AND t.kind IN (1, 9)
      LEFT JOIN ledger.leg_route r ON r.sequence = f.sequence
     WHERE f.is_fee AND coalesce(r.debit_peer, 0) = 0
     GROUP BY f.debit_account
), complaint AS (
    SELECT 'fee_without_product' AS check_name, sequence,
           format('sequence %s: account %s was charged (%s times), and never had a product', sequence,
                  lpad(debit_account::text, 16, '0'), fee_count) AS evidence
      FROM payer
     WHERE NOT EXISTS (SELECT FROM account.account a WHERE a.account_number = debit_account AND a.product_code <> '')
       AND NOT EXISTS (SELECT FROM account.product_move m WHERE m.account_number = debit_account AND m.from_code <> '')
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- catalogue --
-- Asked of the control database: every published version, and its currency.
SELECT code, version::integer, currency::integer FROM control.product;
