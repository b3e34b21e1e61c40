-- What sealing the journal (`sealing.py`) and proving its seals (`audit_chain.py`) ask. The sealed form of
-- a row is a function of the schema: see migrations/0006_chain.sql.

-- last_seal --
SELECT last_sequence, hash FROM ledger.seal ORDER BY last_sequence DESC LIMIT 1;

-- head --
SELECT last_sequence FROM ledger.journal_head;

-- block_transits --
-- The peers and currencies whose transit accounts may have entries in a block.
SELECT p.peer_id, c.currency
  FROM ledger.peer p
 CROSS JOIN (SELECT currency FROM ledger.transfer WHERE sequence BETWEEN $1 AND $2 AND currency <> 0
              UNION
             SELECT currency FROM ledger.further_leg WHERE sequence BETWEEN $1 AND $2) c;

-- block_leaves --
-- The digests of a block's sequences, one after the other, 32 bytes each and 0 for one without rows, and how
-- many rows there are. Entries are found through the accounts that the block names, and transit accounts
-- $3, so by keys only: they have no index by sequence, and need none on the way in.
WITH side AS (
    SELECT debit_account AS account_number FROM ledger.transfer WHERE sequence BETWEEN $1 AND $2
    UNION SELECT credit_account FROM ledger.transfer WHERE sequence BETWEEN $1 AND $2
    UNION SELECT debit_account FROM ledger.further_leg WHERE sequence BETWEEN $1 AND $2
    UNION SELECT credit_account FROM ledger.further_leg WHERE sequence BETWEEN $1 AND $2
    UNION SELECT * FROM unnest($3::bigint[])
), piece (sequence, form) AS (
    SELECT * FROM ledger.sealed_rows($1, $2)
    UNION ALL
    SELECT l.first_sequence + r.number - l.first_number, ledger.sealed_form(r)
      FROM ledger.crossing_landed l
      JOIN ledger.crossing_refused r ON r.peer_id = l.peer_id AND r.number BETWEEN l.first_number AND l.last_number
     WHERE l.first_sequence BETWEEN $1 - $4 AND $2 AND l.first_sequence + r.number - l.first_number BETWEEN $1 AND $2
    UNION ALL
    SELECT entry.*
      FROM side
     CROSS JOIN LATERAL (SELECT e.sequence, ledger.sealed_form(e)
                           FROM ledger.entry e
                          WHERE e.account_number = side.account_number AND e.sequence BETWEEN $1 AND $2
                         OFFSET 0) entry
), leaf AS (
    SELECT sequence, sha256(string_agg(form, '' ORDER BY form)) AS digest, count(*) AS row_count
      FROM piece GROUP BY sequence
)
SELECT string_agg(coalesce(digest, decode(repeat('00', 32), 'hex')), '' ORDER BY n.sequence) AS leaves,
       coalesce(sum(row_count), 0)::bigint AS row_count
  FROM generate_series($1, $2) AS n (sequence) LEFT JOIN leaf USING (sequence);

-- put_seal --
-- Adds a seal, unless somebody else was faster.
INSERT INTO ledger.seal (first_sequence, last_sequence, row_count, previous_hash, hash, marks)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true;

-- seals --
-- A page of seals in order, after a sequence.
SELECT first_sequence, last_sequence, row_count, previous_hash, hash, marks
  FROM ledger.seal WHERE last_sequence > $1 ORDER BY last_sequence LIMIT $2;

-- all_leaves --
-- The digests of all sequences up to $1, in order, from every row that there is, whether its accounts are
-- named anywhere or not; sequence 0 for refused crossings that belong to no landing.
SELECT sequence, sha256(string_agg(form, '' ORDER BY form)) AS digest, count(*) AS row_count
  FROM (SELECT * FROM ledger.sealed_rows(-9223372036854775807, $1)
        UNION ALL
        SELECT coalesce(l.first_sequence + r.number - l.first_number, 0), ledger.sealed_form(r)
          FROM ledger.crossing_refused r
          LEFT JOIN LATERAL (SELECT first_sequence, first_number FROM ledger.crossing_landed l
                              WHERE l.peer_id = r.peer_id AND l.first_number <= r.number AND r.number <= l.last_number
                              ORDER BY l.first_number DESC LIMIT 1) l ON true
        UNION ALL
        SELECT e.sequence, ledger.sealed_form(e) FROM ledger.entry e) AS piece (sequence, form)
 WHERE sequence <= $1
 GROUP BY sequence ORDER BY sequence;

-- settle --
-- Sorts in memory where possible; one core per shard, so that traffic keeps the others.
SET LOCAL work_mem = '128MB';
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL statement_timeout = 0;

-- sealed_through --
SELECT coalesce(max(last_sequence), 0) FROM ledger.seal;
