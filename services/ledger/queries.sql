-- load_accounts --
-- Accounts as their last entries left them; those not in the books are absent from the answer. What few have comes in
-- columns that are NULL for the others: an answer of many accounts costs by the column.
SELECT a.account_number, a.currency, a.floor_minor, a.restrictions,
       coalesce(e.version, 0) AS version,
       coalesce(e.balance_after_minor, 0) AS balance_minor,
       coalesce(e.held_after_minor, 0) AS held_minor,
       a.customer_number,
       CASE WHEN coalesce(a.balance_minor_max, a.transfer_minor_max, a.day_minor_max, a.day_count_max) IS NOT NULL
            THEN ARRAY[a.balance_minor_max, a.transfer_minor_max, a.day_minor_max, a.day_count_max] END AS allowance,
       CASE WHEN coalesce(a.day_minor_max, a.day_count_max) IS NOT NULL
            THEN (SELECT ARRAY[business_date - date '1970-01-01', minor, count]
                    FROM ledger.spending
                   WHERE spending.account_number = a.account_number
                   ORDER BY sequence DESC LIMIT 1) END AS spent,
       EXISTS (SELECT FROM ledger.customer_cap c
                WHERE c.customer_number = a.customer_number AND c.currency = a.currency) AS is_capped
  FROM ledger.account a
  LEFT JOIN LATERAL (SELECT version, balance_after_minor, held_after_minor
                       FROM ledger.entry
                      WHERE entry.account_number = a.account_number
                      ORDER BY sequence DESC LIMIT 1) e ON true
 WHERE a.account_number = ANY ($1::bigint[]);

-- see_head --
SELECT last_sequence, writer_epoch FROM ledger.journal_head;

-- load_holds --
SELECT hold_id, account_number, currency, amount_minor, expire_time, payee_account, place_date, state, captured_minor
  FROM ledger.hold WHERE hold_id = ANY ($1::uuid[]);

-- load_open_holds --
SELECT hold_id, account_number, currency, amount_minor, expire_time, payee_account, place_date, state, captured_minor
  FROM ledger.hold WHERE account_number = ANY ($1::bigint[]) AND state = 1;

-- load_caps --
SELECT c.customer_number, c.currency, c.day_minor_max, s.business_date, s.minor, s.count
  FROM unnest($1::bigint[], $2::smallint[]) AS wanted (customer_number, currency)
  JOIN ledger.customer_cap c USING (customer_number, currency)
  LEFT JOIN LATERAL (SELECT business_date, minor, count
                       FROM ledger.customer_spending spent
                      WHERE spent.customer_number = wanted.customer_number AND spent.currency = wanted.currency
                      ORDER BY sequence DESC LIMIT 1) s ON true;

-- load_originals --
-- Transfers to be reversed, leg by leg in order, fees left out, with what reversals that stand have given back.
SELECT t.transfer_id,
       CASE WHEN r.number IS NOT NULL THEN 4
            WHEN c.number <= p.acknowledged_through THEN 1
            ELSE t.outcome END AS outcome,
       leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency,
       coalesce((SELECT sum(given.amount_minor)
                   FROM ledger.relation given
                   LEFT JOIN ledger.crossing_out gone ON gone.sequence = given.sequence
                   LEFT JOIN ledger.crossing_returned back ON back.peer_id = gone.peer_id AND back.number = gone.number
                  WHERE given.target_id = t.transfer_id AND given.relation = 2 AND back.number IS NULL), 0)::bigint
           AS reversed_minor
  FROM ledger.transfer t
  LEFT JOIN ledger.crossing_out c ON t.outcome = 3 AND c.sequence = t.sequence
  LEFT JOIN ledger.peer p ON p.peer_id = c.peer_id
  LEFT JOIN ledger.crossing_returned r ON r.peer_id = c.peer_id AND r.number = c.number
 CROSS JOIN LATERAL (SELECT t.sequence, t.debit_account, t.credit_account, t.amount_minor, t.currency
                      UNION ALL
                     SELECT sequence, debit_account, credit_account, amount_minor, currency
                       FROM ledger.further_leg
                      WHERE t.leg_count > 1 AND sequence > t.sequence AND sequence < t.sequence + t.leg_count
                        AND NOT is_fee) AS leg
 WHERE t.transfer_id = ANY ($1::uuid[]) AND t.kind IN (1, 2)
 ORDER BY t.transfer_id, leg.sequence;

