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

-- The slow-changing facts. Balances are not here. A limit that is NULL is none.
CREATE TABLE ledger.account (
    account_number     bigint      PRIMARY KEY CHECK (account_number % 97 = 1),
    floor_minor        bigint      NOT NULL CHECK (floor_minor BETWEEN -9000000000000000000 AND 0),  -- balance - held stays at or above
    open_time          timestamptz NOT NULL,
    customer_number    bigint      NOT NULL DEFAULT 0,  -- whose caps count; 0 for the bank's own
    balance_minor_max  bigint      CHECK (balance_minor_max >= 0),
    transfer_minor_max bigint      CHECK (transfer_minor_max >= 0),
    day_minor_max      bigint      CHECK (day_minor_max >= 0),
    day_count_max      bigint      CHECK (day_count_max >= 0),
    currency           smallint    NOT NULL CHECK (currency BETWEEN 1 AND 999),  -- ISO 4217 numeric
    restrictions       smallint    NOT NULL DEFAULT 0  -- bits: 1 debits frozen, 2 credits frozen, 4 closed,
);                                                     -- 8 only the engine moves it, 16 pending, 32 dormant
CREATE INDEX account_of_customer ON ledger.account (customer_number) WHERE customer_number <> 0;

-- What a customer may pay a business day over all accounts of one currency.
CREATE TABLE ledger.customer_cap (
    customer_number bigint   NOT NULL,
    day_minor_max   bigint   NOT NULL CHECK (day_minor_max >= 0),
    currency        smallint NOT NULL,
    PRIMARY KEY (customer_number, currency)
);

-- Who asked, through which channel. Rows are few per shard and small; transfers carry the number.
CREATE TABLE ledger.actor (
    actor_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel  text NOT NULL,
    subject  text NOT NULL,
    UNIQUE (subject, channel)
);

-- Every decision, refusals included, with the first leg; each leg has a sequence of its own, and a
-- transfer's sequence is its first leg's.
CREATE TABLE ledger.transfer (
    sequence       bigint      PRIMARY KEY,
    transfer_id    uuid        NOT NULL,  -- of a return: that of the crossing it gives back
    debit_account  bigint      NOT NULL,
    credit_account bigint      NOT NULL CHECK (credit_account <> debit_account),
    amount_minor   bigint      NOT NULL CHECK (amount_minor >= 1 OR kind IN (6, 8)),
    fingerprint    bigint      NOT NULL,  -- of the body: tells a repeat from a reuse of the id
    booking_time   timestamptz NOT NULL,
    business_date  date        NOT NULL,
    value_date     date        NOT NULL,
    currency       smallint    NOT NULL,
    actor_id       integer     NOT NULL DEFAULT 0,  -- 0 for what the engine does by itself
    kind           smallint    NOT NULL CHECK (kind BETWEEN 1 AND 8),  -- 1 asked here, 2 landing, 3 return, holds:
                                               -- 4 placed, 5 increased, 6 released, 7 expired; 8 buried
    outcome        smallint    NOT NULL CHECK (outcome IN (1, 2, 3)),  -- 1 posted, 2 refused, 3 crossing
    refusal        smallint    NOT NULL CHECK ((refusal <> 0) = (outcome = 2)),
    leg_count      smallint    NOT NULL CHECK (leg_count >= 1),
    flags          smallint    NOT NULL DEFAULT 0,  -- bits: 1 limits overridden, 2 overdraw allowed
    reference      text        NOT NULL,
    CHECK (outcome <> 3 OR kind = 1),
    CHECK (amount_minor <= 1000000000000000)
);

-- An id means one thing, for ever. Returns are kept single by crossing_returned, expiries by hold.
CREATE UNIQUE INDEX transfer_id_is_unique ON ledger.transfer (transfer_id) WHERE kind NOT IN (3, 7);

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

-- What a transfer or a hold's command refers to: 1 captures a hold, 2 reverses a transfer, 3 changes a hold.
CREATE TABLE ledger.relation (
    sequence     bigint   NOT NULL,
    target_id    uuid     NOT NULL,
    amount_minor bigint   NOT NULL,
    relation     smallint NOT NULL CHECK (relation IN (1, 2, 3)),
    PRIMARY KEY (target_id, sequence)
);
CREATE INDEX relation_of_transfer ON ledger.relation (sequence);

