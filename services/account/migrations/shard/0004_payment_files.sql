-- Payment files that the bank has seen: an initiating party's message id stands for one content, for ever.
-- The shard of the id's home slot keeps it, as it keeps other names.

CREATE TABLE account.payment_file (
    customer_number  bigint      NOT NULL,  -- whose message ids these are; 0 for the whole bank's
    create_time      timestamptz NOT NULL DEFAULT now(),
    transfer_count   integer     NOT NULL CHECK (transfer_count >= 0),
    slot             smallint    NOT NULL CHECK (slot BETWEEN 0 AND 8999),  -- home slot: the file moves with it
    digest           bytea       NOT NULL CHECK (length(digest) = 32),
    initiating_party text        NOT NULL,
    message_id       text        NOT NULL,
    channel          text        NOT NULL,  -- of who registered it, as the two that follow
    subject          text        NOT NULL,
    PRIMARY KEY (message_id, initiating_party, customer_number)
);