-- load_changes --
SELECT change_id, fingerprint, refusal FROM ledger.account_change WHERE change_id = ANY ($1::uuid[]);

-- load_siblings --
SELECT a.account_number, b.account_number AS sibling
  FROM ledger.account a
  JOIN ledger.account b ON b.customer_number = a.customer_number AND b.currency = a.currency AND b.customer_number <> 0
 WHERE a.account_number = ANY ($1::bigint[]);

-- put_actors --
INSERT INTO ledger.actor (channel, subject) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING;

-- find_actors --
SELECT a.channel, a.subject, a.actor_id
  FROM unnest($1::text[], $2::text[]) AS wanted (channel, subject) JOIN ledger.actor a USING (channel, subject);

-- begin_day --
INSERT INTO ledger.day (business_date, first_sequence) VALUES ($1, $2);

-- write_holds --
INSERT INTO ledger.hold AS h (hold_id, account_number, currency, amount_minor, expire_time, payee_account, place_date,
                              state, captured_minor)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::date[],
                     $8::smallint[], $9::bigint[])
ON CONFLICT (hold_id) DO UPDATE
   SET amount_minor = excluded.amount_minor, expire_time = excluded.expire_time,
       state = excluded.state, captured_minor = excluded.captured_minor;

-- write_account_facts --
UPDATE ledger.account a
   SET restrictions = f.restrictions, floor_minor = f.floor_minor, balance_minor_max = f.balance_minor_max,
       transfer_minor_max = f.transfer_minor_max, day_minor_max = f.day_minor_max, day_count_max = f.day_count_max
  FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
       AS f (account_number, restrictions, floor_minor, balance_minor_max, transfer_minor_max, day_minor_max, day_count_max)
 WHERE a.account_number = f.account_number;

-- write_caps --
INSERT INTO ledger.customer_cap (customer_number, currency, day_minor_max)
SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[])
ON CONFLICT (customer_number, currency) DO UPDATE SET day_minor_max = excluded.day_minor_max;

-- lift_caps --
DELETE FROM ledger.customer_cap
 WHERE (customer_number, currency) IN (SELECT * FROM unnest($1::bigint[], $2::smallint[]));

-- write_change --
INSERT INTO ledger.account_change
    (sequence, change_id, account_number, change_time, fingerprint, restrictions_before, restrictions, floor_before_minor,
     floor_minor, sets_allowance, balance_minor_max, transfer_minor_max, day_minor_max, day_count_max,
     customer_day_minor_max, actor_id, refusal, reason, balance_before_minor_max, transfer_before_minor_max,
     day_before_minor_max, day_before_count_max)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22);

-- raise_own_epoch --
-- Waits until no transaction is about to change the head, and shuts out what this writer sent before and
-- may still be on its way: what it then says is final. No row comes back when another writer has the books.
UPDATE ledger.journal_head SET writer_epoch = writer_epoch + 1 WHERE writer_epoch = $1
RETURNING last_sequence, writer_epoch, booking_time;

-- take_lease --
-- Becomes the writer if nobody else is: the lease is this instance's own, or given back, or its session is gone, or it
-- is still the one ($3) that a standby has seen for as long as it is worth. No clock of the database's says that it is over.
UPDATE ledger.writer_lease
   SET instance = $1, expire_time = clock_timestamp() + make_interval(secs => $2::double precision), seconds = $2,
       session_pid = own.pid, session_start = own.backend_start
  FROM pg_stat_get_activity(pg_backend_pid()) own
 WHERE instance = $1 OR expire_time = 'epoch' OR expire_time = $3
    OR NOT EXISTS (SELECT FROM pg_stat_get_activity(session_pid) held
                    WHERE coalesce(held.backend_start, session_start) = session_start)
