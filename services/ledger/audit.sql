-- What the audit asks of a shard, always inside one REPEATABLE READ READ ONLY snapshot of it: here what there is, and
-- what others say of it. Each idea of the books that is checked has a file of its own beside this one.
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
