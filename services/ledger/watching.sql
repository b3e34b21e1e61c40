-- in_flight --
-- Crossings that peers have not acknowledged, and what posted decisions among them bring or (negative) take, by peer
-- and currency; a peer without any has one row of nothing.
WITH moving AS (
    SELECT p.peer_id, c.number, t.currency, t.amount_minor, t.booking_time
      FROM ledger.peer p
      JOIN ledger.crossing_out c ON c.peer_id = p.peer_id AND c.number > p.acknowledged_through
      JOIN ledger.transfer t ON t.sequence = c.sequence
     UNION ALL
    SELECT p.peer_id, d.number, leg.currency, leg.amount_minor * CASE WHEN r.credit_peer = p.peer_id THEN 1 ELSE -1 END,
           t.booking_time
      FROM ledger.peer p
      JOIN ledger.decision_out d ON d.peer_id = p.peer_id AND d.number > p.acknowledged_through AND d.outcome = 1
      JOIN ledger.transfer t ON t.sequence = d.sequence
      JOIN ledger.leg_route r ON r.sequence >= t.sequence AND r.sequence < t.sequence + t.leg_count
                             AND (r.debit_peer = p.peer_id) <> (r.credit_peer = p.peer_id)
     CROSS JOIN LATERAL (SELECT t.amount_minor, t.currency WHERE r.sequence = t.sequence
                          UNION ALL
                         SELECT f.amount_minor, f.currency FROM ledger.further_leg f WHERE f.sequence = r.sequence) leg
)
SELECT p.peer_id::integer, m.currency::integer, count(DISTINCT m.number), coalesce(sum(m.amount_minor), 0)::bigint AS amount_minor,
       coalesce(extract(epoch FROM clock_timestamp() - min(m.booking_time)), 0)::double precision AS oldest_seconds
  FROM ledger.peer p
  LEFT JOIN moving m USING (peer_id)
 GROUP BY p.peer_id, m.currency;

-- open_holds --
SELECT currency::integer, count(*), sum(amount_minor)::bigint AS amount_minor,
       count(*) FILTER (WHERE expire_time < clock_timestamp() - make_interval(secs => $1)) AS overdue_count
  FROM ledger.hold WHERE state = 1 GROUP BY currency;

-- tail --
-- How many pages the entries have, and how far the books are.
SELECT pg_relation_size('ledger.entry') / current_setting('block_size')::bigint AS page_count,
       (SELECT last_sequence FROM ledger.journal_head) AS last_sequence;

-- fresh_legs --
-- Legs after a sequence whose entries, as far as they lie in these pages, do not add up to 0; and the pages
-- that entries after that sequence were found in. Entries are appended, so the new ones are in the last
-- pages, and reading just these needs no index. Vacuum may have made room elsewhere: a leg found here is
-- a suspicion, `leg_balance` is the proof.
WITH fresh AS MATERIALIZED (
    SELECT sequence, sum(amount_minor) AS amount_minor, max(ctid) AS last_place
      FROM ledger.entry
     WHERE ctid >= $1::text::tid AND ctid < $2::text::tid AND sequence > $3
     GROUP BY sequence
)
SELECT (SELECT max(last_place)::text FROM fresh) AS last_place,
       (SELECT array_agg(sequence) FROM (SELECT sequence FROM fresh WHERE amount_minor <> 0 ORDER BY sequence LIMIT $4) odd)
       AS suspects;

-- leg_balance --
-- What legs' entries add up to by currency, where that is not 0; found through the accounts that the leg names, so by keys only.
SELECT leg.sequence, a.currency::integer, sum(e.amount_minor)::bigint AS gap_minor
  FROM (SELECT t.sequence, side.account_number
          FROM ledger.transfer t CROSS JOIN LATERAL (VALUES (t.debit_account), (t.credit_account)) AS side (account_number)
         WHERE t.sequence = ANY ($1::bigint[])
         UNION
        SELECT f.sequence, side.account_number
          FROM ledger.further_leg f CROSS JOIN LATERAL (VALUES (f.debit_account), (f.credit_account)) AS side (account_number)
         WHERE f.sequence = ANY ($1::bigint[])) AS leg
  JOIN ledger.entry e ON e.account_number = leg.account_number AND e.sequence = leg.sequence
  JOIN ledger.account a ON a.account_number = e.account_number
 GROUP BY leg.sequence, a.currency
HAVING sum(e.amount_minor) <> 0;

-- page_of_balances --
-- The balances after a sequence of the next accounts by number, added up by currency. The books being
-- append-only, pages read at different moments fit together: all of them show the same sequence.
SELECT page.currency::integer, sum(e.balance_after_minor)::numeric AS balance_minor, count(*) AS account_count,
       max(page.account_number) AS last_number
  FROM (SELECT account_number, currency FROM ledger.account
         WHERE account_number > $1 ORDER BY account_number LIMIT $3) AS page
  LEFT JOIN LATERAL (SELECT balance_after_minor FROM ledger.entry
                      WHERE entry.account_number = page.account_number AND entry.sequence <= $2
                      ORDER BY entry.sequence DESC LIMIT 1) e ON true
 GROUP BY page.currency;
