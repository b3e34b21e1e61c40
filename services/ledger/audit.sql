-- What the audit asks of a shard, always inside one REPEATABLE READ READ ONLY snapshot of it. What it
-- asks about holds and reversals is audit_holds.sql, about limits and changes of accounts
-- audit_limits.sql.
-- A question about something broken answers rows (broken, evidence, found): which check of
-- audit_report.CHECKS, one row of the books as text, and how many there are in all; at most $1 rows
-- per check. No row is the good answer.

-- settle --
-- Sorts and hash tables in memory where possible; one core per shard, so that traffic keeps the
-- others; and nothing here is hurried.
SET LOCAL work_mem = '64MB';
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL statement_timeout = 0;
SET LOCAL jit = off;

-- watermarks --
SELECT peer_id, sent_through, acknowledged_through, landed_through FROM ledger.peer;

-- streams --
-- How far each stream goes, by the watermark or by the rows, whichever says more.
SELECT peer_id,
       greatest(p.sent_through, o.last_number, 0) AS sent_through,
       coalesce(p.acknowledged_through, 0) AS acknowledged_through,
       greatest(p.landed_through, l.last_number, 0) AS landed_through
  FROM ledger.peer p
  FULL JOIN (SELECT peer_id, max(number) AS last_number
               FROM (SELECT peer_id, number FROM ledger.crossing_out
                      UNION ALL SELECT peer_id, number FROM ledger.decision_out) sent GROUP BY peer_id) o USING (peer_id)
  FULL JOIN (SELECT peer_id, max(last_number) AS last_number
               FROM (SELECT peer_id, last_number FROM ledger.crossing_landed
                      UNION ALL SELECT peer_id, number FROM ledger.decision_landed) landed GROUP BY peer_id) l
      USING (peer_id)
 ORDER BY peer_id;

-- counts --
SELECT count(*) AS transfers,
       count(*) FILTER (WHERE kind = 1) AS asked,
       count(*) FILTER (WHERE kind = 2) AS landings,
       count(*) FILTER (WHERE kind BETWEEN 4 AND 7) AS hold_commands,
       count(*) FILTER (WHERE value_date <> business_date) AS value_dated_transfers,
       (SELECT count(*) FROM ledger.value_dated) AS value_dated,
       (SELECT count(*) FROM ledger.value_sum) AS value_sums,
       (SELECT count(*) FROM ledger.metadata) AS metadata,
       (SELECT count(*) FROM ledger.hold) AS holds,
       (SELECT count(*) FROM ledger.relation) AS relations,
       (SELECT count(*) FROM ledger.account_change) AS changes,
       (SELECT count(*) FROM ledger.customer_cap) AS caps,
       (SELECT count(*) FROM ledger.spending) AS spendings,
       (SELECT count(*) FROM ledger.customer_spending) AS customer_spendings,
       (SELECT count(*) FROM ledger.further_leg WHERE is_fee) AS fee_legs,
       (SELECT count(*) FROM ledger.account
         WHERE coalesce(balance_minor_max, transfer_minor_max, day_minor_max, day_count_max) IS NOT NULL)
           AS limited_accounts,
       (SELECT count(*) FROM ledger.entry) AS entries,
       (SELECT count(*) FROM ledger.account) AS accounts,
       (SELECT count(*) FROM ledger.crossing_out) AS crossings_out,
       (SELECT count(*) FROM ledger.crossing_refused) AS crossings_refused,
       (SELECT count(*) FROM ledger.crossing_returned) AS crossings_returned,
       (SELECT count(*) FROM ledger.leg_route) AS routed_legs,
       (SELECT count(*) FROM ledger.refused_leg) AS refused_legs,
       count(*) FILTER (WHERE kind BETWEEN 9 AND 11) + (SELECT count(*) FROM ledger.promise) AS promises,
       (SELECT count(*) FROM ledger.decision_out) AS decisions_out,
       (SELECT count(*) FROM ledger.decision_landed) AS decisions_landed
  FROM ledger.transfer;

-- currencies --
SELECT DISTINCT currency FROM ledger.account ORDER BY currency;

-- balances --
-- Last balances by slot and currency, with one account of each group to name; 0 for an account
-- that is not in the books and so has no currency.
SELECT (e.account_number / 1000000000000)::integer AS slot,
       coalesce(a.currency, 0)::integer AS currency,
       count(*) AS account_count,
       min(e.account_number) AS account_number,
       sum(e.balance_after_minor)::text AS balance_minor
  FROM (SELECT account_number, max(version) AS version FROM ledger.entry GROUP BY account_number) last_entry
  JOIN ledger.entry e USING (account_number, version)
  LEFT JOIN ledger.account a USING (account_number)
 GROUP BY 1, 2;