-- Both sides of every posted leg, under the leg's sequence: debit negative, credit positive; and, with
-- amount 0, what sets money aside or frees it. The key is the order of history, so that the state at
-- any moment is one seek.
CREATE TABLE ledger.entry (
    account_number      bigint NOT NULL,
    version             bigint NOT NULL CHECK (version >= 1),
    sequence            bigint NOT NULL,
    amount_minor        bigint NOT NULL,
    balance_after_minor bigint NOT NULL,
    held_after_minor    bigint NOT NULL CHECK (held_after_minor >= 0),
    PRIMARY KEY (account_number, sequence)
);

-- Where each business day begins in the journal; days on which nothing was written are absent.
CREATE TABLE ledger.day (
    business_date  date   PRIMARY KEY,
    first_sequence bigint NOT NULL
);

-- Entries whose value date is not their business day: the few that make the two kinds of balance differ.
CREATE TABLE ledger.value_dated (
    account_number bigint NOT NULL,
    sequence       bigint NOT NULL,
    amount_minor   bigint NOT NULL,
    business_date  date   NOT NULL,
    value_date     date   NOT NULL CHECK (value_date <> business_date),
    PRIMARY KEY (account_number, sequence)
);

-- Money set aside, as it is now. How it came about stands in transfer and relation.
CREATE TABLE ledger.hold (
    hold_id        uuid        PRIMARY KEY,
    account_number bigint      NOT NULL,
    amount_minor   bigint      NOT NULL CHECK (amount_minor >= 1),
    captured_minor bigint      NOT NULL CHECK (captured_minor BETWEEN 0 AND amount_minor),
    payee_account  bigint      NOT NULL,  -- 0 for any
    expire_time    timestamptz NOT NULL,
    place_date     date        NOT NULL,  -- business day it counts for
    currency       smallint    NOT NULL,
    state          smallint    NOT NULL CHECK (state IN (1, 2, 3, 4)),  -- open, captured, released, expired
    CHECK ((captured_minor > 0) = (state = 2))
);
CREATE INDEX hold_open ON ledger.hold (expire_time) WHERE state = 1;
CREATE INDEX hold_of_account ON ledger.hold (account_number, expire_time);

-- What accounts with an allowance per day spent, after the batch that ended with a sequence.
CREATE TABLE ledger.spending (
    account_number bigint NOT NULL,
    sequence       bigint NOT NULL,
    minor          bigint NOT NULL,
    count          bigint NOT NULL,
    business_date  date   NOT NULL,
    PRIMARY KEY (account_number, sequence)
);

-- What customers with a cap spent, likewise.
CREATE TABLE ledger.customer_spending (
    customer_number bigint   NOT NULL,
    sequence        bigint   NOT NULL,
    minor           bigint   NOT NULL,
    count           bigint   NOT NULL,
    business_date   date     NOT NULL,
    currency        smallint NOT NULL,
    PRIMARY KEY (customer_number, currency, sequence)
);

-- Changes of accounts' slow facts, refused ones included, with who and why.
CREATE TABLE ledger.account_change (
    sequence              bigint      PRIMARY KEY,
    change_id             uuid        NOT NULL UNIQUE,
    account_number        bigint      NOT NULL,
    change_time           timestamptz NOT NULL,
    fingerprint           bigint      NOT NULL,
    restrictions_before   smallint    NOT NULL,
    restrictions          smallint,  -- NULL: unchanged
    floor_before_minor    bigint      NOT NULL,
    floor_minor           bigint,    -- NULL: unchanged
    sets_allowance        boolean     NOT NULL,
    balance_minor_max     bigint,
    transfer_minor_max    bigint,
    day_minor_max         bigint,
    day_count_max         bigint,
    customer_day_minor_max bigint,   -- NULL: unchanged; -1: lifted
    balance_before_minor_max  bigint,
    transfer_before_minor_max bigint,
    day_before_minor_max      bigint,
    day_before_count_max      bigint,
    actor_id              integer     NOT NULL,
    refusal               smallint    NOT NULL,
    reason                text        NOT NULL
);
CREATE INDEX account_change_of_account ON ledger.account_change (account_number, sequence);

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
    FOREACH append_only IN ARRAY ARRAY['transfer', 'further_leg', 'external_creditor', 'entry', 'relation', 'actor',
                                       'spending', 'customer_spending', 'account_change', 'day', 'value_dated', 'crossing_out',
                                       'crossing_returned', 'crossing_landed', 'crossing_refused'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', append_only);
    END LOOP;
END
$$;
