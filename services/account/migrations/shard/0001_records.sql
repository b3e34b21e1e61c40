-- Customers and accounts of one shard, and the names that this shard keeps for the whole bank.
-- The schema lies beside the ledger's and knows nothing of it.

CREATE SCHEMA account;

-- A name and the number it stands for, for ever. The shard of the name's home slot keeps it, so a
-- name is unique over the bank; the number may live on any shard.
CREATE TABLE account.claim (
    number      bigint   NOT NULL,
    fingerprint bigint   NOT NULL,  -- of the request's body; 0 for external references
    slot        smallint NOT NULL CHECK (slot BETWEEN 0 AND 8999),  -- home slot: a name moves with it
    kind        smallint NOT NULL CHECK (kind IN (1, 2, 3, 4)),  -- customer request, customer reference,
                                                                 -- account request, account reference
    key         bytea    NOT NULL,
    PRIMARY KEY (kind, key)
);

CREATE TABLE account.customer (
    customer_number    bigint      PRIMARY KEY CHECK (customer_number % 97 = 1),
    create_time        timestamptz NOT NULL DEFAULT now(),
    state              smallint    NOT NULL DEFAULT 1 CHECK (state IN (1, 2)),  -- opening, active
    external_reference text        NOT NULL,
    display_name       text        NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX customer_opening ON account.customer (create_time) WHERE state = 1;

CREATE TABLE account.account (
    account_number     bigint      PRIMARY KEY CHECK (account_number % 97 = 1),
    customer_number    bigint      NOT NULL REFERENCES account.customer,
    create_time        timestamptz NOT NULL DEFAULT now(),
    currency           smallint    NOT NULL CHECK (currency BETWEEN 1 AND 999),  -- ISO 4217 numeric
    state              smallint    NOT NULL DEFAULT 1 CHECK (state IN (1, 2, 3)),  -- opening, active, closed
    external_reference text        NOT NULL,
    CONSTRAINT account_lies_in_its_customers_slot CHECK (account_number / 1000000000000 = customer_number / 10000000000)
) WITH (fillfactor = 90);
CREATE INDEX account_of_customer ON account.account (customer_number, account_number);
CREATE INDEX account_opening ON account.account (create_time) WHERE state = 1;

-- The last account serial given out in each slot.
CREATE TABLE account.slot_serial (
    last_serial bigint   NOT NULL CHECK (last_serial BETWEEN 0 AND 9999999999),
    slot        smallint PRIMARY KEY CHECK (slot BETWEEN 0 AND 8999)
) WITH (fillfactor = 50);
