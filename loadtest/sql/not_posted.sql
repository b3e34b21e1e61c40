-- Which of the ids that come on standard input are not in these books as posted or crossing.
CREATE TEMPORARY TABLE acknowledged (transfer_id uuid NOT NULL);
\copy acknowledged FROM pstdin
SET work_mem = '256MB';
SELECT transfer_id
  FROM acknowledged
 WHERE NOT EXISTS (SELECT FROM ledger.transfer t
                    WHERE t.transfer_id = acknowledged.transfer_id AND t.kind = 1 AND t.outcome <> 2);
