-- Transfers over several shards in the seals: how their legs pass other shards, what was decided for whom, what
-- landed, and which leg was refused. A decision that is no transfer's of this shard has no sequence, and no seal.

CREATE FUNCTION ledger.sealed_form(r ledger.leg_route) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'leg_route', r.sequence, r.debit_peer, r.credit_peer, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(d ledger.decision_out) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'decision_out', d.sequence, d.peer_id, d.number, d.transfer_id, d.account_number, d.outcome, d.refusal,
              E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(d ledger.decision_landed) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'decision_landed', d.sequence, d.peer_id, d.number, d.transfer_id, d.outcome, d.refusal, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(b ledger.refused_leg) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'refused_leg', b.sequence, b.leg, E'\n'), 'UTF8');

-- Decisions are found by the sequences of a block.
CREATE INDEX decision_out_sequence ON ledger.decision_out (sequence);
CREATE INDEX decision_landed_sequence ON ledger.decision_landed (sequence);

CREATE OR REPLACE FUNCTION ledger.sealed_rows(first bigint, last bigint) RETURNS TABLE (sequence bigint, form bytea)
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT t.sequence, ledger.sealed_form(t, a) FROM ledger.transfer t LEFT JOIN ledger.actor a USING (actor_id)
     WHERE t.sequence BETWEEN first AND last
    UNION ALL
    SELECT f.sequence, ledger.sealed_form(f) FROM ledger.further_leg f WHERE f.sequence BETWEEN first AND last
    UNION ALL
    SELECT x.sequence, ledger.sealed_form(x) FROM ledger.external_creditor x WHERE x.sequence BETWEEN first AND last
    UNION ALL
    SELECT m.sequence, ledger.sealed_form(m) FROM ledger.metadata m WHERE m.sequence BETWEEN first AND last
    UNION ALL
    SELECT r.sequence, ledger.sealed_form(r) FROM ledger.relation r WHERE r.sequence BETWEEN first AND last
    UNION ALL
    SELECT c.sequence, ledger.sealed_form(c, a) FROM ledger.account_change c LEFT JOIN ledger.actor a USING (actor_id)
     WHERE c.sequence BETWEEN first AND last
    UNION ALL
    SELECT c.sequence, ledger.sealed_form(c) FROM ledger.crossing_out c WHERE c.sequence BETWEEN first AND last
    UNION ALL
    SELECT c.return_sequence, ledger.sealed_form(c) FROM ledger.crossing_returned c
     WHERE c.return_sequence BETWEEN first AND last
    UNION ALL
    SELECT c.first_sequence, ledger.sealed_form(c) FROM ledger.crossing_landed c WHERE c.first_sequence BETWEEN first AND last
    UNION ALL
    SELECT r.sequence, ledger.sealed_form(r) FROM ledger.leg_route r WHERE r.sequence BETWEEN first AND last
    UNION ALL
    SELECT d.sequence, ledger.sealed_form(d) FROM ledger.decision_out d
     WHERE d.sequence BETWEEN first AND last AND d.sequence <> 0
    UNION ALL
    SELECT d.sequence, ledger.sealed_form(d) FROM ledger.decision_landed d
     WHERE d.sequence BETWEEN first AND last AND d.sequence <> 0
    UNION ALL
    SELECT b.sequence, ledger.sealed_form(b) FROM ledger.refused_leg b WHERE b.sequence BETWEEN first AND last;
END;