RETURNING true;

-- see_lease --
SELECT expire_time, seconds FROM ledger.writer_lease;

-- renew_lease --
UPDATE ledger.writer_lease
   SET expire_time = clock_timestamp() + make_interval(secs => $2::double precision), seconds = $2,
       session_pid = own.pid, session_start = own.backend_start
  FROM pg_stat_get_activity(pg_backend_pid()) own
 WHERE instance = $1
RETURNING true;

-- release_lease --
UPDATE ledger.writer_lease SET expire_time = 'epoch' WHERE instance = $1;

-- end_earlier_writers --
-- Whoever still changes the head has lost the lease. One that fell silent in the middle of a transaction
-- would hold the head for as long as its connection lives; ended, it takes back what it had not committed.
SELECT pg_terminate_backend(pid)
  FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE usename = current_user AND locktype = 'relation' AND relation = 'ledger.journal_head'::regclass
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid();

-- next_epoch --
-- From here on no earlier writer can commit.
UPDATE ledger.journal_head SET writer_epoch = writer_epoch + 1
RETURNING last_sequence, writer_epoch, booking_time;

-- advance_head --
-- The fence: no row comes back when another writer has taken the books.
UPDATE ledger.journal_head SET last_sequence = $3, booking_time = $4
 WHERE last_sequence = $1 AND writer_epoch = $2
RETURNING true;

