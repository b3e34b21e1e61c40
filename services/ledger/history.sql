-- What is asked of the past: balances as of a moment, statements, entries page by page, transfers by what is
-- known of them, the trial balance. Whatever lies at or below a sequence never changes, so a sequence is a cut.

-- day_cut --
-- The last sequence of all business days up to one; everything so far when no later day has begun.
SELECT coalesce((SELECT first_sequence - 1 FROM ledger.day WHERE business_date > $1 ORDER BY business_date LIMIT 1),
                (SELECT last_sequence FROM ledger.journal_head));

-- time_cut --
-- The last sequence booked at or before a time, found by halving the journal of its day: booking times
-- never go back, so some 25 seeks find it among the transfers of the busiest day. All legs of a transfer
-- belong to the moment of its first.
WITH RECURSIVE bounds AS (
    SELECT coalesce((SELECT first_sequence FROM ledger.day
                      WHERE business_date <= ($1::timestamptz AT TIME ZONE 'UTC')::date
                      ORDER BY business_date DESC LIMIT 1), 1) AS low,
           coalesce((SELECT first_sequence FROM ledger.day
                      WHERE business_date > ($1::timestamptz AT TIME ZONE 'UTC')::date
                      ORDER BY business_date LIMIT 1),
                    (SELECT last_sequence + 1 FROM ledger.journal_head)) AS high
), halved (low, high) AS (
    SELECT low, greatest(low, high) FROM bounds
     UNION ALL
    SELECT CASE WHEN probe.booking_time <= $1 THEN probe.sequence + 1 ELSE low END,
           CASE WHEN probe.booking_time <= $1 THEN high ELSE (low + high) / 2 END
      FROM halved
      LEFT JOIN LATERAL (SELECT t.sequence, t.booking_time FROM ledger.transfer t
                          WHERE t.sequence >= (low + high) / 2 ORDER BY t.sequence LIMIT 1) probe ON true
     WHERE low < high
)
SELECT coalesce(t.sequence + t.leg_count - 1, 0)
  FROM (SELECT min(high) - 1 AS sequence FROM halved) cut
  LEFT JOIN LATERAL (SELECT sequence, leg_count FROM ledger.transfer
                      WHERE transfer.sequence <= cut.sequence ORDER BY sequence DESC LIMIT 1) t ON true;

-- state_at --
-- An account's currency and what it held after a sequence: one seek.
SELECT a.currency, coalesce(e.version, 0) AS version, coalesce(e.balance_after_minor, 0) AS balance_minor,
       coalesce(e.held_after_minor, 0) AS held_minor
  FROM ledger.account a
  LEFT JOIN LATERAL (SELECT version, balance_after_minor, held_after_minor
                       FROM ledger.entry
                      WHERE entry.account_number = $1 AND sequence <= $2 ORDER BY sequence DESC LIMIT 1) e ON true
 WHERE a.account_number = $1;

-- balance_by_value --
-- An account's currency and what it holds by value date at the end of a day ($2, in days since 1970-01-01):
-- what was booked by then, and the sums of what moves between days, up to that day. One snapshot.
SELECT a.currency, (coalesce(e.balance_after_minor, 0) + coalesce(shift.amount_minor, 0))::bigint AS balance_minor
  FROM ledger.account a
 CROSS JOIN LATERAL (SELECT coalesce((SELECT first_sequence - 1 FROM ledger.day
                                       WHERE business_date > date '1970-01-01' + $2::integer ORDER BY business_date LIMIT 1),
                                     (SELECT last_sequence FROM ledger.journal_head)) AS sequence) cut
  LEFT JOIN LATERAL (SELECT balance_after_minor
                       FROM ledger.entry
                      WHERE entry.account_number = $1 AND entry.sequence <= cut.sequence
                      ORDER BY entry.sequence DESC LIMIT 1) e ON true
 CROSS JOIN LATERAL (SELECT sum(amount_minor) AS amount_minor
                       FROM ((SELECT amount_minor FROM ledger.value_sum
                               WHERE account_number = $1 AND width_days = 4096 AND first_day < $2 - $2 % 4096)
                              UNION ALL
                             (SELECT amount_minor FROM ledger.value_sum
                               WHERE account_number = $1 AND width_days = 64
                                 AND first_day >= $2 - $2 % 4096 AND first_day < $2 - $2 % 64)
                              UNION ALL
                             (SELECT amount_minor FROM ledger.value_sum
                               WHERE account_number = $1 AND width_days = 1
                                 AND first_day >= $2 - $2 % 64 AND first_day <= $2)) AS sums) shift
 WHERE a.account_number = $1;

