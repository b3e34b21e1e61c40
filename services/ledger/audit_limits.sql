-- What the audit asks about changes of accounts and about limits; the form is that of audit.sql.
-- A change says what it found, so what was in force at a sequence is what the first later change found,
-- or else what the account says now. Changes refused for want of an account (10) found nothing.

-- check_changes --
-- Each change found what the one before left, names no limits where it sets none, and leaves a closed
-- account closed. The account is as its last change left it; a closed one was empty and stays so. Caps are
-- what the last change of each says.
WITH change AS MATERIALIZED (
    SELECT sequence, account_number, refusal, restrictions,
           NOT sets_allowance AND coalesce(balance_minor_max, transfer_minor_max, day_minor_max, day_count_max) IS NOT NULL
               AS names_limits_in_vain,
           ARRAY[restrictions_before, floor_before_minor, balance_before_minor_max, transfer_before_minor_max,
                 day_before_minor_max, day_before_count_max] AS facts_before,
           ARRAY[coalesce(accepted.restrictions_after, restrictions_before),
                 coalesce(accepted.floor_after_minor, floor_before_minor)]
           || CASE WHEN refusal = 0 AND sets_allowance
                   THEN ARRAY[balance_minor_max, transfer_minor_max, day_minor_max, day_count_max]
                   ELSE ARRAY[balance_before_minor_max, transfer_before_minor_max, day_before_minor_max,
                              day_before_count_max] END AS facts_after
      FROM ledger.account_change
     CROSS JOIN LATERAL (SELECT CASE refusal WHEN 0 THEN restrictions END AS restrictions_after,
                                CASE refusal WHEN 0 THEN floor_minor END AS floor_after_minor) accepted
     WHERE refusal <> 10
), stepped AS (
    SELECT change.*,
           lag(facts_after) OVER history AS facts_left,
           lead(sequence) OVER history IS NULL AS is_last
      FROM change
    WINDOW history AS (PARTITION BY account_number ORDER BY sequence)
), cap AS (
    SELECT DISTINCT ON (a.customer_number, a.currency) a.customer_number, a.currency, c.customer_day_minor_max, c.sequence
      FROM ledger.account_change c JOIN ledger.account a USING (account_number)
     WHERE c.refusal = 0 AND c.customer_day_minor_max IS NOT NULL
     ORDER BY a.customer_number, a.currency, c.sequence DESC
), complaint AS (
    SELECT 'change_repeated' AS check_name, min(sequence) AS sequence,
           format('change %s was decided %s times, at sequences %s and %s', change_id, count(*), min(sequence),
                  max(sequence)) AS evidence
      FROM ledger.account_change GROUP BY change_id HAVING count(*) > 1
     UNION ALL
    SELECT 'change_broken', sequence,
           format('sequence %s changes account %s: found restrictions, floor and limits %s, the change before left %s',
                  sequence, lpad(account_number::text, 16, '0'), facts_before, facts_left)
      FROM stepped
     WHERE facts_left IS NOT NULL AND facts_before IS DISTINCT FROM facts_left
        OR refusal = 0 AND facts_before[1] & 4 <> 0
        OR names_limits_in_vain
     UNION ALL
    SELECT 'account_differs', s.sequence,
           format('account %s has restrictions, floor and limits %s, its last change (sequence %s) left %s',
                  lpad(s.account_number::text, 16, '0'), coalesce(now.facts::text, 'nowhere'), s.sequence, facts_after)
      FROM stepped s
      LEFT JOIN LATERAL (SELECT ARRAY[restrictions, floor_minor, balance_minor_max, transfer_minor_max, day_minor_max,
                                      day_count_max] AS facts
                           FROM ledger.account a WHERE a.account_number = s.account_number) now ON true
     WHERE is_last AND now.facts IS DISTINCT FROM facts_after
     UNION ALL
    SELECT 'closed_not_empty', c.sequence,
           format('account %s was closed at sequence %s with balance %s and held %s, and has %s entries since',
                  lpad(c.account_number::text, 16, '0'), c.sequence, coalesce(last.balance_after_minor, 0),
                  coalesce(last.held_after_minor, 0), since.entry_count)
      FROM change c
      LEFT JOIN LATERAL (SELECT balance_after_minor, coalesce(held_after_minor, 0) AS held_after_minor FROM ledger.entry e
                          WHERE e.account_number = c.account_number AND e.sequence < c.sequence
                          ORDER BY e.sequence DESC LIMIT 1) last ON true
     CROSS JOIN LATERAL (SELECT count(*) AS entry_count FROM ledger.entry e
                          WHERE e.account_number = c.account_number AND e.sequence > c.sequence) since
     WHERE c.refusal = 0 AND c.restrictions & 4 <> 0
       AND (last.balance_after_minor <> 0 OR last.held_after_minor <> 0 OR since.entry_count > 0)
     UNION ALL
    SELECT 'cap_differs', coalesce(cap.sequence, 0),
           format('customer %s has a cap of %s in currency %s, the last change (sequence %s) set %s',
                  coalesce(cap.customer_number, c.customer_number), coalesce(c.day_minor_max::text, 'none'),
                  coalesce(cap.currency, c.currency), cap.sequence, coalesce(cap.customer_day_minor_max::text, 'none'))
      FROM (SELECT * FROM cap WHERE customer_day_minor_max >= 0) cap
      FULL JOIN ledger.customer_cap c USING (customer_number, currency)
     WHERE c.day_minor_max IS DISTINCT FROM cap.customer_day_minor_max
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- check_standing --
-- Nobody was debited or credited against the restrictions, or credited above the largest balance, that
-- were in force. Returns, and whatever ends a hold without a capture, ask for no permission. Accounts
-- that were never changed are judged by their largest balance alone.
WITH period AS MATERIALIZED (
    SELECT account_number, lag(sequence, 1, 0::bigint) OVER (PARTITION BY account_number ORDER BY sequence) AS after_sequence,
           sequence AS through_sequence, restrictions_before AS restrictions, balance_before_minor_max AS balance_minor_max
      FROM ledger.account_change WHERE refusal <> 10
     UNION ALL
    SELECT a.account_number, coalesce(c.last_sequence, 0), 9223372036854775807,
           CASE WHEN c.last_sequence IS NOT NULL THEN a.restrictions ELSE 0 END, a.balance_minor_max
      FROM ledger.account a
      LEFT JOIN (SELECT account_number, max(sequence) AS last_sequence
                   FROM ledger.account_change WHERE refusal <> 10 GROUP BY account_number) c USING (account_number)
     WHERE c.last_sequence IS NOT NULL OR a.balance_minor_max IS NOT NULL
), suspect AS MATERIALIZED (
    SELECT e.*, p.restrictions, p.balance_minor_max
      FROM period p
      JOIN ledger.entry e ON e.account_number = p.account_number
                         AND e.sequence > p.after_sequence AND e.sequence <= p.through_sequence
     WHERE (p.restrictions <> 0 OR p.balance_minor_max IS NOT NULL)
       AND (e.amount_minor <= 0 AND p.restrictions & (1 | 4 | 16 | 32) <> 0
            OR e.amount_minor > 0 AND (p.restrictions & (2 | 4 | 16) <> 0 OR e.balance_after_minor > p.balance_minor_max))
), complaint AS (
    SELECT check_name, s.sequence,
           format('account %s version %s (sequence %s): %s', lpad(s.account_number::text, 16, '0'), s.version, s.sequence,
                  complaint) AS evidence
      FROM suspect s
      LEFT JOIN ledger.further_leg f ON f.sequence = s.sequence
      JOIN ledger.transfer t ON t.sequence = coalesce(f.transfer_sequence, s.sequence) AND t.kind NOT IN (3, 6, 7, 10, 11)
     CROSS JOIN LATERAL (VALUES
           ('state_ignored',
            s.restrictions & CASE WHEN s.amount_minor > 0 THEN 2 | 4 | 16 ELSE 1 | 4 | 16 | 32 END <> 0,
            format('amount %s against restrictions %s', s.amount_minor, s.restrictions)),
           ('balance_limit_broken', s.amount_minor > 0 AND s.balance_after_minor > s.balance_minor_max,
            format('balance %s is above the largest, %s', s.balance_after_minor, s.balance_minor_max))
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;

-- check_spending --
-- What accounts with a limit per day, and customers with a cap, are said to have spent is what entries
-- and holds say, and the limits in force were kept, unless a transfer was allowed to pass over them.
-- Both kinds of purse count alike: debits asked for here that are neither reversals, captures nor fees, also
-- when they came back from another shard, and what is set aside, less what a hold frees on the day it
-- was placed. Counting begins when a limit per day is set where there was none, with the holds of that
-- day that are open then, and ends when it is lifted: such a run is exact, row by row, up to the last of
-- each day, which must be there; what was debited on the same day outside of it was not counted.
WITH account_period AS (
    SELECT account_number, lag(sequence, 1, 0::bigint) OVER (PARTITION BY account_number ORDER BY sequence) AS after_sequence,
           sequence AS through_sequence, transfer_before_minor_max AS transfer_minor_max,
           day_before_minor_max AS day_minor_max, day_before_count_max AS day_count_max
      FROM ledger.account_change WHERE refusal <> 10
     UNION ALL
    SELECT a.account_number, coalesce(c.last_sequence, 0), 9223372036854775807, a.transfer_minor_max, a.day_minor_max,
           a.day_count_max
      FROM ledger.account a
      LEFT JOIN (SELECT account_number, max(sequence) AS last_sequence
                   FROM ledger.account_change WHERE refusal <> 10 GROUP BY account_number) c USING (account_number)
     WHERE c.last_sequence IS NOT NULL OR coalesce(a.transfer_minor_max, a.day_minor_max, a.day_count_max) IS NOT NULL
), cap_period AS (
    SELECT a.customer_number, a.currency, c.sequence AS after_sequence,
           lead(c.sequence, 1, 9223372036854775807) OVER (PARTITION BY a.customer_number, a.currency ORDER BY c.sequence)
               AS through_sequence,
           nullif(c.customer_day_minor_max, -1) AS day_minor_max
      FROM ledger.account_change c JOIN ledger.account a USING (account_number)
     WHERE c.refusal = 0 AND c.customer_day_minor_max IS NOT NULL
), known AS (
    SELECT false AS of_customer, account_number AS owner, 0::smallint AS currency, after_sequence, through_sequence,
           transfer_minor_max, day_minor_max, day_count_max, coalesce(day_minor_max, day_count_max) IS NOT NULL AS counts
      FROM account_period
     UNION ALL
    SELECT true, customer_number, currency, after_sequence, through_sequence, NULL, day_minor_max, NULL,
           day_minor_max IS NOT NULL
      FROM cap_period
), begun AS (
    SELECT known.*,
           CASE WHEN counts AND NOT lag(counts, 1, false) OVER (PARTITION BY of_customer, owner, currency
                                                                 ORDER BY after_sequence)
                THEN after_sequence END AS begin_sequence
      FROM known
), period AS MATERIALIZED (
    SELECT of_customer, owner, currency, after_sequence, through_sequence, transfer_minor_max, day_minor_max,
           day_count_max, begin_sequence, counts,
           max(begin_sequence) OVER (PARTITION BY of_customer, owner, currency ORDER BY after_sequence) AS run
      FROM begun
), member AS (
    SELECT owner AS account_number, of_customer, owner, currency FROM period
     WHERE NOT of_customer
     GROUP BY 1, 2, 3, 4 HAVING bool_or(counts OR transfer_minor_max IS NOT NULL)
     UNION ALL
    SELECT DISTINCT a.account_number, p.of_customer, p.owner, p.currency
      FROM period p JOIN ledger.account a ON a.customer_number = p.owner AND a.currency = p.currency
     WHERE p.of_customer
), promised AS MATERIALIZED (
    -- Promised debits count as holds do, each leg on its own, until they end as kind 10 or 11.
    SELECT md5(leg.sequence::text)::uuid AS hold_id, leg.sequence, leg.debit_account AS account_number, leg.amount_minor,
           leg.business_date, leg.flags, ended.sequence AS end_sequence, ended.kind AS end_kind,
           ended.business_date AS end_date
      FROM (SELECT sequence, sequence AS made_sequence, debit_account, amount_minor, business_date, flags
              FROM ledger.transfer WHERE kind = 9
             UNION ALL
            SELECT f.sequence, t.sequence, f.debit_account, f.amount_minor, t.business_date, t.flags
              FROM ledger.transfer t JOIN ledger.further_leg f ON f.transfer_sequence = t.sequence
             WHERE t.kind = 9 AND NOT f.is_fee) leg
      LEFT JOIN ledger.leg_route r ON r.sequence = leg.sequence
      LEFT JOIN ledger.promise p ON p.sequence = leg.made_sequence
      LEFT JOIN ledger.transfer ended ON ended.sequence = p.resolve_sequence
     WHERE coalesce(r.debit_peer, 0) = 0 AND leg.flags & 8 = 0
), step AS MATERIALIZED (
    SELECT transfer_id AS hold_id, sequence, kind, debit_account AS account_number, amount_minor, business_date, flags
      FROM ledger.transfer WHERE kind IN (4, 7) AND outcome = 1
     UNION ALL
    SELECT r.target_id, t.sequence, t.kind, t.debit_account, t.amount_minor, t.business_date, t.flags
      FROM ledger.relation r JOIN ledger.transfer t ON t.sequence = r.sequence
     WHERE (r.relation = 3 AND t.kind IN (5, 6) AND t.outcome = 1)
        OR (r.relation = 1 AND t.kind = 1 AND t.outcome <> 2)
     UNION ALL
    SELECT hold_id, sequence, 4, account_number, amount_minor, business_date, flags FROM promised
     UNION ALL
    SELECT hold_id, end_sequence, end_kind, account_number, amount_minor, end_date, 0 FROM promised
     WHERE end_sequence IS NOT NULL
), own AS (
    SELECT t.sequence, t.leg_count, t.debit_account, t.amount_minor, t.business_date, t.flags
      FROM ledger.transfer t
     WHERE t.kind = 1 AND t.outcome <> 2
       AND NOT EXISTS (SELECT FROM ledger.relation r WHERE r.sequence = t.sequence AND r.relation IN (1, 2))
), spent AS (
    SELECT sequence, debit_account AS account_number, amount_minor AS minor, 1 AS count, business_date, amount_minor AS asked_minor,
           flags
      FROM own
     UNION ALL
    SELECT f.sequence, f.debit_account, f.amount_minor, 1, own.business_date, f.amount_minor, own.flags
      FROM own JOIN ledger.further_leg f ON f.transfer_sequence = own.sequence
     WHERE own.leg_count > 1 AND NOT f.is_fee
     UNION ALL
    SELECT sequence, account_number, amount_minor, (kind = 4)::integer, business_date, amount_minor, flags
      FROM step WHERE kind IN (4, 5)
     UNION ALL
    SELECT s.sequence, s.account_number, CASE s.kind WHEN 1 THEN s.amount_minor ELSE 0 END - h.amount_minor,
           CASE s.kind WHEN 1 THEN 0 ELSE -1 END, s.business_date, NULL, 0
      FROM step s JOIN ledger.hold h ON h.hold_id = s.hold_id AND h.place_date = s.business_date
     WHERE s.kind IN (1, 6, 7)
     UNION ALL
    SELECT end_sequence, account_number, -amount_minor, -1, end_date, NULL, 0
      FROM promised WHERE end_kind = 11 AND end_date = business_date
), begin AS (
    SELECT p.of_customer, p.owner, p.currency, p.run, (c.change_time AT TIME ZONE 'UTC')::date AS begun_on
      FROM period p LEFT JOIN ledger.account_change c ON c.sequence = p.run
     WHERE p.begin_sequence IS NOT NULL
), open_then AS (
    SELECT b.of_customer, b.owner, b.currency, b.run, s.hold_id, sum(s.amount_minor) AS minor
      FROM begin b
      JOIN member m USING (of_customer, owner, currency)
      JOIN step s ON s.account_number = m.account_number AND s.sequence < b.run
     WHERE b.run > 0
     GROUP BY b.of_customer, b.owner, b.currency, b.run, s.hold_id, b.begun_on
    HAVING bool_and(s.kind IN (4, 5)) AND min(s.business_date) = b.begun_on
), set_aside AS (
    SELECT of_customer, owner, currency, run, sum(minor)::bigint AS minor, count(*) AS count
      FROM open_then GROUP BY of_customer, owner, currency, run
), moment AS (
    SELECT m.of_customer, m.owner, m.currency, s.sequence, CASE WHEN p.counts THEN p.run END AS run, s.business_date,
           CASE WHEN p.counts THEN s.minor ELSE 0 END AS minor, CASE WHEN p.counts THEN s.count ELSE 0 END AS count,
           CASE WHEN s.flags & 1 = 0 THEN s.asked_minor END AS asked_minor, s.count AS asked_count,
           p.transfer_minor_max, p.day_minor_max, p.day_count_max, NULL::bigint AS said_minor, NULL::bigint AS said_count
      FROM spent s
      JOIN member m USING (account_number)
      JOIN period p ON p.of_customer = m.of_customer AND p.owner = m.owner AND p.currency = m.currency
                   AND s.sequence > p.after_sequence AND s.sequence <= p.through_sequence
     UNION ALL
    SELECT b.of_customer, b.owner, b.currency, b.run, b.run, b.begun_on, coalesce(s.minor, 0), coalesce(s.count, 0),
           NULL, NULL, NULL, NULL, NULL, NULL, NULL
      FROM begin b LEFT JOIN set_aside s USING (of_customer, owner, currency, run)
     UNION ALL
    SELECT false, account_number, 0, sequence, NULL, business_date, 0, 0, NULL, NULL, NULL, NULL, NULL, minor, count
      FROM ledger.spending
     UNION ALL
    SELECT true, customer_number, currency, sequence, NULL, business_date, 0, 0, NULL, NULL, NULL, NULL, NULL, minor, count
      FROM ledger.customer_spending
), placed AS (
    SELECT of_customer, owner, currency, sequence, business_date, minor, count, asked_minor, asked_count,
           transfer_minor_max, day_minor_max, day_count_max, said_minor, said_count,
           max(run) OVER (PARTITION BY of_customer, owner, currency ORDER BY sequence) AS run
      FROM moment
), summed AS (
    SELECT placed.*,
           sum(minor) OVER so_far AS minor_so_far, sum(count) OVER so_far AS count_so_far,
           max(sequence) FILTER (WHERE said_minor IS NOT NULL) OVER of_day AS last_said,
           max(sequence) FILTER (WHERE minor <> 0 OR count <> 0) OVER of_day AS last_spent
      FROM placed
    WINDOW so_far AS (PARTITION BY of_customer, owner, currency, run, business_date ORDER BY sequence),
           of_day AS (PARTITION BY of_customer, owner, currency, business_date)
), judged AS (
    SELECT summed.*,
           said_minor IS NOT NULL AND (run IS NULL OR said_minor <> minor_so_far OR said_count <> count_so_far) AS differs,
           sequence = last_spent AND said_minor IS NULL AND last_spent > coalesce(last_said, 0) AS is_missing,
           asked_minor > transfer_minor_max AS too_much,
           asked_minor IS NOT NULL AND (minor_so_far > day_minor_max OR asked_count > 0 AND count_so_far > day_count_max)
               AS too_much_a_day
      FROM summed
), suspect AS MATERIALIZED (
    SELECT * FROM judged WHERE differs OR is_missing OR too_much OR too_much_a_day
), complaint AS (
    SELECT check_name, owner, sequence,
           format('%s, sequence %s: %s', CASE WHEN of_customer THEN format('customer %s in currency %s', owner, currency)
                                              ELSE 'account ' || lpad(owner::text, 16, '0') END, sequence, complaint)
               AS evidence
      FROM suspect
     CROSS JOIN LATERAL (VALUES
           ('spending_differs', differs,
            format('%s is said to be spent on %s in %s times, it was %s in %s', said_minor, business_date, said_count,
                   minor_so_far, count_so_far)),
           ('spending_missing', is_missing,
            format('nothing is said about %s spent on %s in %s times', minor_so_far, business_date, count_so_far)),
           ('transfer_limit_broken', too_much,
            format('%s at a time, where %s may be', asked_minor, transfer_minor_max)),
           (CASE WHEN of_customer THEN 'customer_limit_broken' ELSE 'day_limit_broken' END, too_much_a_day,
            format('%s spent on %s in %s times, where %s in %s may be', minor_so_far, business_date, count_so_far,
                   coalesce(day_minor_max::text, 'any'), coalesce(day_count_max::text, 'any')))
           ) AS complaints (check_name, applies, complaint)
     WHERE applies
)
SELECT check_name AS broken, evidence, found
  FROM (SELECT check_name, evidence, count(*) OVER (PARTITION BY check_name) AS found,
               row_number() OVER (PARTITION BY check_name ORDER BY owner, sequence) AS place
          FROM complaint) numbered
 WHERE place <= $1;
