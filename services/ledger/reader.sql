-- check_payees --
SELECT account_number, currency, restrictions, balance_minor_max FROM ledger.account WHERE account_number = ANY ($1::bigint[]);

-- refused_crossings --
SELECT number, refusal FROM ledger.crossing_refused
 WHERE peer_id = $1 AND number BETWEEN $2 AND $3 ORDER BY number;

-- transfers --
-- Transfers by id ($1) or by sequence ($2), newest first, each with all that is kept beside it: who asked,
-- what it refers to, who is paid at another bank, further legs, metadata, and how a crossing, or a promise, ended.
SELECT t.sequence, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.currency, t.kind,
       CASE made.state WHEN 1 THEN 3 WHEN 2 THEN 1 WHEN 3 THEN 2 ELSE t.outcome END AS outcome,
       coalesce(nullif(t.refusal, 0), made.refusal, 0) AS refusal, coalesce(blamed.leg, -1) AS refused_leg,
       coalesce(made.home_id, 0)::integer AS home_id, t.reference, t.booking_time, t.business_date, t.value_date,
       t.flags, actor.channel, actor.subject, link.relation, link.target_id, x.bank_code, x.account, x.creditor_name, x.remittance_text,
       coalesce(c.peer_id, 0) AS peer_id,
       coalesce(c.number, 0) AS number,
       coalesce(c.number <= p.acknowledged_through, false) AS acknowledged,
       coalesce(r.refusal, 0) AS return_refusal,
       CASE WHEN t.leg_count = 1 THEN '{}'
            ELSE ARRAY(SELECT ARRAY[f.debit_account, f.credit_account, f.amount_minor, f.currency, f.is_fee::integer]
                         FROM ledger.further_leg f
                        WHERE f.sequence > t.sequence AND f.sequence < t.sequence + t.leg_count ORDER BY f.sequence)
            END::bigint[] AS further,
       ARRAY(SELECT ARRAY[m.key, m.value] FROM ledger.metadata m WHERE m.sequence = t.sequence ORDER BY m.key COLLATE "C")
           AS metadata
  FROM ledger.transfer t
  LEFT JOIN ledger.actor ON actor.actor_id = t.actor_id
  LEFT JOIN ledger.relation link ON link.sequence = t.sequence
  LEFT JOIN ledger.external_creditor x ON x.sequence = t.sequence
  LEFT JOIN ledger.crossing_out c ON t.outcome = 3 AND c.sequence = t.sequence
  LEFT JOIN ledger.peer p ON p.peer_id = c.peer_id
  LEFT JOIN ledger.crossing_returned r ON r.peer_id = c.peer_id AND r.number = c.number
  LEFT JOIN ledger.promise made ON t.kind = 9 AND made.transfer_id = t.transfer_id
  LEFT JOIN ledger.refused_leg blamed ON t.leg_count > 1 AND blamed.sequence = t.sequence
 WHERE t.sequence = ANY (ARRAY(SELECT sequence FROM ledger.transfer
                                WHERE transfer_id = ANY ($1::uuid[]) AND kind NOT IN (3, 7, 10, 11)) || $2::bigint[])
 ORDER BY t.sequence DESC;

-- get_hold --
-- The reference is that of the command that placed it.
SELECT h.hold_id, h.account_number, h.currency, h.amount_minor, h.expire_time, h.payee_account, h.place_date, h.state,
       h.captured_minor, t.reference
  FROM ledger.hold h JOIN ledger.transfer t ON t.transfer_id = h.hold_id AND t.kind = 4
 WHERE h.hold_id = $1;

-- open_holds --
-- An account's open holds, those that expire first first.
SELECT h.hold_id, h.account_number, h.currency, h.amount_minor, h.expire_time, h.payee_account, h.place_date, h.state,
       h.captured_minor, t.reference
  FROM ledger.hold h JOIN ledger.transfer t ON t.transfer_id = h.hold_id AND t.kind = 4
 WHERE h.account_number = $1 AND h.state = 1
 ORDER BY h.expire_time, h.hold_id LIMIT $2;

-- due_holds --
SELECT hold_id FROM ledger.hold WHERE state = 1 AND expire_time <= clock_timestamp() ORDER BY expire_time LIMIT $1;

-- shard_status --
SELECT h.last_sequence, h.writer_epoch,
       coalesce((SELECT sum(sent_through - acknowledged_through) FROM ledger.peer), 0)::bigint AS in_flight_count,
       (SELECT count(*) FROM ledger.promise WHERE state = 1) AS promise_count
  FROM ledger.journal_head h;

-- transfer_after --
SELECT min(sequence) FROM ledger.transfer WHERE sequence > $1;

-- list_trail --
-- Who asked for what in a stretch of the journal: sequences after $1 up to $2, of account $3, subject $4 and
-- channel $5 where they are given, decided at $6 or later and before $7, at most $8.
SELECT * FROM (
    SELECT t.sequence, t.booking_time AS time, t.kind, t.transfer_id AS id, t.debit_account, t.credit_account,
           t.amount_minor, t.currency, t.outcome, t.refusal, t.flags, t.reference AS words,
           coalesce(a.channel, '') AS channel, coalesce(a.subject, '') AS subject, t.leg_count
      FROM ledger.transfer t LEFT JOIN ledger.actor a USING (actor_id)
     WHERE t.sequence > $1 AND t.sequence <= $2
       AND ($3::bigint = 0 OR $3 IN (t.debit_account, t.credit_account)
            OR t.leg_count > 1 AND EXISTS (SELECT FROM ledger.further_leg f
                                            WHERE f.transfer_sequence = t.sequence AND f.sequence > t.sequence
                                              AND f.sequence < t.sequence + t.leg_count
                                              AND $3 IN (f.debit_account, f.credit_account)))
    UNION ALL
    SELECT c.sequence, c.change_time, 0, c.change_id, c.account_number, 0, 0, 0,
           CASE WHEN c.refusal = 0 THEN 1 ELSE 2 END, c.refusal, 0, c.reason,
           coalesce(a.channel, ''), coalesce(a.subject, ''), 1
      FROM ledger.account_change c LEFT JOIN ledger.actor a USING (actor_id)
     WHERE c.sequence > $1 AND c.sequence <= $2 AND ($3::bigint = 0 OR $3 = c.account_number)
) AS trail
 WHERE ($4::text = '' OR subject = $4) AND ($5::text = '' OR channel = $5) AND time >= $6 AND time < $7
 ORDER BY sequence LIMIT $8;
