-- The books of one shard: append-only, an account's state is its last entry.
-- Only the writer's epoch, the watermarks and the lease are ever updated; a trigger says so again.

CREATE SCHEMA ledger;

-- One row: the fence. A batch advances it by compare-and-swap on sequence and epoch, or is not written.
CREATE TABLE ledger.journal_head (
    only_row       boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    last_sequence  bigint      NOT NULL,
    writer_epoch   bigint      NOT NULL,
    booking_time   timestamptz NOT NULL  -- of the last batch; booking times never go back
);
INSERT INTO ledger.journal_head (last_sequence, writer_epoch, booking_time) VALUES (0, 0, 'epoch');

-- One row: who should write. It may be wrong for a while; the fence never is.
CREATE TABLE ledger.writer_lease (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    instance    text        NOT NULL,
    expire_time timestamptz NOT NULL
);
INSERT INTO ledger.writer_lease (instance, expire_time) VALUES ('', 'epoch');

-- The slow-changing facts. Balances are not here.
CREATE TABLE ledger.account (
    account_number bigint      PRIMARY KEY CHECK (account_number % 97 = 1),
    floor_minor    bigint      NOT NULL CHECK (floor_minor BETWEEN -9000000000000000000 AND 0),  -- balance - held stays at or above
    open_time      timestamptz NOT NULL,
    currency       smallint    NOT NULL CHECK (currency BETWEEN 1 AND 999),  -- ISO 4217 numeric
    restrictions   smallint    NOT NULL DEFAULT 0  -- bits: 1 debits frozen, 2 credits frozen, 4 closed, 8 only the engine moves it
);

-- Every decision, refusals included, with the first leg; each leg has a sequence of its own, and a
-- transfer's sequence is its first leg's.
CREATE TABLE ledger.transfer (
    sequence       bigint      PRIMARY KEY,
    transfer_id    uuid        NOT NULL,  -- of a return: that of the crossing it gives back
    debit_account  bigint      NOT NULL,
    credit_account bigint      NOT NULL CHECK (credit_account <> debit_account),
    amount_minor   bigint      NOT NULL CHECK (amount_minor BETWEEN 1 AND 1000000000000000),
    fingerprint    bigint      NOT NULL,  -- of the body: tells a repeat from a reuse of the id
    booking_time   timestamptz NOT NULL,
    business_date  date        NOT NULL,
    value_date     date        NOT NULL,
    currency       smallint    NOT NULL,
    kind           smallint    NOT NULL CHECK (kind IN (1, 2, 3)),     -- 1 asked here, 2 landing, 3 return
    outcome        smallint    NOT NULL CHECK (outcome IN (1, 2, 3)),  -- 1 posted, 2 refused, 3 crossing
    refusal        smallint    NOT NULL CHECK ((refusal <> 0) = (outcome = 2)),
    leg_count      smallint    NOT NULL CHECK (leg_count >= 1),
    reference      text        NOT NULL,
    CHECK (outcome <> 3 OR (kind = 1 AND leg_count = 1))
);

-- An id means one transfer, for ever. Returns are kept single by crossing_returned.
CREATE UNIQUE INDEX transfer_id_is_unique ON ledger.transfer (transfer_id) WHERE kind <> 3;

-- Legs after a transfer's first; their sequences follow the transfer's one by one.
CREATE TABLE ledger.further_leg (
    sequence          bigint   PRIMARY KEY CHECK (sequence > transfer_sequence),
    transfer_sequence bigint   NOT NULL,
    debit_account     bigint   NOT NULL,
    credit_account    bigint   NOT NULL CHECK (credit_account <> debit_account),
    amount_minor      bigint   NOT NULL CHECK (amount_minor BETWEEN 1 AND 1000000000000000),
    currency          smallint NOT NULL
);

-- Who is paid at another bank, for the transfers that say so.
CREATE TABLE ledger.external_creditor (
    sequence        bigint PRIMARY KEY,  -- the transfer's
    bank_code       text   NOT NULL,
    account         text   NOT NULL,
    creditor_name   text   NOT NULL,
    remittance_text text   NOT NULL
);

-- Both sides of every posted leg, under the leg's sequence: debit negative, credit positive.
CREATE TABLE ledger.entry (
    account_number      bigint NOT NULL,
    version             bigint NOT NULL CHECK (version >= 1),
    sequence            bigint NOT NULL,
    amount_minor        bigint NOT NULL,
    balance_after_minor bigint NOT NULL,
    held_after_minor    bigint NOT NULL CHECK (held_after_minor >= 0),
    PRIMARY KEY (account_number, version)
);

-- How far money has gone to and come from each peer shard. Numbers start at 1, without gaps.
CREATE TABLE ledger.peer (
    peer_id              smallint PRIMARY KEY,
    sent_through         bigint   NOT NULL DEFAULT 0,
    acknowledged_through bigint   NOT NULL DEFAULT 0 CHECK (acknowledged_through <= sent_through),
    landed_through       bigint   NOT NULL DEFAULT 0
);

-- Crossings that left this shard. Posted when acknowledged and not returned.
CREATE TABLE ledger.crossing_out (
    number   bigint   NOT NULL,
    sequence bigint   NOT NULL UNIQUE,  -- the transfer's
    peer_id  smallint NOT NULL,
    PRIMARY KEY (peer_id, number)
);

-- Crossings that left this shard, were refused by the peer and were given back to the payer.
CREATE TABLE ledger.crossing_returned (
    number          bigint   NOT NULL,
    return_sequence bigint   NOT NULL UNIQUE,  -- of the transfer of kind 3
    peer_id         smallint NOT NULL,
    refusal         smallint NOT NULL CHECK (refusal <> 0),
    PRIMARY KEY (peer_id, number)
);

-- Crossings that arrived: number n of a row has sequence first_sequence + n - first_number, as a
-- transfer of kind 2 or, refused, as a row of crossing_refused.
CREATE TABLE ledger.crossing_landed (
    first_number   bigint   NOT NULL,
    last_number    bigint   NOT NULL CHECK (last_number >= first_number),
    first_sequence bigint   NOT NULL,
    peer_id        smallint NOT NULL,
    PRIMARY KEY (peer_id, first_number)
);

-- Crossings that arrived and could not be credited; the peer gives the money back.
CREATE TABLE ledger.crossing_refused (
    number  bigint   NOT NULL,
    peer_id smallint NOT NULL,
    refusal smallint NOT NULL CHECK (refusal <> 0),
    PRIMARY KEY (peer_id, number)
);

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

DO $$
DECLARE
    append_only text;
BEGIN
    FOREACH append_only IN ARRAY ARRAY['transfer', 'further_leg', 'external_creditor', 'entry', 'crossing_out',
                                       'crossing_returned', 'crossing_landed', 'crossing_refused'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', append_only);
    END LOOP;
END
$$;