-- check_histories --
-- Each account's entries in order of version: what one says must follow from the one before.
-- Accounts that had a hold or promised something (there are some if $4) are not judged here by what they hold, but by
-- check_holds. A floor may have been another at the time: it is looked up for entries below the
-- highest one that their account ever had.
WITH fact AS (
    SELECT a.account_number, h.account_number IS NULL AS never_held,
           greatest(a.floor_minor, c.floor_minor) AS highest_floor_minor
      FROM ledger.account a
      LEFT JOIN (SELECT account_number, max(greatest(floor_before_minor, floor_minor)) AS floor_minor
                   FROM ledger.account_change WHERE refusal <> 10 GROUP BY account_number) c USING (account_number)
      LEFT JOIN (SELECT debit_account AS account_number
                   FROM ledger.transfer WHERE $4::boolean AND kind IN (4, 5, 6, 7, 9) AND outcome = 1
                  UNION
                 SELECT f.debit_account
                   FROM ledger.transfer t JOIN ledger.further_leg f ON f.transfer_sequence = t.sequence
                  WHERE $4::boolean AND t.kind = 9) h
          USING (account_number)
), stepped AS (
    SELECT account_number, version, sequence, amount_minor, balance_after_minor,
           coalesce(held_after_minor, 0) AS held_after_minor,
           lag(version, 1, 0::bigint) OVER history AS version_before,
           lag(sequence, 1, 0::bigint) OVER history AS sequence_before,
           lag(balance_after_minor, 1, 0::bigint) OVER history AS balance_before_minor
      FROM ledger.entry
    WINDOW history AS (PARTITION BY account_number ORDER BY version)
), judged AS (
    SELECT s.*,
           f.account_number IS NULL AND version_before = 0 AS account_missing,
           version - 1 <> version_before AS version_broken,
           sequence <= sequence_before AS order_broken,
           CASE WHEN balance_before_minor BETWEEN -$2::bigint AND $2 AND amount_minor BETWEEN -$3::bigint AND $3
                THEN balance_after_minor <> balance_before_minor + amount_minor
                ELSE true END AS balance_broken,
           held_after_minor <> 0 AND never_held AS held_broken,
           balance_after_minor < f.highest_floor_minor + held_after_minor AS below_a_floor
      FROM stepped s LEFT JOIN fact f USING (account_number)
), suspect AS MATERIALIZED (
    SELECT * FROM judged
     WHERE account_missing OR version_broken OR order_broken OR balance_broken OR held_broken OR below_a_floor
), explained AS (
    SELECT s.*, low.floor_minor, low.floor_minor IS NOT NULL AS floor_broken
      FROM suspect s
      LEFT JOIN LATERAL (
           -- Below the floor in force, lower than before, and neither a return, which cannot be refused,
           -- nor a reversal that was allowed to overdraw.
           SELECT in_force.floor_minor
             FROM (SELECT coalesce((SELECT c.floor_before_minor FROM ledger.account_change c
                                     WHERE c.account_number = s.account_number AND c.sequence > s.sequence
                                       AND c.refusal <> 10
                                     ORDER BY c.sequence LIMIT 1),
                                   (SELECT a.floor_minor FROM ledger.account a
                                     WHERE a.account_number = s.account_number LIMIT 1)) AS floor_minor) in_force
            WHERE s.below_a_floor
              AND s.balance_after_minor::numeric - s.held_after_minor < in_force.floor_minor
              AND s.balance_after_minor::numeric - s.held_after_minor <
                  coalesce((SELECT e.balance_after_minor::numeric - coalesce(e.held_after_minor, 0) FROM ledger.entry e
                             WHERE e.account_number = s.account_number AND e.sequence < s.sequence
                             ORDER BY e.sequence DESC LIMIT 1), 0)
              AND NOT EXISTS (
                  SELECT FROM ledger.transfer t
                   WHERE t.sequence = coalesce((SELECT f.transfer_sequence FROM ledger.further_leg f
                                                 WHERE f.sequence = s.sequence LIMIT 1), s.sequence)
                     AND (t.kind = 3
                          OR t.kind = 9 AND t.flags & 2 <> 0 AND t.flags & 8 <> 0
                          OR t.flags & 2 <> 0 AND EXISTS (SELECT FROM ledger.relation r
                                                           WHERE r.sequence = t.sequence AND r.relation = 2)))
           ) low ON true
), broken AS (
    SELECT check_name, j.account_number, j.version,
           format('account %s version %s (sequence %s): %s',
                  lpad(j.account_number::text, 16, '0'), j.version, j.sequence, complaint) AS evidence
      FROM explained j
     CROSS JOIN LATERAL (VALUES
           ('account_missing', account_missing, 'no such account in the books'),
           ('version_broken', version_broken, format('follows version %s', version_before)),
           ('order_broken', order_broken, format('follows sequence %s', sequence_before)),
           ('balance_broken', balance_broken,
            format('balance %s after %s and amount %s', balance_after_minor, balance_before_minor, amount_minor)),
           ('held_broken', held_broken, format('held %s, there never was a hold', held_after_minor)),
           ('floor_broken', floor_broken,
            format('balance %s less held %s is below floor %s', balance_after_minor, held_after_minor, floor_minor))
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY account_number, version) AS place
          FROM broken) numbered
 WHERE place <= $1;

