-- load_accounts --
-- Accounts as their last entries left them; those not in the books are absent from the answer.
SELECT a.account_number, a.currency, a.floor_minor, a.restrictions,
       coalesce(e.version, 0) AS version,
       coalesce(e.balance_after_minor, 0) AS balance_minor,
       coalesce(e.held_after_minor, 0) AS held_minor
  FROM unnest($1::bigint[]) AS wanted (account_number)
  JOIN ledger.account a USING (account_number)
  LEFT JOIN LATERAL (SELECT version, balance_after_minor, held_after_minor
                       FROM ledger.entry
                      WHERE entry.account_number = wanted.account_number
                      ORDER BY version DESC LIMIT 1) e ON true;

-- lock_head --
-- Waits until no transaction is about to change the head; what it then says is final.
SELECT last_sequence, writer_epoch, booking_time FROM ledger.journal_head FOR UPDATE;

-- take_lease --
UPDATE ledger.writer_lease
   SET instance = $1, expire_time = clock_timestamp() + make_interval(secs => $2::double precision)
 WHERE instance = $1 OR expire_time < clock_timestamp()
RETURNING true;

-- renew_lease --
UPDATE ledger.writer_lease
   SET expire_time = clock_timestamp() + make_interval(secs => $2::double precision)
 WHERE instance = $1
RETURNING true;

-- release_lease --
UPDATE ledger.writer_lease SET expire_time = 'epoch' WHERE instance = $1;

-- end_earlier_writers --
-- Whoever still changes the head has lost the lease. One that fell silent in the middle of a transaction
-- would hold the head for as long as its connection lives; ended, it takes back what it had not committed.
SELECT pg_terminate_backend(pid)
  FROM pg_locks
 WHERE locktype = 'relation' AND relation = 'ledger.journal_head'::regclass
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
-- What ids mean, with a crossing's peer and number and how it ended, if it did.
SELECT t.transfer_id, t.fingerprint, t.kind, t.booking_time, t.refusal, t.outcome,
       coalesce(c.peer_id, 0) AS peer_id,
       coalesce(c.number, 0) AS number,
       coalesce(c.number <= p.acknowledged_through, false) AS acknowledged,
       coalesce(r.refusal, 0) AS return_refusal
  FROM ledger.transfer t
  LEFT JOIN ledger.crossing_out c ON t.outcome = 3 AND c.sequence = t.sequence
  LEFT JOIN ledger.peer p ON p.peer_id = c.peer_id
  LEFT JOIN ledger.crossing_returned r ON r.peer_id = c.peer_id AND r.number = c.number
 WHERE t.transfer_id = ANY ($1::uuid[]) AND t.kind <> 3;

-- unacknowledged_crossings --
SELECT c.number, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.currency, t.reference, t.value_date
  FROM ledger.crossing_out c JOIN ledger.transfer t USING (sequence)
 WHERE c.peer_id = $1 AND c.number > $2
 ORDER BY c.number LIMIT $3;

-- refused_crossings --
SELECT number, refusal FROM ledger.crossing_refused
 WHERE peer_id = $1 AND number BETWEEN $2 AND $3 ORDER BY number;

-- check_payees --
SELECT account_number, currency, restrictions FROM ledger.account WHERE account_number = ANY ($1::bigint[]);

-- get_transfer --
SELECT t.sequence, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.currency, t.kind, t.outcome,
       t.refusal, t.leg_count, t.reference, t.booking_time, t.business_date, t.value_date,
       x.bank_code, x.account, x.creditor_name, x.remittance_text,
       coalesce(c.peer_id, 0) AS peer_id,
       coalesce(c.number, 0) AS number,
       coalesce(c.number <= p.acknowledged_through, false) AS acknowledged,
       coalesce(r.refusal, 0) AS return_refusal
  FROM ledger.transfer t
  LEFT JOIN ledger.external_creditor x ON x.sequence = t.sequence
  LEFT JOIN ledger.crossing_out c ON t.outcome = 3 AND c.sequence = t.sequence
  LEFT JOIN ledger.peer p ON p.peer_id = c.peer_id
  LEFT JOIN ledger.crossing_returned r ON r.peer_id = c.peer_id AND r.number = c.number
 WHERE t.transfer_id = $1::uuid AND t.kind <> 3;

-- further_legs --
SELECT debit_account, credit_account, amount_minor, currency
  FROM ledger.further_leg WHERE sequence > $1 AND sequence < $1 + $2::bigint ORDER BY sequence;

-- entries_descending --
-- Newest first, from below a version; a leg is its transfer's first or has a row of its own.
SELECT e.version, e.amount_minor, e.balance_after_minor, e.held_after_minor,
       t.transfer_id, t.kind,
       CASE t.kind WHEN 3 THEN t.credit_account ELSE t.debit_account END AS payer_account,
       coalesce(f.debit_account, t.debit_account) AS debit_account,
       coalesce(f.credit_account, t.credit_account) AS credit_account,
       t.reference, t.booking_time, t.business_date, t.value_date
  FROM ledger.entry e
  LEFT JOIN ledger.further_leg f ON f.sequence = e.sequence
  JOIN ledger.transfer t ON t.sequence = coalesce(f.transfer_sequence, e.sequence)
 WHERE e.account_number = $1 AND ($2::bigint = 0 OR e.version < $2)
 ORDER BY e.version DESC LIMIT $3;

-- entries_ascending --
-- Oldest first, from above a version.
SELECT e.version, e.amount_minor, e.balance_after_minor, e.held_after_minor,
       t.transfer_id, t.kind,
       CASE t.kind WHEN 3 THEN t.credit_account ELSE t.debit_account END AS payer_account,
       coalesce(f.debit_account, t.debit_account) AS debit_account,
       coalesce(f.credit_account, t.credit_account) AS credit_account,
       t.reference, t.booking_time, t.business_date, t.value_date
  FROM ledger.entry e
  LEFT JOIN ledger.further_leg f ON f.sequence = e.sequence
  JOIN ledger.transfer t ON t.sequence = coalesce(f.transfer_sequence, e.sequence)
 WHERE e.account_number = $1 AND e.version > $2
 ORDER BY e.version LIMIT $3;

-- account_facts --
SELECT currency FROM ledger.account WHERE account_number = $1;

-- shard_status --
SELECT h.last_sequence, h.writer_epoch,
       coalesce((SELECT sum(sent_through - acknowledged_through) FROM ledger.peer), 0)::bigint AS in_flight_count
  FROM ledger.journal_head h;
