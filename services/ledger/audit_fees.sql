-- What the audit asks about fees; the form is that of audit.sql.

-- check_fees --
-- A fee leg goes from a payer of its transfer to the shard's own fee account ($3) of its currency ($2), one
-- for each payer and after all others; the fee of a crossing that came back goes the other way. Neither a
-- reversal nor a transfer whose fees were waived has one. Fee income is the sum of the fee legs that were
-- posted, less those given back: entry by entry, and nothing else on the fee accounts says that it is a fee. Of a
-- transfer that was refused it is not written down which legs are other shards': a payer who is not here is not judged.
WITH fee AS MATERIALIZED (
    SELECT f.*, t.kind, t.outcome, t.flags, t.sequence + t.leg_count AS end_sequence, own.income AS expected,
           CASE t.kind WHEN 3 THEN f.credit_account ELSE f.debit_account END AS payer,
           CASE t.kind WHEN 3 THEN f.debit_account ELSE f.credit_account END AS income,
           CASE t.kind WHEN 3 THEN t.credit_account ELSE t.debit_account END AS first_payer
      FROM ledger.further_leg f
      LEFT JOIN ledger.transfer t ON t.sequence = f.transfer_sequence
      LEFT JOIN unnest($2::smallint[], $3::bigint[]) AS own (currency, income) ON own.currency = f.currency
     WHERE f.is_fee
       AND NOT EXISTS (SELECT FROM ledger.leg_route away WHERE away.sequence = f.sequence AND away.debit_peer > 0)
), complaint AS (
    SELECT check_name, fee.sequence,
           format('sequence %s of transfer sequence %s: a fee of %s %s from %s to %s: %s', fee.sequence,
                  transfer_sequence, amount_minor, currency, lpad(payer::text, 16, '0'), lpad(income::text, 16, '0'),
                  complaint) AS evidence
      FROM fee
     CROSS JOIN LATERAL (VALUES
           ('fee_misplaced',
            income IS DISTINCT FROM expected
            AND (outcome <> 2 OR EXISTS (SELECT FROM ledger.account a WHERE a.account_number = payer)),
            format('income of this shard is %s', expected)),
           ('fee_misplaced',
            payer IS DISTINCT FROM first_payer
            AND NOT EXISTS (SELECT FROM ledger.further_leg other
                             WHERE other.sequence > fee.transfer_sequence AND other.sequence < end_sequence
                               AND NOT other.is_fee
                               AND payer = CASE kind WHEN 3 THEN other.credit_account ELSE other.debit_account END),
            'not from a payer of the transfer'),
           ('fee_misplaced',
            EXISTS (SELECT FROM ledger.further_leg later
                     WHERE later.sequence > fee.sequence AND later.sequence < end_sequence
                       AND (NOT later.is_fee OR later.debit_account = fee.debit_account
                                            AND later.credit_account = fee.credit_account)),
            'not the last of its payer'),
           ('fee_misplaced', kind NOT IN (1, 3, 9, 10, 11), format('in a transfer of kind %s', kind)),
           ('fee_despite_waiver', flags & 4 <> 0, 'though fees were waived'),
           ('fee_despite_waiver',
            EXISTS (SELECT FROM ledger.relation r WHERE r.sequence = fee.transfer_sequence AND r.relation = 2),
            'though it is a reversal'),
           ('fee_income_differs',
            outcome <> 2 AND kind NOT IN (9, 11)
            AND NOT EXISTS (SELECT FROM ledger.entry e
                             WHERE e.account_number = expected AND e.sequence = fee.sequence
                               AND e.amount_minor = CASE kind WHEN 3 THEN -fee.amount_minor ELSE fee.amount_minor END),
            'no such entry on the income account')
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;
