-- What the audit asks about entries, transfers, sequences and days; the form is that of audit.sql.

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
