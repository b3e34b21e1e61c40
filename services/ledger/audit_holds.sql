-- What the audit asks about holds and reversals; the form is that of audit.sql.

-- check_holds --
-- The life of every hold, from the transfers that placed (4), increased (5), released (6), expired (7) and
-- captured (1) it: in order, resolved once, never for more than it holds. Held money is, at every
-- version, what the holds and promises then open add up to; ledger.hold says what came of each.
WITH step AS (
    SELECT transfer_id AS hold_id, sequence, kind, debit_account AS account_number, credit_account, amount_minor, currency,
           business_date, booking_time
      FROM ledger.transfer WHERE kind IN (4, 7) AND outcome = 1
     UNION ALL
    SELECT r.target_id, t.sequence, t.kind, t.debit_account, t.credit_account, t.amount_minor, t.currency,
           t.business_date, t.booking_time
      FROM ledger.relation r JOIN ledger.transfer t ON t.sequence = r.sequence
     WHERE (r.relation = 3 AND t.kind IN (5, 6) AND t.outcome = 1)
        OR (r.relation = 1 AND t.kind = 1 AND t.outcome <> 2)
), life AS MATERIALIZED (
    SELECT step.*,
           first_value(account_number) OVER lived AS holder,
           first_value(currency) OVER lived AS hold_currency,
           first_value(credit_account) OVER lived AS hold_payee,
           count(*) FILTER (WHERE kind = 4) OVER lived > 0 AS placed,
           count(*) FILTER (WHERE kind IN (1, 6, 7)) OVER lived - (kind IN (1, 6, 7))::integer AS ends_before,
           sum(amount_minor) FILTER (WHERE kind IN (4, 5)) OVER lived AS whole_minor
      FROM step
    WINDOW lived AS (PARTITION BY hold_id ORDER BY sequence)
), judged AS (
    SELECT life.*, ends_before > 0 AS resolved_before,
           placed AND (account_number <> holder OR currency <> hold_currency
                       OR kind = 7 AND amount_minor <> whole_minor
                       OR kind = 1 AND hold_payee NOT IN (0, credit_account)) AS differs,
           kind = 1 AND amount_minor > whole_minor AS exceeds
      FROM life
), suspect AS MATERIALIZED (
    SELECT * FROM judged WHERE NOT placed OR resolved_before OR differs OR exceeds
), told AS (
    SELECT hold_id, bool_and(placed) AS placed, min(sequence) AS sequence,
           min(holder) AS account_number, min(hold_currency) AS currency, min(hold_payee) AS payee_account,
           min(business_date) AS place_date,
           sum(amount_minor) FILTER (WHERE kind IN (4, 5)) AS amount_minor,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 1), 0) AS captured_minor,
           coalesce(min(CASE kind WHEN 1 THEN 2 WHEN 6 THEN 3 WHEN 7 THEN 4 END), 1) AS state,
           min(booking_time) FILTER (WHERE kind IN (1, 6)) AS end_time,
           min(booking_time) FILTER (WHERE kind = 7) AS expiry_time
      FROM life GROUP BY hold_id
), promised AS MATERIALIZED (
    -- What promises set aside (9) and free again when they end (10, 11), leg by leg. Where legs pay with what
    -- legs before them bring (flag 16), each sets aside what makes the account's need, so far, larger.
    SELECT sequence, account_number, CASE kind WHEN 9 THEN aside_minor ELSE -aside_minor END AS change_minor
      FROM (SELECT sequence, kind, account_number, pays,
                   CASE WHEN NOT passes_on THEN change_minor
                        ELSE greatest(need_minor, 0) - greatest(lag(need_minor, 1, 0::numeric) OVER steps, 0) END AS aside_minor
              FROM (SELECT side.*, max(sum_minor) OVER steps AS need_minor
                      FROM (SELECT w.step, w.sequence, w.kind, s.account_number, s.pays, s.change_minor,
                                   w.flags & 16 <> 0 AS passes_on, sum(s.change_minor) OVER steps AS sum_minor
                              FROM (SELECT sequence AS step, sequence, kind, flags, debit_account, credit_account, amount_minor
                                      FROM ledger.transfer WHERE kind BETWEEN 9 AND 11
                                     UNION ALL
                                    SELECT t.sequence, f.sequence, t.kind, t.flags, f.debit_account, f.credit_account,
                                           f.amount_minor
                                      FROM ledger.transfer t JOIN ledger.further_leg f ON f.transfer_sequence = t.sequence
                                     WHERE t.kind BETWEEN 9 AND 11) w
                              LEFT JOIN ledger.leg_route r USING (sequence)
                             CROSS JOIN LATERAL (VALUES (w.debit_account, w.amount_minor, true, coalesce(r.debit_peer, 0)),
                                                        (w.credit_account, -w.amount_minor, false, coalesce(r.credit_peer, 0))
                                   ) AS s (account_number, change_minor, pays, peer_id)
                             WHERE s.peer_id = 0 AND (s.pays OR w.flags & 16 <> 0)
                            WINDOW steps AS (PARTITION BY w.step, s.account_number ORDER BY w.sequence)) side
                    WINDOW steps AS (PARTITION BY step, account_number ORDER BY sequence)) needed
            WINDOW steps AS (PARTITION BY step, account_number ORDER BY sequence)) part
     WHERE pays
), held AS (
    SELECT e.account_number, e.version, e.sequence, coalesce(e.held_after_minor, 0) AS held_after_minor,
           coalesce(sum(CASE WHEN l.kind IN (4, 5) THEN l.amount_minor
                             WHEN l.kind IS NOT NULL THEN -l.whole_minor
                             ELSE p.change_minor END)
                    OVER (PARTITION BY e.account_number ORDER BY e.sequence), 0) AS open_holds_minor
      FROM ledger.entry e
      JOIN (SELECT debit_account AS account_number FROM ledger.transfer WHERE kind BETWEEN 4 AND 7 AND outcome = 1
             UNION SELECT account_number FROM promised) holder USING (account_number)
      LEFT JOIN life l ON l.sequence = e.sequence AND l.account_number = e.account_number
      LEFT JOIN promised p ON p.sequence = e.sequence AND p.account_number = e.account_number
), complaint AS (
    SELECT 'held_broken' AS check_name, sequence,
           format('account %s version %s (sequence %s): held %s, open holds and promises %s',
                  lpad(account_number::text, 16, '0'), version, sequence, held_after_minor, open_holds_minor) AS evidence
      FROM held WHERE held_after_minor <> open_holds_minor
     UNION ALL
    SELECT check_name, sequence, format('sequence %s (hold %s): %s', sequence, hold_id, complaint)
      FROM suspect
     CROSS JOIN LATERAL (VALUES
           ('hold_unplaced', NOT placed, format('kind %s, but it was not placed before', kind)),
           ('hold_resolved_twice', resolved_before, format('kind %s, but it was resolved before', kind)),
           ('hold_step_differs', differs,
            format('kind %s of %s %s on account %s for %s; %s %s are held on account %s for %s', kind,
                   amount_minor, currency, lpad(account_number::text, 16, '0'), lpad(credit_account::text, 16, '0'),
                   whole_minor, hold_currency, lpad(holder::text, 16, '0'), lpad(hold_payee::text, 16, '0'))),
           ('capture_exceeds_hold', exceeds,
            format('captures %s of %s', amount_minor, whole_minor))
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
     UNION ALL
    SELECT 'hold_differs', coalesce(t.sequence, 0),
           format('hold %s: account %s, %s of %s captured, payee %s, day %s, state %s; its steps say account %s, %s of %s '
                  'captured, payee %s, day %s, state %s', coalesce(h.hold_id, t.hold_id),
                  lpad(h.account_number::text, 16, '0'), h.captured_minor, h.amount_minor, h.payee_account, h.place_date,
                  h.state, lpad(t.account_number::text, 16, '0'), t.captured_minor, t.amount_minor, t.payee_account,
                  t.place_date, t.state)
      FROM (SELECT * FROM told WHERE placed) t
      FULL JOIN ledger.hold h USING (hold_id)
     WHERE (h.account_number, h.currency, h.amount_minor, h.captured_minor, h.payee_account, h.place_date, h.state)
           IS DISTINCT FROM
           (t.account_number, t.currency, t.amount_minor, t.captured_minor, t.payee_account, t.place_date, t.state)
     UNION ALL
    SELECT 'hold_untimely', t.sequence,
           format('hold %s: its time was up at %s, it was %s at %s', hold_id, h.expire_time,
                  CASE WHEN t.expiry_time IS NULL THEN 'captured or released' ELSE 'expired' END,
                  coalesce(t.expiry_time, t.end_time))
      FROM told t JOIN ledger.hold h USING (hold_id)
     WHERE t.expiry_time < h.expire_time OR t.end_time >= h.expire_time
     UNION ALL
    SELECT 'hold_misshapen', t.sequence,
           format('sequence %s (transfer %s): kind %s with outcome %s, %s legs and %s relations',
                  t.sequence, t.transfer_id, t.kind, t.outcome, t.leg_count, r.relations)
      FROM ledger.transfer t
     CROSS JOIN LATERAL (SELECT count(*) AS relations FROM ledger.relation r WHERE r.sequence = t.sequence) r
     WHERE t.kind BETWEEN 4 AND 7
       AND (t.leg_count <> 1 OR t.kind = 7 AND t.outcome <> 1 OR r.relations <> (t.kind IN (5, 6))::integer)
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- check_relations --
-- What refers to something is of a kind that may, and says its own amount, fees left out. A reversal mirrors
-- a transfer that was posted here before, leg by leg but for its fees and the last one first (by earlier releases the first one
-- first), and those that stand give back no more than it moved; one whose crossing came back does not stand.
WITH link AS MATERIALIZED (
    SELECT r.target_id, r.relation, r.amount_minor, r.sequence, t.transfer_id, t.kind, t.outcome, t.leg_count,
           t.debit_account, t.credit_account, t.currency, t.amount_minor AS first_minor,
           count(*) OVER (PARTITION BY r.sequence) AS uses,
           ARRAY[ARRAY[t.debit_account, t.credit_account, t.amount_minor, t.currency]] || own.legs AS legs,
           own.sum_minor AS further_minor
      FROM ledger.relation r
      LEFT JOIN ledger.transfer t ON t.sequence = r.sequence
      LEFT JOIN LATERAL (SELECT sum(f.amount_minor) AS sum_minor,
                                array_agg(ARRAY[f.debit_account, f.credit_account, f.amount_minor, f.currency]
                                          ORDER BY f.sequence) AS legs
                           FROM ledger.further_leg f
                          WHERE t.leg_count > 1 AND f.sequence > t.sequence AND f.sequence < t.sequence + t.leg_count
                            AND NOT f.is_fee
           ) own ON true
), reversal AS MATERIALIZED (
    SELECT l.*, o.sequence AS original_sequence, o.outcome AS original_outcome,
           o.outcome = 1
           OR o.outcome = 3 AND o.leg_count > 1
              AND EXISTS (SELECT FROM ledger.crossing_out c JOIN ledger.peer p ON p.peer_id = c.peer_id
                           WHERE c.sequence = o.sequence AND c.number <= p.acknowledged_through
                             AND NOT EXISTS (SELECT FROM ledger.crossing_returned back
                                              WHERE back.peer_id = c.peer_id AND back.number = c.number)) AS original_posted,
           1 + coalesce(array_length(mirrored.legs, 1), 0) AS original_leg_count,
           o.debit_account AS original_debit, o.credit_account AS original_credit, o.currency AS original_currency,
           o.amount_minor AS original_minor, o.amount_minor + coalesce(mirrored.sum_minor, 0) AS whole_minor,
           mirrored.legs || ARRAY[ARRAY[o.credit_account, o.debit_account, o.amount_minor, o.currency]] AS mirrored_legs,
           ARRAY[ARRAY[o.credit_account, o.debit_account, o.amount_minor, o.currency]] || mirrored.forward AS forward_legs,
           l.outcome = 1 OR NOT EXISTS (SELECT FROM ledger.crossing_out c JOIN ledger.crossing_returned back
                                                      ON back.peer_id = c.peer_id AND back.number = c.number
                                         WHERE c.sequence = l.sequence) AS stands
      FROM link l
      LEFT JOIN ledger.transfer o ON o.transfer_id = l.target_id AND o.kind IN (1, 2)
      LEFT JOIN LATERAL (SELECT sum(f.amount_minor) AS sum_minor,
                                array_agg(ARRAY[f.credit_account, f.debit_account, f.amount_minor, f.currency]
                                          ORDER BY f.sequence DESC) AS legs,
                                array_agg(ARRAY[f.credit_account, f.debit_account, f.amount_minor, f.currency]
                                          ORDER BY f.sequence) AS forward
                           FROM ledger.further_leg f
                          WHERE o.leg_count > 1 AND f.sequence > o.sequence AND f.sequence < o.sequence + o.leg_count
                            AND NOT f.is_fee
           ) mirrored ON true
     WHERE l.relation = 2 AND l.kind = 1 AND l.outcome <> 2
), judged AS (
    SELECT reversal.*,
           original_sequence IS NULL OR NOT original_posted OR original_sequence > sequence AS of_nothing,
           leg_count <> original_leg_count
           OR CASE leg_count WHEN 1 THEN (debit_account, credit_account, currency)
                                         <> (original_credit, original_debit, original_currency)
                             ELSE legs NOT IN (mirrored_legs, forward_legs) END AS differs
      FROM reversal
), suspect AS MATERIALIZED (
    SELECT * FROM judged WHERE of_nothing OR differs
), complaint AS (
    SELECT 'relation_misplaced' AS check_name, sequence,
           format('sequence %s (transfer %s): relation %s (one of %s) of amount %s to %s, kind %s with outcome %s and amount %s',
                  sequence, coalesce(transfer_id::text, 'none'), relation, uses, amount_minor, target_id, kind, outcome,
                  first_minor + coalesce(further_minor, 0)) AS evidence
      FROM link
     WHERE uses > 1
        OR amount_minor IS DISTINCT FROM first_minor + coalesce(further_minor, 0)
        OR NOT CASE relation WHEN 3 THEN kind IN (5, 6) ELSE kind = 1 AND outcome <> 2 END
     UNION ALL
    SELECT check_name, sequence,
           format('sequence %s (transfer %s) reverses %s: %s', sequence, transfer_id, target_id, complaint)
      FROM suspect
     CROSS JOIN LATERAL (VALUES
           ('reversal_of_nothing', of_nothing,
            format('sequence %s, outcome %s', coalesce(original_sequence::text, 'none'), original_outcome)),
           ('reversal_differs', differs,
            format('%s legs, %s; of %s legs, mirrored %s', leg_count, legs, original_leg_count, mirrored_legs))
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
     UNION ALL
    SELECT 'reversal_exceeds', min(sequence),
           format('transfer %s of %s: %s reversals that stand give back %s', target_id, min(whole_minor), count(*),
                  sum(amount_minor))
      FROM reversal
     WHERE stands
     GROUP BY target_id HAVING sum(amount_minor) > min(whole_minor)
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;
