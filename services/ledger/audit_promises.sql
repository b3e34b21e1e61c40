-- What the audit asks about transfers over several shards; the form is that of audit.sql.

-- check_promises --
-- Every promise was made once (kind 9) and ended at most once, kept (10) or dropped (11), as its home's
-- decision said when it landed. What is kept is what was promised, leg by leg. A decision on something that
-- was not promised refused it, and left the id refused (8) or already meaning something.
WITH step AS MATERIALIZED (
    SELECT t.sequence, t.transfer_id, t.kind, t.leg_count, t.fingerprint, t.flags, t.reference, legs.digest
      FROM ledger.transfer t
      LEFT JOIN LATERAL (
           SELECT string_agg(format('%s>%s:%s %s/%s,%s', leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency,
                                    coalesce(r.debit_peer, 0), coalesce(r.credit_peer, 0)), ' ' ORDER BY leg.sequence) AS digest
             FROM (SELECT t.sequence, t.debit_account, t.credit_account, t.amount_minor, t.currency
                    UNION ALL
                   SELECT sequence, debit_account, credit_account, amount_minor, currency FROM ledger.further_leg
                    WHERE sequence > t.sequence AND sequence < t.sequence + t.leg_count) leg
             LEFT JOIN ledger.leg_route r USING (sequence)) legs ON t.kind IN (9, 10)
     WHERE t.kind BETWEEN 9 AND 11
), told AS (
    SELECT p.*, made.sequence AS made, made.digest AS made_digest, ended.kind AS ended_kind, ended.digest AS ended_digest,
           (made.fingerprint, made.flags, made.reference) IS DISTINCT FROM (ended.fingerprint, ended.flags, ended.reference)
               AS ended_otherwise,
           d.outcome AS decided, d.refusal AS decided_refusal
      FROM ledger.promise p
      LEFT JOIN step made ON made.sequence = p.sequence AND made.kind = 9 AND made.transfer_id = p.transfer_id
      LEFT JOIN step ended ON ended.sequence = p.resolve_sequence AND ended.transfer_id = p.transfer_id
      LEFT JOIN ledger.decision_landed d ON d.transfer_id = p.transfer_id AND d.peer_id = p.home_id
), complaint AS (
    SELECT check_name, told.sequence,
           format('promise of transfer %s (sequence %s, home %s): %s', transfer_id, told.sequence, home_id, complaint)
               AS evidence
      FROM told
     CROSS JOIN LATERAL (VALUES
           ('promise_unmade', made IS NULL, 'it is not in the journal'),
           ('promise_end_differs',
            state <> 1 AND ended_kind IS DISTINCT FROM CASE state WHEN 2 THEN 10 ELSE 11 END,
            format('state %s, at sequence %s the journal has kind %s', state, resolve_sequence, ended_kind)),
           ('promise_kept_otherwise',
            state = 2 AND ended_kind = 10 AND (made_digest IS DISTINCT FROM ended_digest OR ended_otherwise),
            format('promised (%s), kept (%s)', made_digest, ended_digest)),
           ('promise_decided_otherwise',
            CASE state WHEN 1 THEN decided IS NOT NULL
                       WHEN 2 THEN decided IS DISTINCT FROM 1
                       ELSE decided IS DISTINCT FROM 2 OR decided_refusal <> refusal END,
            format('state %s for %s, the decision that landed is %s for %s', state, refusal, coalesce(decided::text, 'none'),
                   coalesce(decided_refusal::text, 'nothing')))
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
     UNION ALL
    SELECT 'promise_unrecorded', s.sequence,
           format('sequence %s (transfer %s): kind %s of no promise', s.sequence, s.transfer_id, s.kind)
      FROM step s
      LEFT JOIN ledger.promise p
          ON p.transfer_id = s.transfer_id AND s.sequence = CASE s.kind WHEN 9 THEN p.sequence ELSE p.resolve_sequence END
     WHERE p.transfer_id IS NULL
     UNION ALL
    SELECT 'decision_misapplied', d.sequence,
           format('decision %s from shard %s (transfer %s) with outcome %s wrote sequence %s, which is of kind %s', d.number,
                  d.peer_id, d.transfer_id, d.outcome, d.sequence, coalesce(t.kind::text, 'none'))
      FROM ledger.decision_landed d
      LEFT JOIN ledger.transfer t ON t.sequence = d.sequence AND t.transfer_id = d.transfer_id
     WHERE CASE WHEN d.outcome = 1 THEN t.kind IS DISTINCT FROM 10
                WHEN d.sequence <> 0 THEN t.kind IS NULL OR t.kind NOT IN (8, 11)
                ELSE NOT EXISTS (SELECT FROM ledger.transfer other
                                  WHERE other.transfer_id = d.transfer_id AND other.kind NOT IN (3, 7, 10, 11)) END
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- check_decisions --
-- A transfer over several shards that was posted here was told to each shard that takes part, and to no
-- other; nobody was told that something was posted which was not.
WITH party AS (
    SELECT DISTINCT t.transfer_id, t.sequence, peer.peer_id
      FROM ledger.leg_route r
      LEFT JOIN ledger.further_leg f USING (sequence)
      JOIN ledger.transfer t ON t.sequence = coalesce(f.transfer_sequence, r.sequence) AND t.kind = 1 AND t.outcome = 1
     CROSS JOIN LATERAL (VALUES (r.debit_peer), (r.credit_peer)) AS peer (peer_id)
     WHERE peer.peer_id <> 0
), complaint AS (
    SELECT 'decision_missing' AS check_name, party.sequence,
           format('sequence %s (transfer %s) was posted, shard %s was told %s', party.sequence, party.transfer_id,
                  party.peer_id, CASE WHEN d.number IS NULL THEN 'nothing' ELSE format('outcome %s', d.outcome) END)
               AS evidence
      FROM party
      LEFT JOIN ledger.decision_out d ON d.peer_id = party.peer_id AND d.transfer_id = party.transfer_id
     WHERE d.outcome IS DISTINCT FROM 1
     UNION ALL
    SELECT 'decision_unfounded', d.sequence,
           format('decision %s to shard %s says that transfer %s is posted (sequence %s); it does not take part', d.number,
                  d.peer_id, d.transfer_id, d.sequence)
      FROM ledger.decision_out d
     WHERE d.outcome = 1
       AND NOT EXISTS (SELECT FROM party WHERE party.transfer_id = d.transfer_id AND party.peer_id = d.peer_id
                                           AND party.sequence = d.sequence)
     UNION ALL
    SELECT 'decision_unfounded', d.sequence,
           format('decision %s to shard %s says that transfer %s is refused; no such id was refused or taken here', d.number,
                  d.peer_id, d.transfer_id)
      FROM ledger.decision_out d
     WHERE d.outcome = 2
       AND NOT EXISTS (SELECT FROM ledger.transfer t
                        WHERE t.transfer_id = d.transfer_id AND t.kind NOT IN (3, 7, 10, 11))
     UNION ALL
    SELECT 'route_misplaced', r.sequence, format('sequence %s is routed, but no leg of several shards', r.sequence)
      FROM ledger.leg_route r
     WHERE NOT EXISTS (SELECT FROM ledger.transfer t WHERE t.sequence = r.sequence AND t.kind IN (1, 9, 10, 11))
       AND NOT EXISTS (SELECT FROM ledger.further_leg f JOIN ledger.transfer t ON t.sequence = f.transfer_sequence
                        WHERE f.sequence = r.sequence AND t.kind IN (1, 9, 10, 11))
     UNION ALL
    SELECT 'refused_leg_wrong', b.sequence, format('sequence %s: leg %s is to blame for nothing', b.sequence, b.leg)
      FROM ledger.refused_leg b
     WHERE NOT EXISTS (SELECT FROM ledger.transfer t WHERE t.sequence = b.sequence AND t.outcome = 2 AND b.leg < t.leg_count)
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- told_digests --
-- What was decided for each peer ($1), up to the number that both snapshots have ($2), in blocks of $3 numbers;
-- of what is posted, with the legs that the peer has a side of.
SELECT peer_id::integer, (number - 1) / $3 AS block, count(*) AS row_count,
       bit_xor(hash_record_extended(ROW (number, content), 0)) AS digest
  FROM (
SELECT d.peer_id, d.number,
       format('%s %s for %s%s', d.transfer_id, d.outcome, d.refusal,
              (SELECT string_agg(format(' %s>%s:%s %s', leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency),
                                 '' ORDER BY leg.sequence)
                 FROM ledger.leg_route r
                 JOIN (SELECT t.sequence, t.debit_account, t.credit_account, t.amount_minor, t.currency
                        UNION ALL
                       SELECT f.sequence, f.debit_account, f.credit_account, f.amount_minor, f.currency
                         FROM ledger.further_leg f
                        WHERE f.sequence > t.sequence AND f.sequence < t.sequence + t.leg_count) leg USING (sequence)
                WHERE d.outcome = 1 AND d.peer_id IN (r.debit_peer, r.credit_peer))) AS content
  FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
  JOIN ledger.decision_out d ON d.peer_id = stream.peer_id AND d.number <= stream.through
  LEFT JOIN ledger.transfer t ON t.sequence = d.sequence) told
 GROUP BY 1, 2;

-- heard_digests --
-- The same of the decisions that landed from each peer, with the legs that were kept.
SELECT peer_id::integer, (number - 1) / $3 AS block, count(*) AS row_count,
       bit_xor(hash_record_extended(ROW (number, content), 0)) AS digest
  FROM (
SELECT d.peer_id, d.number,
       format('%s %s for %s%s', d.transfer_id, d.outcome, d.refusal,
              (SELECT string_agg(format(' %s>%s:%s %s', leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency),
                                 '' ORDER BY leg.sequence)
                 FROM (SELECT t.sequence, t.debit_account, t.credit_account, t.amount_minor, t.currency
                        WHERE t.sequence IS NOT NULL
                        UNION ALL
                       SELECT f.sequence, f.debit_account, f.credit_account, f.amount_minor, f.currency
                         FROM ledger.further_leg f
                        WHERE f.sequence > t.sequence AND f.sequence < t.sequence + t.leg_count) leg
                WHERE d.outcome = 1)) AS content
  FROM unnest($1::smallint[], $2::bigint[]) AS stream (peer_id, through)
  JOIN ledger.decision_landed d ON d.peer_id = stream.peer_id AND d.number <= stream.through
  LEFT JOIN ledger.transfer t ON t.sequence = d.sequence AND t.kind = 10) heard
 GROUP BY 1, 2;

-- told_rows --
-- Decisions for a peer ($1) by number, from $2 to $3.
SELECT d.number,
       format('%s %s for %s%s', d.transfer_id, d.outcome, d.refusal,
              (SELECT string_agg(format(' %s>%s:%s %s', leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency),
                                 '' ORDER BY leg.sequence)
                 FROM ledger.leg_route r
                 JOIN (SELECT t.sequence, t.debit_account, t.credit_account, t.amount_minor, t.currency
                        UNION ALL
                       SELECT f.sequence, f.debit_account, f.credit_account, f.amount_minor, f.currency
                         FROM ledger.further_leg f
                        WHERE f.sequence > t.sequence AND f.sequence < t.sequence + t.leg_count) leg USING (sequence)
                WHERE d.outcome = 1 AND d.peer_id IN (r.debit_peer, r.credit_peer))) AS content
  FROM ledger.decision_out d
  LEFT JOIN ledger.transfer t ON t.sequence = d.sequence
 WHERE d.peer_id = $1 AND d.number BETWEEN $2 AND $3;

-- heard_rows --
-- Decisions of a peer ($1) that landed, by number, from $2 to $3.
SELECT d.number,
       format('%s %s for %s%s', d.transfer_id, d.outcome, d.refusal,
              (SELECT string_agg(format(' %s>%s:%s %s', leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency),
                                 '' ORDER BY leg.sequence)
                 FROM (SELECT t.sequence, t.debit_account, t.credit_account, t.amount_minor, t.currency
                        WHERE t.sequence IS NOT NULL
                        UNION ALL
                       SELECT f.sequence, f.debit_account, f.credit_account, f.amount_minor, f.currency
                         FROM ledger.further_leg f
                        WHERE f.sequence > t.sequence AND f.sequence < t.sequence + t.leg_count) leg
                WHERE d.outcome = 1)) AS content
  FROM ledger.decision_landed d
  LEFT JOIN ledger.transfer t ON t.sequence = d.sequence AND t.kind = 10
 WHERE d.peer_id = $1 AND d.number BETWEEN $2 AND $3;

-- promises_open --
-- How many promises wait for each home, and how long the oldest has.
SELECT p.home_id::integer, count(*) AS promise_count,
       extract(epoch FROM clock_timestamp() - min(t.booking_time))::double precision AS age_seconds
  FROM ledger.promise p JOIN ledger.transfer t USING (sequence)
 WHERE p.state = 1
 GROUP BY 1;