-- period --
-- An account's currency, and where the entries of some business days ($2 and $3, NULL for no bound) lie: after
-- one sequence, up to another, at most $4 unless that is 0; and whether the last day is over.
SELECT (SELECT currency FROM ledger.account WHERE account_number = $1) AS currency,
       CASE WHEN $2::date IS NULL THEN 0
            ELSE coalesce((SELECT first_sequence - 1 FROM ledger.day WHERE business_date >= $2::date
                            ORDER BY business_date LIMIT 1), h.last_sequence)
            END AS after_sequence,
       least(coalesce(nullif($4::bigint, 0), h.last_sequence),
             (SELECT first_sequence - 1 FROM ledger.day WHERE business_date > $3::date ORDER BY business_date LIMIT 1))
           AS cut_sequence,
       coalesce((SELECT max(business_date) FROM ledger.day) > $3::date, false) AS is_final
  FROM ledger.journal_head h;

-- entries --
-- An account's entries after a sequence ($2) and up to another ($3), newest first if $4, at most $5. A leg is
-- its transfer's first or has a row of its own.
WITH page AS MATERIALIZED (
    (SELECT version, sequence, amount_minor, balance_after_minor, held_after_minor FROM ledger.entry
      WHERE $4::boolean AND account_number = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence DESC LIMIT $5)
     UNION ALL
    (SELECT version, sequence, amount_minor, balance_after_minor, held_after_minor FROM ledger.entry
      WHERE NOT $4::boolean AND account_number = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $5)
)
SELECT e.version, e.sequence, e.amount_minor, e.balance_after_minor, coalesce(e.held_after_minor, 0) AS held_after_minor,
       t.transfer_id, t.kind,
       CASE t.kind WHEN 3 THEN t.credit_account ELSE t.debit_account END AS payer_account,
       coalesce(f.debit_account, t.debit_account) AS debit_account,
       coalesce(f.credit_account, t.credit_account) AS credit_account,
       t.reference, t.booking_time, t.business_date, t.value_date, coalesce(f.is_fee, false) AS is_fee,
       link.relation, link.target_id,
       x.bank_code, x.account, x.creditor_name, x.remittance_text,
       ARRAY(SELECT ARRAY[m.key, m.value] FROM ledger.metadata m WHERE m.sequence = t.sequence ORDER BY m.key COLLATE "C")
           AS metadata
  FROM page e
  LEFT JOIN ledger.further_leg f ON f.sequence = e.sequence
  JOIN ledger.transfer t ON t.sequence = coalesce(f.transfer_sequence, e.sequence)
  LEFT JOIN ledger.relation link ON link.sequence = t.sequence
  LEFT JOIN ledger.external_creditor x ON x.sequence = t.sequence
 ORDER BY CASE WHEN $4::boolean THEN -e.sequence ELSE e.sequence END;

-- totals --
-- What an account's entries after a sequence ($2) and up to another ($3) add up to.
SELECT count(*) FILTER (WHERE amount_minor < 0) AS debit_count,
       coalesce(-sum(amount_minor) FILTER (WHERE amount_minor < 0), 0)::bigint AS debit_minor,
       count(*) FILTER (WHERE amount_minor > 0) AS credit_count,
       coalesce(sum(amount_minor) FILTER (WHERE amount_minor > 0), 0)::bigint AS credit_minor,
       count(*) AS entry_count
  FROM ledger.entry WHERE account_number = $1 AND sequence > $2 AND sequence <= $3;

-- search_settings --
-- A search is planned for what it looks for, and given up when it takes too long.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('statement_timeout', $1, true);

