-- What is global and small: the directory, how full its slots are, the partner banks.
-- Nothing here grows with customers.

CREATE SCHEMA control;

-- One row. Whoever changes anything that the directory shows locks it first and raises the version.
CREATE TABLE control.bank (
    only_row          boolean    PRIMARY KEY DEFAULT true CHECK (only_row),
    directory_version bigint     NOT NULL,
    currencies        smallint[] NOT NULL  -- ISO 4217 numeric, ascending
);
INSERT INTO control.bank (directory_version, currencies) VALUES (0, '{}');

CREATE TABLE control.shard (
    customer_quota   bigint   NOT NULL CHECK (customer_quota >= 1),
    customer_count   bigint   NOT NULL DEFAULT 0 CHECK (customer_count >= 0),  -- sum of its slots' last_serial
    slot_count       integer  NOT NULL DEFAULT 0 CHECK (slot_count >= 0),      -- how many slots say this shard
    shard_id         smallint PRIMARY KEY CHECK (shard_id BETWEEN 1 AND 999),
    ledger_addresses text[]   NOT NULL
);

CREATE TABLE control.slot (
    epoch       bigint   NOT NULL DEFAULT 1 CHECK (epoch >= 1),  -- grows by one each time the slot moves
    last_serial integer  NOT NULL DEFAULT 0 CHECK (last_serial BETWEEN 0 AND 99999999),  -- of customers
    slot        smallint PRIMARY KEY CHECK (slot BETWEEN 0 AND 8999),
    shard_id    smallint NOT NULL REFERENCES control.shard
) WITH (fillfactor = 50);
CREATE INDEX slot_of_shard ON control.slot (shard_id, slot);

CREATE TABLE control.partner_bank (
    partner_number smallint PRIMARY KEY CHECK (partner_number BETWEEN 1 AND 999),
    is_ready       boolean  NOT NULL DEFAULT false,  -- its nostro accounts are in all books; shown from then on
    bank_code      text     NOT NULL UNIQUE CHECK (bank_code <> '')
);