-- check_legs --
-- Every leg that moved money against the two entries under its sequence, and every hold's step, or promise
-- that sets aside or frees, against its one entry of 0. A side on another shard is the transit account of
-- the peer through which it passes; a leg that passes this shard by has no entries. $2, $3 and $4 are peers,
-- currencies and the transit accounts they have here; a leg whose transit account cannot be told
-- (its crossing lacks a number, which is reported as that) is compared without it. No range of landed
-- numbers is believed to be longer than $5.
WITH transit AS (
    SELECT peer_id, currency, account_number
      FROM unnest($2::smallint[], $3::smallint[], $4::bigint[]) AS transit (peer_id, currency, account_number)
), arrived AS (
    SELECT l.peer_id, l.first_sequence + (n.number - l.first_number) AS sequence
      FROM ledger.crossing_landed l
     CROSS JOIN LATERAL generate_series(l.first_number, least(l.last_number, l.first_number + $5::bigint)) AS n (number)
), written AS (
    SELECT sequence, kind, debit_account, credit_account, amount_minor, currency
      FROM ledger.transfer WHERE kind IN (1, 4, 5, 6, 7, 9, 10, 11) AND outcome = 1
     UNION ALL
    SELECT f.sequence, t.kind, f.debit_account, f.credit_account, f.amount_minor, f.currency
      FROM ledger.further_leg f JOIN ledger.transfer t ON t.sequence = f.transfer_sequence
     WHERE t.outcome <> 2
), leg AS (
    SELECT w.sequence,
           CASE WHEN r.debit_peer > 0 THEN d.account_number ELSE w.debit_account END AS debit_account,
           CASE WHEN w.kind NOT IN (1, 3, 10) THEN NULL
                WHEN r.credit_peer > 0 THEN c.account_number
                ELSE w.credit_account END AS credit_account,
           CASE WHEN w.kind IN (1, 3, 10) THEN w.amount_minor ELSE 0 END AS amount_minor,
           w.currency,
           CASE WHEN w.kind IN (1, 3, 10) THEN 2 ELSE 1 END AS entry_count
      FROM written w
      LEFT JOIN ledger.leg_route r USING (sequence)
      LEFT JOIN transit d ON d.peer_id = r.debit_peer AND d.currency = w.currency
      LEFT JOIN transit c ON c.peer_id = r.credit_peer AND c.currency = w.currency
     WHERE r.sequence IS NULL
        OR CASE WHEN w.kind IN (1, 3, 10) THEN r.debit_peer <> r.credit_peer ELSE r.debit_peer = 0 END
     UNION ALL
    SELECT t.sequence, t.debit_account, x.account_number, t.amount_minor, t.currency, 2
      FROM ledger.transfer t
      LEFT JOIN ledger.crossing_out c USING (sequence)
      LEFT JOIN transit x ON x.peer_id = c.peer_id AND x.currency = t.currency
     WHERE t.kind = 1 AND t.outcome = 3
     UNION ALL
    SELECT t.sequence, x.account_number, t.credit_account, t.amount_minor, t.currency, 2
      FROM ledger.transfer t
      LEFT JOIN arrived a USING (sequence)
      LEFT JOIN transit x ON x.peer_id = a.peer_id AND x.currency = t.currency
     WHERE t.kind = 2 AND t.outcome = 1
     UNION ALL
    SELECT t.sequence, x.account_number, t.credit_account, t.amount_minor, t.currency, 2
      FROM ledger.transfer t
      LEFT JOIN ledger.crossing_returned r ON r.return_sequence = t.sequence
      LEFT JOIN transit x ON x.peer_id = r.peer_id AND x.currency = t.currency
     WHERE t.kind = 3 AND t.outcome = 1
), pair AS (
    SELECT sequence, count(*) AS entry_count, sum(amount_minor) AS sum_minor, max(amount_minor) AS amount_minor,
           min(account_number) FILTER (WHERE amount_minor <= 0) AS debit_account,
           min(account_number) FILTER (WHERE amount_minor > 0) AS credit_account
      FROM ledger.entry
     GROUP BY sequence
), judged AS (
    SELECT coalesce(leg.sequence, pair.sequence) AS sequence, leg.amount_minor, leg.currency,
           leg.debit_account, leg.credit_account,
           coalesce(pair.entry_count, 0) AS entry_count, coalesce(pair.sum_minor, 0) AS sum_minor,
           pair.debit_account AS debited, pair.credit_account AS credited, pair.amount_minor AS moved_minor,
           d.currency AS debit_currency, c.currency AS credit_currency,
           leg.sequence IS NULL AS leg_missing,
           pair.sequence IS NULL AS entries_missing,
           pair.sum_minor <> 0 AS leg_unbalanced,
           pair.sum_minor = 0 AND (pair.entry_count <> leg.entry_count
                                   OR pair.amount_minor <> leg.amount_minor
                                   OR pair.debit_account <> leg.debit_account
                                   OR pair.credit_account <> leg.credit_account) AS entries_differ,
           d.currency <> leg.currency OR c.currency <> leg.currency AS currency_differs
      FROM leg
      FULL JOIN pair ON pair.sequence = leg.sequence
      LEFT JOIN ledger.account d ON d.account_number = pair.debit_account
      LEFT JOIN ledger.account c ON c.account_number = pair.credit_account
), suspect AS MATERIALIZED (
    SELECT * FROM judged
     WHERE leg_missing OR entries_missing OR leg_unbalanced OR entries_differ OR currency_differs
), explained AS (
    SELECT s.*,
           coalesce(t.outcome, of_leg.outcome) AS outcome,
           coalesce(t.transfer_id, of_leg.transfer_id) AS transfer_id
      FROM suspect s
      LEFT JOIN ledger.transfer t ON t.sequence = s.sequence
      LEFT JOIN ledger.further_leg f ON f.sequence = s.sequence
      LEFT JOIN ledger.transfer of_leg ON of_leg.sequence = f.transfer_sequence
), broken AS (
    SELECT check_name, e.sequence,
           format('sequence %s (transfer %s): %s', e.sequence, coalesce(transfer_id::text, 'none'), complaint) AS evidence
      FROM explained e
     CROSS JOIN LATERAL (VALUES
           ('refused_has_entries', leg_missing AND outcome = 2, format('refused, but has %s entries', entry_count)),
           ('entries_without_leg', leg_missing AND outcome IS DISTINCT FROM 2,
            format('%s entries that no leg asked for add up to %s', entry_count, sum_minor)),
           ('entries_missing', entries_missing, format('amount %s was posted without entries', e.amount_minor)),
           ('leg_unbalanced', leg_unbalanced AND NOT leg_missing, format('%s entries add up to %s', entry_count, sum_minor)),
           ('entries_differ', entries_differ AND NOT leg_missing,
            format('%s entries move %s from %s to %s, the leg says %s from %s to %s', entry_count,
                   moved_minor, lpad(debited::text, 16, '0'), lpad(credited::text, 16, '0'),
                   e.amount_minor, lpad(debit_account::text, 16, '0'), lpad(credit_account::text, 16, '0'))),
           ('currency_differs', currency_differs,
            format('currency %s between accounts of %s and %s', currency, debit_currency, credit_currency))
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM broken) numbered
 WHERE place <= $1;

-- check_transfers --
-- One outcome per id (a return has its crossing's, an expiry its hold's, the end of a promise its promise's), all legs of what was posted,
-- landings and returns that are nothing but that, and buried ids that were refused.
WITH complaint AS (
    SELECT 'id_repeated' AS check_name, min(sequence) AS sequence,
           format('transfer %s has %s outcomes, at sequences %s and %s',
                  transfer_id, count(*), min(sequence), max(sequence)) AS evidence
      FROM ledger.transfer WHERE kind NOT IN (3, 7, 10, 11) GROUP BY transfer_id HAVING count(*) > 1
     UNION ALL
    SELECT 'legs_incomplete', t.sequence,
           format('sequence %s (transfer %s): %s legs, but %s are there',
                  t.sequence, t.transfer_id, t.leg_count, 1 + count(f.sequence))
      FROM ledger.transfer t
      LEFT JOIN ledger.further_leg f ON f.transfer_sequence = t.sequence AND f.sequence < t.sequence + t.leg_count
     WHERE t.leg_count > 1
     GROUP BY t.sequence, t.transfer_id, t.leg_count HAVING count(f.sequence) <> t.leg_count - 1
     UNION ALL
    SELECT 'legs_incomplete', f.sequence,
           format('sequence %s: a leg of sequence %s, which has no such leg', f.sequence, f.transfer_sequence)
      FROM ledger.further_leg f
      LEFT JOIN ledger.transfer t ON t.sequence = f.transfer_sequence AND f.sequence < t.sequence + t.leg_count
     WHERE t.sequence IS NULL
     UNION ALL
    SELECT 'crossing_misshapen', sequence,
           format('sequence %s (transfer %s): kind %s with outcome %s and %s legs',
                  sequence, transfer_id, kind, outcome, leg_count)
      FROM ledger.transfer
     WHERE (kind = 2 AND (outcome <> 1 OR leg_count <> 1)) OR (kind = 3 AND outcome <> 1) OR (kind <> 1 AND outcome = 3)
     UNION ALL
    SELECT 'burial_misshapen', sequence,
           format('sequence %s (transfer %s): buried with outcome %s and %s legs',
                  sequence, transfer_id, outcome, leg_count)
      FROM ledger.transfer
     WHERE kind = 8 AND (outcome <> 2 OR leg_count <> 1)
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- check_sequences --
-- The journal has every sequence up to its head, each once: as a transfer, as a further leg, as a
-- change of an account, or as a crossing that was refused here.
WITH used AS (
    SELECT sequence FROM ledger.transfer
     UNION ALL
    SELECT sequence FROM ledger.further_leg
     UNION ALL
    SELECT sequence FROM ledger.account_change
     UNION ALL
    SELECT l.first_sequence + (r.number - l.first_number)
      FROM ledger.crossing_refused r
     CROSS JOIN LATERAL (SELECT * FROM ledger.crossing_landed l
                          WHERE l.peer_id = r.peer_id AND l.first_number <= r.number
                          ORDER BY l.first_number DESC LIMIT 1) l
     WHERE r.number <= l.last_number
), stepped AS (
    SELECT sequence, lag(sequence, 1, 0::bigint) OVER (ORDER BY sequence) AS sequence_before FROM used
), complaint AS (
    SELECT 'sequence_missing' AS check_name, sequence,
           format('nothing is written at sequences %s to %s', sequence_before + 1, sequence - 1) AS evidence
      FROM stepped WHERE sequence - 1 > sequence_before
     UNION ALL
    SELECT 'sequence_repeated', sequence, format('sequence %s stands for two things', sequence)
      FROM stepped WHERE sequence <= sequence_before
     UNION ALL
    SELECT 'head_wrong', h.last_sequence,
           format('the head is at sequence %s, the last one written is %s', coalesce(h.last_sequence::text, 'none'),
                  u.last_sequence)
      FROM (SELECT coalesce(max(sequence), 0) AS last_sequence FROM used) u LEFT JOIN ledger.journal_head h ON true
     WHERE h.last_sequence IS DISTINCT FROM u.last_sequence
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- check_days --
-- Booking times never go back, a business day is that of its booking times, and begins in the journal
-- where it is said.
WITH written AS (
    SELECT booking_time, business_date, sequence AS first_sequence, sequence + (leg_count - 1) AS last_sequence
      FROM ledger.transfer
     UNION ALL
    SELECT change_time, (change_time AT TIME ZONE 'UTC')::date, sequence, sequence FROM ledger.account_change
), batch AS (
    SELECT booking_time, business_date, min(first_sequence) AS first_sequence, max(last_sequence) AS last_sequence
      FROM written GROUP BY booking_time, business_date
), stepped AS (
    SELECT batch.*, max(last_sequence) OVER (ORDER BY booking_time ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                        AS last_before
      FROM batch
), booked AS (
    SELECT business_date, min(first_sequence) AS first_sequence, max(last_sequence) AS last_sequence
      FROM batch GROUP BY business_date
), judged AS (
    SELECT coalesce(d.business_date, b.business_date) AS business_date, d.first_sequence,
           max(b.last_sequence) OVER (days ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_before,
           min(b.first_sequence) OVER (days ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS first_after
      FROM ledger.day d FULL JOIN booked b USING (business_date)
    WINDOW days AS (ORDER BY coalesce(d.business_date, b.business_date))
), complaint AS (
    SELECT 'booked_out_of_order' AS check_name, first_sequence AS sequence,
           format('sequences %s to %s of %s are booked at %s, up to sequence %s was booked before', first_sequence,
                  last_sequence, business_date, booking_time, coalesce(last_before, 0)) AS evidence
      FROM stepped
     WHERE first_sequence <= last_before OR (booking_time AT TIME ZONE 'UTC')::date <> business_date
     UNION ALL
    SELECT 'day_differs', coalesce(first_sequence, first_after),
           format('%s begins at sequence %s; days before it end at %s, it and days after it begin at %s', business_date,
                  coalesce(first_sequence::text, 'none'), coalesce(last_before, 0), first_after)
      FROM judged
     WHERE first_sequence IS NULL OR first_sequence <= last_before OR first_sequence > first_after
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- check_value_dates --
-- Entries whose value date is not their business day are listed apart, all of them and no others.
WITH expected AS (
    SELECT e.account_number, e.sequence, e.amount_minor, t.business_date, t.value_date
      FROM (SELECT sequence, business_date, value_date FROM ledger.transfer
             WHERE value_date <> business_date AND outcome <> 2
             UNION ALL
            SELECT f.sequence, t.business_date, t.value_date
              FROM ledger.further_leg f JOIN ledger.transfer t ON t.sequence = f.transfer_sequence
             WHERE t.value_date <> t.business_date AND t.outcome <> 2) t
      JOIN ledger.entry e USING (sequence)
), complaint AS (
    SELECT coalesce(e.sequence, v.sequence) AS sequence,
           format('account %s sequence %s: listed as %s of %s by value date %s, entered as %s of %s by value date %s',
                  lpad(coalesce(e.account_number, v.account_number)::text, 16, '0'), coalesce(e.sequence, v.sequence),
                  coalesce(v.amount_minor::text, 'none'), v.business_date, v.value_date,
                  coalesce(e.amount_minor::text, 'none'), e.business_date, e.value_date) AS evidence
      FROM expected e
      FULL JOIN ledger.value_dated v ON v.account_number = e.account_number AND v.sequence = e.sequence
     WHERE (v.amount_minor, v.business_date, v.value_date)
           IS DISTINCT FROM (e.amount_minor, e.business_date, e.value_date)
)
SELECT 'value_dated_differs' AS broken, evidence, found
  FROM (SELECT evidence, count(*) OVER () AS found, row_number() OVER (ORDER BY sequence) AS place
          FROM complaint) listed
 WHERE place <= $1;

-- check_sent --
-- Every crossing has a number, numbers are gapless, decisions among them, from 1, and the watermarks are where the rows end.
WITH numbered AS (
    SELECT peer_id, number, sequence, lag(number, 1, 0::bigint) OVER (PARTITION BY peer_id ORDER BY number) AS number_before
      FROM (SELECT peer_id, number, sequence FROM ledger.crossing_out
             UNION ALL SELECT peer_id, number, sequence FROM ledger.decision_out) sent
), complaint AS (
    SELECT 'sent_gap' AS check_name, number,
           format('crossing %s to shard %s (sequence %s) follows number %s', number, peer_id, sequence, number_before)
               AS evidence
      FROM numbered WHERE number - 1 <> number_before
     UNION ALL
    SELECT 'crossing_unnumbered', t.sequence,
           format('sequence %s (transfer %s): a crossing without a number', t.sequence, t.transfer_id)
      FROM ledger.transfer t
     WHERE t.outcome = 3 AND NOT EXISTS (SELECT FROM ledger.crossing_out c WHERE c.sequence = t.sequence)
     UNION ALL
    SELECT 'number_without_crossing', c.number,
           format('crossing %s to shard %s: sequence %s is no crossing', c.number, c.peer_id, c.sequence)
      FROM ledger.crossing_out c
     WHERE NOT EXISTS (SELECT FROM ledger.transfer t WHERE t.sequence = c.sequence AND t.outcome = 3)
     UNION ALL
    SELECT 'watermark_wrong', 0,
           format('crossings to shard %s: sent through %s, the last number is %s, acknowledged through %s',
                  peer_id, coalesce(p.sent_through, 0), coalesce(o.last_number, 0), coalesce(p.acknowledged_through, 0))
      FROM ledger.peer p
      FULL JOIN (SELECT peer_id, max(number) AS last_number FROM numbered GROUP BY peer_id) o USING (peer_id)
     WHERE coalesce(p.sent_through, 0) <> coalesce(o.last_number, 0)
        OR p.acknowledged_through NOT BETWEEN 0 AND p.sent_through
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY number) AS place
          FROM complaint) listed
 WHERE place <= $1;

-- check_landed --
-- Ranges of landed numbers, decisions between them, are gapless from 1 up to the watermark, and each number
-- in them is exactly one of a landing and a refusal. No range is believed to be longer than $2.
WITH ranged AS (
    SELECT l.*, lag(last_number, 1, 0::bigint) OVER (PARTITION BY peer_id ORDER BY first_number) AS number_before
      FROM (SELECT peer_id, first_number, last_number FROM ledger.crossing_landed
             UNION ALL SELECT peer_id, number, number FROM ledger.decision_landed) l
), arrived AS MATERIALIZED (
    SELECT l.peer_id, n.number, l.first_sequence + (n.number - l.first_number) AS sequence
      FROM ledger.crossing_landed l
     CROSS JOIN LATERAL generate_series(l.first_number, least(l.last_number, l.first_number + $2::bigint)) AS n (number)
), judged AS MATERIALIZED (
    SELECT peer_id, number, sequence, t.sequence IS NOT NULL AS has_landed
      FROM arrived
      LEFT JOIN (SELECT sequence FROM ledger.transfer WHERE kind = 2) t USING (sequence)
      LEFT JOIN ledger.crossing_refused r USING (peer_id, number)
     WHERE (t.sequence IS NULL) = (r.refusal IS NULL)
), complaint AS (
    SELECT 'landed_gap' AS check_name, first_number AS number,
           format('crossings %s to %s from shard %s follow number %s', first_number, last_number, peer_id, number_before)
               AS evidence
      FROM ranged WHERE first_number - 1 <> number_before
     UNION ALL
    SELECT 'landing_missing', number,
           format('crossing %s from shard %s (sequence %s) neither landed nor was refused', number, peer_id, sequence)
      FROM judged WHERE NOT has_landed
     UNION ALL
    SELECT 'landing_refused', number,
           format('crossing %s from shard %s landed (sequence %s) and was refused', number, peer_id, sequence)
      FROM judged WHERE has_landed
     UNION ALL
    SELECT 'landing_unnumbered', t.sequence,
           format('sequence %s (transfer %s): a landing without a number', t.sequence, t.transfer_id)
      FROM ledger.transfer t
     WHERE t.kind = 2 AND NOT EXISTS (SELECT FROM arrived WHERE arrived.sequence = t.sequence)
     UNION ALL
    SELECT 'landing_renumbered', sequence, format('sequence %s belongs to %s numbers', sequence, count(*))
      FROM arrived GROUP BY sequence HAVING count(*) > 1
     UNION ALL
    SELECT 'refusal_unnumbered', r.number,
           format('crossing %s from shard %s was refused, but never arrived', r.number, r.peer_id)
      FROM ledger.crossing_refused r
     WHERE NOT EXISTS (SELECT FROM arrived WHERE arrived.peer_id = r.peer_id AND arrived.number = r.number)
     UNION ALL
    SELECT 'watermark_wrong', 0,
           format('crossings from shard %s: landed through %s, the last number is %s',
                  peer_id, coalesce(p.landed_through, 0), coalesce(l.last_number, 0))
      FROM ledger.peer p
      FULL JOIN (SELECT peer_id, max(last_number) AS last_number FROM ranged GROUP BY peer_id) l
          USING (peer_id)
     WHERE coalesce(p.landed_through, 0) <> coalesce(l.last_number, 0)
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY number) AS place
          FROM complaint) listed
 WHERE place <= $1;

-- check_returned --
-- Every return gives back exactly one acknowledged crossing, whole and to its payer, and every further
-- leg that went along, in the same order.
WITH pair AS (
    SELECT r.peer_id, r.number, r.return_sequence, b.sequence IS NULL AS return_missing,
           o.sequence IS NULL AS crossing_missing,
           r.number > p.acknowledged_through AS unacknowledged,
           (b.transfer_id, b.debit_account, b.credit_account, b.amount_minor, b.currency)
               IS DISTINCT FROM (o.transfer_id, o.credit_account, o.debit_account, o.amount_minor, o.currency)
               OR o.leg_count <> b.leg_count OR back.legs IS DISTINCT FROM gone.legs AS differs,
           format('%s, %s %s from %s to %s%s', b.transfer_id, b.amount_minor, b.currency,
                  lpad(b.debit_account::text, 16, '0'), lpad(b.credit_account::text, 16, '0'),
                  ' and ' || back.legs::text) AS given,
           format('%s, %s %s from %s to %s%s', o.transfer_id, o.amount_minor, o.currency,
                  lpad(o.debit_account::text, 16, '0'), lpad(o.credit_account::text, 16, '0'),
                  ' and ' || gone.legs::text) AS taken,
           count(*) OVER (PARTITION BY r.return_sequence) AS uses
      FROM ledger.crossing_returned r
      LEFT JOIN ledger.peer p ON p.peer_id = r.peer_id
      LEFT JOIN ledger.crossing_out c ON c.peer_id = r.peer_id AND c.number = r.number
      LEFT JOIN ledger.transfer o ON o.sequence = c.sequence AND o.outcome = 3
      LEFT JOIN ledger.transfer b ON b.sequence = r.return_sequence AND b.kind = 3
      LEFT JOIN LATERAL (SELECT array_agg(ARRAY[f.debit_account, f.credit_account, f.amount_minor, f.currency, f.is_fee::integer]
                                          ORDER BY f.sequence) AS legs
                           FROM ledger.further_leg f
                          WHERE o.leg_count > 1 AND f.sequence > o.sequence AND f.sequence < o.sequence + o.leg_count
           ) gone ON true
      LEFT JOIN LATERAL (SELECT array_agg(ARRAY[f.credit_account, f.debit_account, f.amount_minor, f.currency, f.is_fee::integer]
                                          ORDER BY f.sequence) AS legs
                           FROM ledger.further_leg f
                          WHERE b.leg_count > 1 AND f.sequence > b.sequence AND f.sequence < b.sequence + b.leg_count
           ) back ON true
), complaint AS (
    SELECT check_name, number,
           format('crossing %s to shard %s returned at sequence %s: %s', number, peer_id, return_sequence, complaint)
               AS evidence
      FROM pair
     CROSS JOIN LATERAL (VALUES
           ('return_missing', return_missing, 'no such return in the books'),
           ('return_of_nothing', crossing_missing, 'no such crossing left'),
           ('return_early', unacknowledged, 'not acknowledged yet'),
           ('return_differs', differs AND NOT (return_missing OR crossing_missing),
            format('gives back (%s) what left as (%s)', given, taken)),
           ('return_repeated', uses > 1, format('the same return serves %s crossings', uses))
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
     UNION ALL
    SELECT 'return_unnumbered', t.sequence,
           format('sequence %s (transfer %s): a return of no crossing', t.sequence, t.transfer_id)
      FROM ledger.transfer t
     WHERE t.kind = 3
       AND NOT EXISTS (SELECT FROM ledger.crossing_returned r WHERE r.return_sequence = t.sequence)
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY number) AS place
          FROM complaint) listed
 WHERE place <= $1;

-- sent_digests --
-- What left for each peer ($1), up to the number that both snapshots have ($2), in blocks of $3
-- numbers: a digest of what must have landed and one of what was returned. Digests only have to
-- differ where rows do; where they differ for another reason the rows are compared in vain.
SELECT c.peer_id::integer, (c.number - 1) / $3 AS block,
       count(*) FILTER (WHERE r.number IS NULL) AS landed_count,
       coalesce(bit_xor(hash_record_extended(ROW (c.number, t.transfer_id, t.debit_account, t.credit_account,
                                                  t.amount_minor, t.currency, t.value_date, t.reference,
                                                  coalesce(kept.pairs, '')), 0))
                FILTER (WHERE r.number IS NULL), 0) AS landed_digest,
       count(r.number) AS refused_count,
       coalesce(bit_xor(hash_record_extended(ROW (c.number, r.refusal), 0))
                FILTER (WHERE r.number IS NOT NULL), 0) AS refused_digest
  FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
  JOIN ledger.crossing_out c ON c.peer_id = stream.peer_id AND c.number BETWEEN 1 AND stream.through
  JOIN ledger.transfer t ON t.sequence = c.sequence
  LEFT JOIN (SELECT sequence, string_agg(format('%s=%L', key, value), ' ' ORDER BY key COLLATE "C") AS pairs
               FROM ledger.metadata GROUP BY sequence) kept ON kept.sequence = t.sequence
  LEFT JOIN ledger.crossing_returned r ON r.peer_id = c.peer_id AND r.number = c.number
 GROUP BY 1, 2;

-- landed_digests --
-- The same of what landed from each peer.
SELECT l.peer_id::integer, (n.number - 1) / $3 AS block, count(*) AS landed_count,
       bit_xor(hash_record_extended(ROW (n.number, t.transfer_id, t.debit_account, t.credit_account,
                                         t.amount_minor, t.currency, t.value_date, t.reference,
                                         coalesce(kept.pairs, '')), 0)) AS landed_digest
  FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
  JOIN ledger.crossing_landed l ON l.peer_id = stream.peer_id
 CROSS JOIN LATERAL generate_series(l.first_number, least(l.last_number, stream.through)) AS n (number)
  JOIN ledger.transfer t ON t.sequence = l.first_sequence + (n.number - l.first_number)
  LEFT JOIN (SELECT sequence, string_agg(format('%s=%L', key, value), ' ' ORDER BY key COLLATE "C") AS pairs
               FROM ledger.metadata GROUP BY sequence) kept ON kept.sequence = t.sequence
 WHERE t.kind = 2
 GROUP BY 1, 2;

-- refused_digests --
-- The same of what arrived from each peer and was refused.
SELECT r.peer_id::integer, (r.number - 1) / $3 AS block, count(*) AS refused_count,
       bit_xor(hash_record_extended(ROW (r.number, r.refusal), 0)) AS refused_digest
  FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
  JOIN ledger.crossing_refused r ON r.peer_id = stream.peer_id AND r.number <= stream.through
 GROUP BY 1, 2;

-- sent_rows --
-- Crossings to a peer ($1) by number, from $2 to $3, with the reason of those that came back.
SELECT c.number, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.currency, t.value_date,
       t.reference,
       (SELECT coalesce(string_agg(format('%s=%L', key, value), ' ' ORDER BY key COLLATE "C"), '')
          FROM ledger.metadata m WHERE m.sequence = t.sequence) AS metadata,
       coalesce(r.refusal, 0) AS refusal
  FROM ledger.crossing_out c
  JOIN ledger.transfer t ON t.sequence = c.sequence
  LEFT JOIN ledger.crossing_returned r ON r.peer_id = c.peer_id AND r.number = c.number
 WHERE c.peer_id = $1 AND c.number BETWEEN $2 AND $3;

-- landed_rows --
-- Crossings from a peer ($1) that landed, by number, from $2 to $3.
SELECT n.number, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.currency, t.value_date,
       t.reference,
       (SELECT coalesce(string_agg(format('%s=%L', key, value), ' ' ORDER BY key COLLATE "C"), '')
          FROM ledger.metadata m WHERE m.sequence = t.sequence) AS metadata
  FROM ledger.crossing_landed l
 CROSS JOIN LATERAL generate_series(greatest(l.first_number, $2), least(l.last_number, $3)) AS n (number)
  JOIN ledger.transfer t ON t.sequence = l.first_sequence + (n.number - l.first_number)
 WHERE l.peer_id = $1 AND l.first_number <= $3 AND l.last_number >= $2 AND t.kind = 2;

-- refused_rows --
-- Crossings from a peer ($1) that were refused, by number, from $2 to $3.
SELECT number, refusal FROM ledger.crossing_refused WHERE peer_id = $1 AND number BETWEEN $2 AND $3;

-- in_flight --
-- Money on its way to each peer ($1): crossings above what the peer has landed ($2) and those below
-- that the peer refused ($3 and $4: peers and numbers), as long as they are not returned; and what posted
-- decisions above what the peer has landed bring it, or take from it.
WITH crossing AS (
    SELECT c.peer_id, c.number, c.sequence
      FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
      JOIN ledger.crossing_out c ON c.peer_id = stream.peer_id AND c.number > stream.through
     UNION
    SELECT c.peer_id, c.number, c.sequence
      FROM unnest($3::smallint[], $4::bigint[]) AS refused (peer_id, number)
      JOIN ledger.crossing_out c USING (peer_id, number)
), moving AS (
    SELECT m.peer_id, m.number, t.currency, t.amount_minor, t.booking_time
      FROM crossing m
      JOIN ledger.transfer t ON t.sequence = m.sequence
      LEFT JOIN ledger.crossing_returned r ON r.peer_id = m.peer_id AND r.number = m.number
     WHERE r.number IS NULL
     UNION ALL
    SELECT d.peer_id, d.number, leg.currency,
           leg.amount_minor * CASE WHEN r.credit_peer = d.peer_id THEN 1 ELSE -1 END, t.booking_time
      FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
      JOIN ledger.decision_out d ON d.peer_id = stream.peer_id AND d.number > stream.through AND d.outcome = 1
      JOIN ledger.transfer t ON t.sequence = d.sequence
      JOIN ledger.leg_route r ON r.sequence >= t.sequence AND r.sequence < t.sequence + t.leg_count
                             AND (r.debit_peer = d.peer_id) <> (r.credit_peer = d.peer_id)
     CROSS JOIN LATERAL (SELECT t.amount_minor, t.currency WHERE r.sequence = t.sequence
                          UNION ALL
                         SELECT f.amount_minor, f.currency FROM ledger.further_leg f WHERE f.sequence = r.sequence) leg
)
SELECT peer_id::integer, currency::integer, count(DISTINCT number) AS crossing_count,
       sum(amount_minor)::text AS amount_minor, min(number) AS first_number,
       extract(epoch FROM clock_timestamp() - min(booking_time))::double precision AS age_seconds
  FROM moving
 GROUP BY 1, 2;

-- landed_ahead --
-- What landed from each peer ($1) above what the peer's older snapshot had sent ($2). No range is
-- believed to be longer than $3.
WITH arrived AS (
    SELECT l.peer_id, t.currency, t.amount_minor
      FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
      JOIN ledger.crossing_landed l ON l.peer_id = stream.peer_id AND l.last_number > stream.through
     CROSS JOIN LATERAL generate_series(greatest(l.first_number, stream.through + 1),
                                        least(l.last_number, l.first_number + $3::bigint)) AS n (number)
      JOIN ledger.transfer t ON t.sequence = l.first_sequence + (n.number - l.first_number)
     WHERE t.kind = 2
     UNION ALL
    SELECT d.peer_id, leg.currency, leg.amount_minor * CASE WHEN r.debit_peer = d.peer_id THEN 1 ELSE -1 END
      FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
      JOIN ledger.decision_landed d ON d.peer_id = stream.peer_id AND d.number > stream.through AND d.outcome = 1
      JOIN ledger.transfer t ON t.sequence = d.sequence AND t.kind = 10
      JOIN ledger.leg_route r ON r.sequence >= t.sequence AND r.sequence < t.sequence + t.leg_count
     CROSS JOIN LATERAL (SELECT t.amount_minor, t.currency WHERE r.sequence = t.sequence
                          UNION ALL
                         SELECT f.amount_minor, f.currency FROM ledger.further_leg f WHERE f.sequence = r.sequence) leg
)
SELECT peer_id::integer, currency::integer, sum(amount_minor)::text AS amount_minor FROM arrived GROUP BY 1, 2;

-- refused_numbers --
-- Crossings from each peer ($1) that were refused, above what the peer knows to have landed ($2).
SELECT r.peer_id::integer, r.number
  FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
  JOIN ledger.crossing_refused r ON r.peer_id = stream.peer_id AND r.number > stream.through;

-- transit_balances --
-- The last balance of each transit account ($1) that has one.
SELECT wanted.account_number, e.balance_after_minor AS balance_minor
  FROM unnest($1::bigint[]) AS wanted (account_number)
 CROSS JOIN LATERAL (SELECT balance_after_minor FROM ledger.entry
                      WHERE entry.account_number = wanted.account_number
                      ORDER BY sequence DESC LIMIT 1) e;

-- accounts_of_slot --
-- Accounts with entries above account $1 and up to $2, at most $3 of them.
SELECT DISTINCT account_number FROM ledger.entry
 WHERE account_number > $1 AND account_number <= $2 ORDER BY account_number LIMIT $3;

-- accounts_with_entries --
SELECT wanted.account_number
  FROM unnest($1::bigint[]) AS wanted (account_number)
 WHERE EXISTS (SELECT FROM ledger.entry e WHERE e.account_number = wanted.account_number)
 ORDER BY 1;

-- compare_answers --
-- What callers were told of ids ($1: ids, $2: outcomes, $3: refusals or 0), of transfers and of holds'
-- commands, against what the books say: places that agree and places that do not, with what the books
-- say of them; those where the id was buried apart, since its transfer may stand on another shard.
-- Ids unknown here are absent. An answer of 3, in transit, is true of a crossing for ever. A crossing
-- counts as posted once the peer ($4) has landed it ($5), even before that is acknowledged here.
WITH told AS (
    SELECT place, transfer_id, outcome, refusal
      FROM unnest($1::uuid[], $2::smallint[], $3::smallint[]) WITH ORDINALITY AS told (transfer_id, outcome, refusal, place)
), landed AS (
    SELECT peer_id, through FROM unnest($4::smallint[], $5::bigint[]) AS landed (peer_id, through)
), meaning AS (
    SELECT told.place, told.outcome AS told_outcome, told.refusal AS told_refusal, t.outcome = 3 AS crosses,
           t.kind = 8 AS buried,
           CASE WHEN t.outcome <> 3 THEN t.outcome
                WHEN r.number IS NOT NULL THEN 4
                WHEN c.number <= greatest(p.acknowledged_through, landed.through) THEN 1
                ELSE 3 END AS outcome,
           coalesce(r.refusal, t.refusal) AS refusal
      FROM told
      JOIN ledger.transfer t ON t.transfer_id = told.transfer_id AND t.kind NOT IN (2, 3, 7, 9, 10, 11)
      LEFT JOIN ledger.crossing_out c ON t.outcome = 3 AND c.sequence = t.sequence
      LEFT JOIN ledger.peer p ON p.peer_id = c.peer_id
      LEFT JOIN landed ON landed.peer_id = c.peer_id
      LEFT JOIN ledger.crossing_returned r ON r.peer_id = c.peer_id AND r.number = c.number
), judged AS (
    SELECT place, outcome, refusal, buried,
           CASE told_outcome WHEN 3 THEN crosses
                ELSE outcome = told_outcome AND told_refusal IN (0, refusal) END AS agrees
      FROM meaning
)
SELECT agrees, buried, array_agg(place - 1) AS places, array_agg(outcome) AS outcomes, array_agg(refusal) AS refusals
  FROM judged GROUP BY agrees, buried;

-- directory --
-- Asked of the control database: its shards and the slots of each.
SELECT shard.shard_id::integer, coalesce(array_agg(slot.slot) FILTER (WHERE slot.slot IS NOT NULL), '{}') AS slots
  FROM control.shard LEFT JOIN control.slot USING (shard_id)
 GROUP BY shard.shard_id ORDER BY shard.shard_id;