-- search --
-- Looks at the next $4 places after a sequence ($2) and up to another ($3), newest first, in one of four
-- orders ($1): 1 the journal, 2 the entries of account $5, 3 what has reference $6, 4 what has the first pair of
-- $10 and $11. Tells how many there were, the last of them, and where the first $13 transfers stand that
-- have all that is asked for. An account finds a transfer at the first of its entries.
WITH scanned AS MATERIALIZED (
    (SELECT sequence FROM ledger.transfer
      WHERE $1::integer = 1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence DESC LIMIT $4::bigint)
     UNION ALL
    (SELECT sequence FROM ledger.entry
      WHERE $1::integer = 2 AND account_number = $5 AND sequence > $2 AND sequence <= $3
      ORDER BY sequence DESC LIMIT $4::bigint)
     UNION ALL
    (SELECT sequence FROM ledger.transfer
      WHERE $1::integer = 3 AND reference <> '' AND hashtext(reference) = hashtext($6::text)
        AND (sequence >> 10)::integer BETWEEN ($2::bigint >> 10)::integer AND ($3::bigint >> 10)::integer
        AND sequence > $2 AND sequence <= $3
      ORDER BY (sequence >> 10)::integer DESC, sequence DESC LIMIT $4::bigint)
     UNION ALL
    (SELECT sequence FROM ledger.metadata
      WHERE $1::integer = 4 AND key = ($10::text[])[1] AND value = ($11::text[])[1] AND sequence > $2 AND sequence <= $3
      ORDER BY sequence DESC LIMIT $4::bigint)
), found AS (
    SELECT s.sequence, t.sequence AS transfer_sequence
      FROM scanned s
      LEFT JOIN ledger.further_leg f ON $1::integer = 2 AND f.sequence = s.sequence
      JOIN ledger.transfer t ON t.sequence = coalesce(f.transfer_sequence, s.sequence)
     WHERE t.kind = ANY ($12::smallint[])
       AND ($5::bigint = 0
            OR ($1::integer = 2 AND t.leg_count = 1)
            OR s.sequence = (SELECT min(e.sequence) FROM ledger.entry e
                              WHERE e.account_number = $5
                                AND e.sequence >= t.sequence AND e.sequence < t.sequence + t.leg_count)
            OR ($1::integer <> 2
                AND EXISTS (SELECT FROM ledger.entry e
                             WHERE e.account_number = $5
                               AND e.sequence >= t.sequence AND e.sequence < t.sequence + t.leg_count)))
       AND ($6::text = '' OR t.reference = $6)
       AND ($7::bigint = 0 OR $7 IN (t.debit_account, t.credit_account)
            OR t.leg_count > 1
               AND EXISTS (SELECT FROM ledger.further_leg l
                            WHERE l.sequence > t.sequence AND l.sequence < t.sequence + t.leg_count
                              AND $7 IN (l.debit_account, l.credit_account)))
       AND (t.amount_minor BETWEEN $8::bigint AND $9::bigint
            OR t.leg_count > 1
               AND EXISTS (SELECT FROM ledger.further_leg l
                            WHERE l.sequence > t.sequence AND l.sequence < t.sequence + t.leg_count
                              AND l.amount_minor BETWEEN $8::bigint AND $9::bigint))
       AND NOT EXISTS (SELECT FROM unnest($10::text[], $11::text[]) AS wanted (key, value)
                        WHERE NOT EXISTS (SELECT FROM ledger.metadata m
                                           WHERE m.sequence = t.sequence AND m.key = wanted.key AND m.value = wanted.value))
     ORDER BY s.sequence DESC LIMIT $13::bigint
)
SELECT (SELECT count(*) FROM scanned) AS scanned_count,
       (SELECT min(sequence) FROM scanned) AS scanned_through,
       ARRAY(SELECT sequence FROM found ORDER BY sequence DESC) AS places,
       ARRAY(SELECT transfer_sequence FROM found ORDER BY sequence DESC) AS transfers;

-- balances_at --
-- The next $4 accounts after one ($3) as they were after a sequence ($2), by chart code (0 for customers'; $1 is
-- the shard's own slot) and currency: how many had entries, and the sums of their debit and credit balances.
SELECT CASE WHEN a.account_number / 1000000000000 = $1 THEN (a.account_number / 100000000 % 10000)::integer ELSE 0 END
           AS code,
       a.currency::integer,
       count(e.balance_after_minor) AS account_count,
       coalesce(-sum(e.balance_after_minor) FILTER (WHERE e.balance_after_minor < 0), 0)::bigint AS debit_minor,
       coalesce(sum(e.balance_after_minor) FILTER (WHERE e.balance_after_minor > 0), 0)::bigint AS credit_minor,
       count(*) AS seen_count,
       max(a.account_number) AS last_account
  FROM (SELECT account_number, currency FROM ledger.account WHERE account_number > $3 ORDER BY account_number LIMIT $4) a
  LEFT JOIN LATERAL (SELECT balance_after_minor FROM ledger.entry
                      WHERE entry.account_number = a.account_number AND entry.sequence <= $2
                      ORDER BY sequence DESC LIMIT 1) e ON true
 GROUP BY 1, 2;

-- own_accounts_at --
-- The bank's own accounts between two numbers ($1 and $2) that have entries: what they held after a
-- sequence ($3) and after an earlier one ($4).
SELECT a.account_number, a.currency::integer, now.balance_after_minor AS balance_minor,
       coalesce(before.balance_after_minor, 0) AS balance_before_minor
  FROM ledger.account a
 CROSS JOIN LATERAL (SELECT balance_after_minor FROM ledger.entry
                      WHERE entry.account_number = a.account_number AND entry.sequence <= $3
                      ORDER BY sequence DESC LIMIT 1) now
  LEFT JOIN LATERAL (SELECT balance_after_minor FROM ledger.entry
                      WHERE entry.account_number = a.account_number AND entry.sequence <= $4
                      ORDER BY sequence DESC LIMIT 1) before ON true
 WHERE a.account_number BETWEEN $1 AND $2
 ORDER BY a.account_number;
