-- What the audit asks about crossings, on either side and between; the form is that of audit.sql.

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