-- write_small_batch --
-- A whole batch in one round trip: the head is advanced as above, and rows are appended only if it was.
-- $1 to $4 as in advance_head, $5 the business date; then the columns of transfer, entry, crossing_out,
-- crossing_landed and peer.
WITH head AS (
    UPDATE ledger.journal_head SET last_sequence = $3, booking_time = $4
     WHERE last_sequence = $1 AND writer_epoch = $2
    RETURNING true
), transfers AS (
    INSERT INTO ledger.transfer (sequence, transfer_id, debit_account, credit_account, amount_minor, fingerprint,
                                 booking_time, business_date, value_date, actor_id, currency, kind, outcome, refusal,
                                 leg_count, flags, reference)
    SELECT t.sequence, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.fingerprint,
           $4, $5, t.value_date, t.actor_id, t.currency, t.kind, t.outcome, t.refusal, t.leg_count, t.flags, t.reference
      FROM head, unnest($6::bigint[], $7::uuid[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                        $12::date[], $13::smallint[], $14::smallint[], $15::smallint[], $16::smallint[],
                        $17::smallint[], $18::text[], $19::integer[], $20::smallint[])
             AS t (sequence, transfer_id, debit_account, credit_account, amount_minor, fingerprint, value_date, currency,
                   kind, outcome, refusal, leg_count, reference, actor_id, flags)
), entries AS (
    INSERT INTO ledger.entry (account_number, version, sequence, amount_minor, balance_after_minor, held_after_minor)
    SELECT e.* FROM head, unnest($21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[]) AS e
), crossings_out AS (
    INSERT INTO ledger.crossing_out (number, sequence, peer_id)
    SELECT c.* FROM head, unnest($27::bigint[], $28::bigint[], $29::smallint[]) AS c
), crossings_landed AS (
    INSERT INTO ledger.crossing_landed (first_number, last_number, first_sequence, peer_id)
    SELECT c.* FROM head, unnest($30::bigint[], $31::bigint[], $32::bigint[], $33::smallint[]) AS c
), peers AS (
    INSERT INTO ledger.peer (peer_id, sent_through, acknowledged_through, landed_through)
    SELECT p.* FROM head, unnest($34::smallint[], $35::bigint[], $36::bigint[], $37::bigint[]) AS p
    ON CONFLICT (peer_id) DO UPDATE
       SET sent_through = excluded.sent_through,
           acknowledged_through = excluded.acknowledged_through,
           landed_through = excluded.landed_through
)
SELECT true FROM head;

-- write_one_transfer --
-- A batch of one transfer between two accounts and nothing else, the commonest when callers are few: plain values, which
-- cost both sides a third less than arrays of one. $1 to $5 as above; then one row of transfer and two of entry.
WITH head AS (
    UPDATE ledger.journal_head SET last_sequence = $3, booking_time = $4
     WHERE last_sequence = $1 AND writer_epoch = $2
    RETURNING true
), transfers AS (
    INSERT INTO ledger.transfer (sequence, transfer_id, debit_account, credit_account, amount_minor, fingerprint,
                                 booking_time, business_date, value_date, actor_id, currency, kind, outcome, refusal,
                                 leg_count, flags, reference)
    SELECT $6, $7, $8, $9, $10, $11, $4, $5, $12, $19, $13, $14, $15, $16, $17, $20, $18 FROM head
), entries AS (
    INSERT INTO ledger.entry (account_number, version, sequence, amount_minor, balance_after_minor, held_after_minor)
    SELECT e.* FROM head, (VALUES ($21::bigint, $22::bigint, $23::bigint, $24::bigint, $25::bigint, $26::bigint),
                                  ($27, $28, $29, $30, $31, $32)) AS e
)
SELECT true FROM head;

-- write_small_mixed_batch --
-- The same with what only some transfers have: $1 to $37 as in write_small_batch; then the columns of further_leg,
-- metadata, external_creditor, relation, spending, customer_spending, refused_leg and hold.
WITH head AS (
    UPDATE ledger.journal_head SET last_sequence = $3, booking_time = $4
     WHERE last_sequence = $1 AND writer_epoch = $2
    RETURNING true
), transfers AS (
    INSERT INTO ledger.transfer (sequence, transfer_id, debit_account, credit_account, amount_minor, fingerprint,
                                 booking_time, business_date, value_date, actor_id, currency, kind, outcome, refusal,
                                 leg_count, flags, reference)
    SELECT t.sequence, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.fingerprint,
           $4, $5, t.value_date, t.actor_id, t.currency, t.kind, t.outcome, t.refusal, t.leg_count, t.flags, t.reference
      FROM head, unnest($6::bigint[], $7::uuid[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                        $12::date[], $13::smallint[], $14::smallint[], $15::smallint[], $16::smallint[],
                        $17::smallint[], $18::text[], $19::integer[], $20::smallint[])
             AS t (sequence, transfer_id, debit_account, credit_account, amount_minor, fingerprint, value_date, currency,
                   kind, outcome, refusal, leg_count, reference, actor_id, flags)
), entries AS (
    INSERT INTO ledger.entry (account_number, version, sequence, amount_minor, balance_after_minor, held_after_minor)
    SELECT e.* FROM head, unnest($21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[]) AS e
), crossings_out AS (
    INSERT INTO ledger.crossing_out (number, sequence, peer_id)
    SELECT c.* FROM head, unnest($27::bigint[], $28::bigint[], $29::smallint[]) AS c
), crossings_landed AS (
    INSERT INTO ledger.crossing_landed (first_number, last_number, first_sequence, peer_id)
    SELECT c.* FROM head, unnest($30::bigint[], $31::bigint[], $32::bigint[], $33::smallint[]) AS c
), peers AS (
    INSERT INTO ledger.peer (peer_id, sent_through, acknowledged_through, landed_through)
    SELECT p.* FROM head, unnest($34::smallint[], $35::bigint[], $36::bigint[], $37::bigint[]) AS p
    ON CONFLICT (peer_id) DO UPDATE
       SET sent_through = excluded.sent_through,
           acknowledged_through = excluded.acknowledged_through,
           landed_through = excluded.landed_through
), further_legs AS (
    INSERT INTO ledger.further_leg (sequence, transfer_sequence, debit_account, credit_account, amount_minor, currency,
                                    is_fee)
    SELECT f.* FROM head, unnest($38::bigint[], $39::bigint[], $40::bigint[], $41::bigint[], $42::bigint[],
                                 $43::smallint[], $44::boolean[]) AS f
), metadata AS (
    INSERT INTO ledger.metadata (sequence, key, value)
    SELECT m.* FROM head, unnest($45::bigint[], $46::text[], $47::text[]) AS m
), creditors AS (
    INSERT INTO ledger.external_creditor (sequence, bank_code, account, creditor_name, remittance_text)
    SELECT c.* FROM head, unnest($48::bigint[], $49::text[], $50::text[], $51::text[], $52::text[]) AS c
), relations AS (
    INSERT INTO ledger.relation (sequence, relation, target_id, amount_minor)
    SELECT r.* FROM head, unnest($53::bigint[], $54::smallint[], $55::uuid[], $56::bigint[]) AS r
), spending AS (
    INSERT INTO ledger.spending (account_number, sequence, minor, count, business_date)
    SELECT s.* FROM head, unnest($57::bigint[], $58::bigint[], $59::bigint[], $60::bigint[], $61::date[]) AS s
), customer_spending AS (
    INSERT INTO ledger.customer_spending (customer_number, sequence, minor, count, business_date, currency)
    SELECT s.* FROM head, unnest($62::bigint[], $63::bigint[], $64::bigint[], $65::bigint[], $66::date[],
                                 $67::smallint[]) AS s
), refused_legs AS (
    INSERT INTO ledger.refused_leg (sequence, leg)
    SELECT r.* FROM head, unnest($68::bigint[], $69::smallint[]) AS r
), holds AS (
    INSERT INTO ledger.hold (hold_id, account_number, currency, amount_minor, expire_time, payee_account, place_date,
                             state, captured_minor)
    SELECT h.* FROM head, unnest($70::uuid[], $71::bigint[], $72::smallint[], $73::bigint[], $74::timestamptz[],
                                 $75::bigint[], $76::date[], $77::smallint[], $78::bigint[]) AS h
    ON CONFLICT (hold_id) DO UPDATE
       SET amount_minor = excluded.amount_minor, expire_time = excluded.expire_time,
           state = excluded.state, captured_minor = excluded.captured_minor
)
SELECT true FROM head;

-- add_value_sums --
-- The single writer adds, so nobody waits for these rows; only value-dated entries touch them.
INSERT INTO ledger.value_sum AS s (account_number, first_day, width_days, amount_minor)
SELECT * FROM unnest($1::bigint[], $2::integer[], $3::smallint[], $4::bigint[])
ON CONFLICT (account_number, width_days, first_day) DO UPDATE SET amount_minor = s.amount_minor + excluded.amount_minor;

-- write_peers --
INSERT INTO ledger.peer AS p (peer_id, sent_through, acknowledged_through, landed_through)
SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[])
ON CONFLICT (peer_id) DO UPDATE
   SET sent_through = excluded.sent_through,
       acknowledged_through = excluded.acknowledged_through,
       landed_through = excluded.landed_through;

-- load_peers --
SELECT peer_id, sent_through, acknowledged_through, landed_through FROM ledger.peer;

-- find_decisions --
-- What ids mean, with a crossing's peer and number and how it ended, if it did; likewise a promise.
SELECT t.transfer_id, t.fingerprint, t.kind, t.booking_time,
       coalesce(nullif(t.refusal, 0), made.refusal, 0) AS refusal,
       CASE made.state WHEN 1 THEN 3 WHEN 2 THEN 1 WHEN 3 THEN 2 ELSE t.outcome END AS outcome,
       coalesce(blamed.leg, -1) AS leg,
       coalesce(c.peer_id, 0) AS peer_id,
       coalesce(c.number, 0) AS number,
       coalesce(c.number <= p.acknowledged_through, false) AS acknowledged,
       coalesce(r.refusal, 0) AS return_refusal,
       t.leg_count > 1 AND EXISTS (SELECT FROM ledger.further_leg f
                                    WHERE f.sequence > t.sequence AND f.sequence < t.sequence + t.leg_count AND f.is_fee)
           AS has_fee
  FROM ledger.transfer t
  LEFT JOIN ledger.crossing_out c ON t.outcome = 3 AND c.sequence = t.sequence
  LEFT JOIN ledger.peer p ON p.peer_id = c.peer_id
  LEFT JOIN ledger.crossing_returned r ON r.peer_id = c.peer_id AND r.number = c.number
  LEFT JOIN ledger.promise made ON t.kind = 9 AND made.transfer_id = t.transfer_id
  LEFT JOIN ledger.refused_leg blamed ON t.leg_count > 1 AND blamed.sequence = t.sequence
 WHERE t.transfer_id = ANY ($1::uuid[]) AND t.kind NOT IN (3, 7, 10, 11);

-- unacknowledged_crossings --
-- In order, with the legs on this shard that go along, what the caller keeps with each, and who asked.
SELECT c.number, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.currency, t.reference, t.value_date,
       CASE WHEN t.leg_count = 1 THEN '{}'
            ELSE (SELECT array_agg(ARRAY[f.debit_account, f.credit_account, f.amount_minor, f.currency, f.is_fee::integer]
                                   ORDER BY f.sequence)
                    FROM ledger.further_leg f
                   WHERE f.sequence > t.sequence AND f.sequence < t.sequence + t.leg_count)
            END::bigint[] AS further,
       ARRAY(SELECT ARRAY[m.key, m.value] FROM ledger.metadata m WHERE m.sequence = t.sequence ORDER BY m.key COLLATE "C")
           AS metadata,
       coalesce(a.channel, '') AS channel, coalesce(a.subject, '') AS subject
  FROM ledger.crossing_out c JOIN ledger.transfer t USING (sequence) LEFT JOIN ledger.actor a USING (actor_id)
 WHERE c.peer_id = $1 AND c.number > $2
 ORDER BY c.number LIMIT $3;

-- unacknowledged_decisions --
-- In order, with what the transfer says; one that is not of this shard says nothing.
SELECT d.number, d.transfer_id, d.outcome, d.refusal, coalesce(t.reference, '') AS reference,
       coalesce(t.value_date, (h.booking_time AT TIME ZONE 'UTC')::date) AS value_date, d.account_number
  FROM ledger.decision_out d
  LEFT JOIN ledger.transfer t ON t.sequence = d.sequence
 CROSS JOIN ledger.journal_head h
 WHERE d.peer_id = $1 AND d.number > $2
 ORDER BY d.number LIMIT $3;

-- load_told --
SELECT d.transfer_id, d.peer_id
  FROM unnest($1::uuid[], $2::smallint[]) AS wanted (transfer_id, peer_id)
  JOIN ledger.decision_out d USING (transfer_id, peer_id);

-- load_open_promises --
-- With their legs, as this shard sees them, in the order in which they were made.
SELECT p.transfer_id, p.home_id::integer, p.sequence, t.booking_time, t.business_date, t.fingerprint, t.flags::integer,
       t.actor_id, t.reference,
       (SELECT array_agg(ARRAY[leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency,
                               coalesce(r.debit_peer, 0), coalesce(r.credit_peer, 0), leg.is_fee] ORDER BY leg.sequence)
          FROM (SELECT t.sequence, t.debit_account, t.credit_account, t.amount_minor, t.currency, 0 AS is_fee
                 UNION ALL
                SELECT sequence, debit_account, credit_account, amount_minor, currency, is_fee::integer
                  FROM ledger.further_leg
                 WHERE sequence > t.sequence AND sequence < t.sequence + t.leg_count) leg
          LEFT JOIN ledger.leg_route r USING (sequence)) AS legs,
       ARRAY(SELECT ARRAY[m.key, m.value] FROM ledger.metadata m WHERE m.sequence = t.sequence ORDER BY m.key COLLATE "C")
           AS metadata,
       p.state::integer
  FROM ledger.promise p JOIN ledger.transfer t USING (sequence)
 WHERE p.state = 1
 ORDER BY p.sequence;

-- write_promises --
INSERT INTO ledger.promise AS p (transfer_id, home_id, sequence, state, refusal, resolve_sequence)
SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::smallint[], $5::smallint[], $6::bigint[])
ON CONFLICT (transfer_id) DO UPDATE
   SET state = excluded.state, refusal = excluded.refusal, resolve_sequence = excluded.resolve_sequence;
