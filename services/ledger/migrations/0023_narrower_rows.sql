-- Fewer bytes per transfer. No row is written anew: rows of before stay as they are and mean the same.

-- Most entries are of accounts with nothing held. NULL says that and takes no place; so did 0, in older rows.
ALTER TABLE ledger.entry ALTER COLUMN held_after_minor DROP NOT NULL;

-- Both are sealed alike, so that the seals over older rows hold, and nobody need know which it was.
CREATE OR REPLACE FUNCTION ledger.sealed_form(e ledger.entry) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'entry', e.sequence, e.account_number, e.version, e.amount_minor, e.balance_after_minor,
              coalesce(e.held_after_minor, 0), E'\n'), 'UTF8');

-- A reference's digest and, newest first, the block of 1,024 sequences: two integers fit where one of the two
-- bigints did before. What is in one block is sorted by who reads it; the same reference again and again is
-- one key per block. No table of PostgreSQL's (32 TB at most) can hold the 2^41 sequences that this is good for.
DROP INDEX ledger.transfer_reference;
CREATE INDEX transfer_reference ON ledger.transfer (hashtext(reference), ((sequence >> 10)::integer))
    WHERE reference <> '';

-- Keys that only ever grow at their end need no room for what comes between. It tells at the next page.
ALTER INDEX ledger.transfer_pkey SET (fillfactor = 100);
ALTER INDEX ledger.further_leg_pkey SET (fillfactor = 100);
ALTER INDEX ledger.metadata_pkey SET (fillfactor = 100);
ALTER INDEX ledger.external_creditor_pkey SET (fillfactor = 100);
ALTER INDEX ledger.relation_of_transfer SET (fillfactor = 100);
ALTER INDEX ledger.crossing_out_sequence_key SET (fillfactor = 100);
ALTER INDEX ledger.leg_route_pkey SET (fillfactor = 100);
