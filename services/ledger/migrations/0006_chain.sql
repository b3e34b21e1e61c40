-- Seals over the journal: each block's hash covers every row of its sequences and the hash before, so that a
-- row that is changed, deleted or inserted afterwards shows (`hivecore audit --chain`). The writer's process
-- seals what was committed, from the side. What is derived from these rows (day, value_dated, value_sum,
-- spending, customer_spending, and account, hold, customer_cap and peer as they are now) is not sealed: the
-- audit computes it again.

CREATE TABLE ledger.seal (
    last_sequence  bigint      PRIMARY KEY,
    first_sequence bigint      NOT NULL UNIQUE,  -- the one after the block before; 1 in the first
    seal_time      timestamptz NOT NULL DEFAULT now(),
    row_count      bigint      NOT NULL CHECK (row_count >= 0),
    previous_hash  bytea       NOT NULL CHECK (length(previous_hash) = 32),
    hash           bytea       NOT NULL CHECK (length(hash) = 32),
    marks          bytea       NOT NULL,  -- 4 bytes of each sequence's own digest: they tell which one is to blame
    CHECK (first_sequence BETWEEN 1 AND last_sequence),
    CHECK (length(marks) = 4 * (last_sequence - first_sequence + 1))
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.seal
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- A block is found by its sequences: one row per landing batch.
CREATE INDEX crossing_landed_sequence ON ledger.crossing_landed (first_sequence);

-- The sealed form of a row: what its columns say, the same on every server and for ever. A column that is
-- added later is not in it; it gets a form of its own. Free text goes behind its length.
CREATE FUNCTION ledger.sealed_form(e ledger.entry) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'entry', e.sequence, e.account_number, e.version, e.amount_minor, e.balance_after_minor,
              e.held_after_minor, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(t ledger.transfer, a ledger.actor) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'transfer', t.sequence, t.transfer_id, t.debit_account, t.credit_account, t.amount_minor, t.fingerprint,
              encode(timestamptz_send(t.booking_time), 'hex'), t.business_date - date '1970-01-01',
              t.value_date - date '1970-01-01', t.currency, t.kind, t.outcome, t.refusal, t.leg_count, t.flags,
              octet_length(t.reference), t.reference, t.actor_id, coalesce(octet_length(a.channel), -1), coalesce(a.channel, ''),
              coalesce(octet_length(a.subject), -1), coalesce(a.subject, ''), E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(f ledger.further_leg) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'further_leg', f.sequence, f.transfer_sequence, f.debit_account, f.credit_account, f.amount_minor,
              f.currency, f.is_fee, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(x ledger.external_creditor) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'external_creditor', x.sequence, octet_length(x.bank_code), x.bank_code, octet_length(x.account), x.account,
              octet_length(x.creditor_name), x.creditor_name, octet_length(x.remittance_text), x.remittance_text, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(m ledger.metadata) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'metadata', m.sequence, octet_length(m.key), m.key, octet_length(m.value), m.value, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(r ledger.relation) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'relation', r.sequence, r.relation, r.target_id, r.amount_minor, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(c ledger.account_change, a ledger.actor) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'account_change', c.sequence, c.change_id, c.account_number,
              encode(timestamptz_send(c.change_time), 'hex'), c.fingerprint, c.refusal, c.restrictions_before,
              c.floor_before_minor, c.sets_allowance,
              array_to_string(ARRAY[c.restrictions, c.floor_minor, c.balance_minor_max, c.transfer_minor_max, c.day_minor_max,
                                    c.day_count_max, c.customer_day_minor_max, c.balance_before_minor_max,
                                    c.transfer_before_minor_max, c.day_before_minor_max, c.day_before_count_max], ',', '~'),
              octet_length(c.reason), c.reason, c.actor_id, coalesce(octet_length(a.channel), -1), coalesce(a.channel, ''),
              coalesce(octet_length(a.subject), -1), coalesce(a.subject, ''), E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(c ledger.crossing_out) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'crossing_out', c.sequence, c.peer_id, c.number, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(c ledger.crossing_returned) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'crossing_returned', c.return_sequence, c.peer_id, c.number, c.refusal, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(c ledger.crossing_landed) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'crossing_landed', c.first_sequence, c.peer_id, c.first_number, c.last_number, E'\n'), 'UTF8');

CREATE FUNCTION ledger.sealed_form(c ledger.crossing_refused) RETURNS bytea LANGUAGE sql STABLE RETURN convert_to(
    concat_ws('|', 'crossing_refused', c.peer_id, c.number, c.refusal, E'\n'), 'UTF8');

-- Every row of the journal but its entries, in sealed form, by the sequence that it belongs to. A refused
-- crossing has the sequence that its landing would have had; one that belongs to no landing has 0.
CREATE FUNCTION ledger.sealed_rows(first bigint, last bigint) RETURNS TABLE (sequence bigint, form bytea)
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
    SELECT c.first_sequence, ledger.sealed_form(c) FROM ledger.crossing_landed c WHERE c.first_sequence BETWEEN first AND last;
END;
