-- Transfers over several shards: what one shard promises and another decides.
-- A promise, and how it ends, stand in the journal as transfers of kinds 9 (made), 10 (kept: posted) and
-- 11 (dropped), under the id of the transfer that they are a part of.

ALTER TABLE ledger.transfer
    DROP CONSTRAINT transfer_kind_check,
    ADD CONSTRAINT transfer_kind_check CHECK (kind BETWEEN 1 AND 11);

-- How a promise ends repeats its id, as returns and expiries do; ledger.promise keeps it single.
DROP INDEX ledger.transfer_id_is_unique;
CREATE UNIQUE INDEX transfer_id_is_unique ON ledger.transfer (transfer_id) WHERE kind NOT IN (3, 7, 10, 11);

-- Legs with a side on another shard, by their sequences: through which peer's transit account that side
-- passes; 0 for a side that lies here. Both the same: the leg passes this shard by.
CREATE TABLE ledger.leg_route (
    sequence    bigint   PRIMARY KEY,
    debit_peer  smallint NOT NULL,
    credit_peer smallint NOT NULL,
    CHECK (debit_peer <> 0 OR credit_peer <> 0)
);

-- What this shard has promised, and how it ended. One row per transfer, updated once.
CREATE TABLE ledger.promise (
    transfer_id      uuid     PRIMARY KEY,
    home_id          smallint NOT NULL,  -- the shard that decides
    sequence         bigint   NOT NULL UNIQUE,  -- of the transfer of kind 9
    state            smallint NOT NULL CHECK (state IN (1, 2, 3)),  -- open, kept, dropped
    refusal          smallint NOT NULL CHECK ((refusal <> 0) = (state = 3)),
    resolve_sequence bigint   UNIQUE CHECK (resolve_sequence > sequence),  -- of kind 10 or 11; NULL while open
    CHECK ((resolve_sequence IS NULL) = (state = 1))
);
CREATE INDEX promise_open ON ledger.promise (sequence) WHERE state = 1;

-- What this shard has decided for others, numbered among the crossings to each peer. A transfer is decided
-- for a peer once.
CREATE TABLE ledger.decision_out (
    number         bigint   NOT NULL,
    sequence       bigint   NOT NULL,  -- of the transfer; of whatever bears its id, when that is not it
    transfer_id    uuid     NOT NULL,
    account_number bigint   NOT NULL,  -- whose promise, should the peer not know the id
    peer_id        smallint NOT NULL,
    outcome        smallint NOT NULL CHECK (outcome IN (1, 2)),
    refusal        smallint NOT NULL CHECK ((refusal <> 0) = (outcome = 2)),
    PRIMARY KEY (peer_id, number),
    UNIQUE (transfer_id, peer_id)
);

-- Decisions that arrived, numbered among the crossings from each peer.
CREATE TABLE ledger.decision_landed (
    number      bigint   NOT NULL,
    sequence    bigint   NOT NULL,  -- what it wrote: kind 10, 11, or 8 where nothing was promised; 0 for nothing
    transfer_id uuid     NOT NULL,
    peer_id     smallint NOT NULL,
    outcome     smallint NOT NULL CHECK (outcome IN (1, 2)),
    refusal     smallint NOT NULL CHECK ((refusal <> 0) = (outcome = 2)),
    PRIMARY KEY (peer_id, number)
);

-- Of refused transfers of several legs, which leg is to blame, from 0.
CREATE TABLE ledger.refused_leg (
    sequence bigint   PRIMARY KEY,
    leg      smallint NOT NULL CHECK (leg >= 0)
);

DO $$
DECLARE
    append_only text;
BEGIN
    FOREACH append_only IN ARRAY ARRAY['leg_route', 'decision_out', 'decision_landed', 'refused_leg'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', append_only);
    END LOOP;
END
$$;
