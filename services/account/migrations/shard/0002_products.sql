-- Which version of which product an account has, and how it came to another one.

ALTER TABLE account.account
    ADD COLUMN product_version integer NOT NULL DEFAULT 0,
    ADD COLUMN product_code    text    NOT NULL DEFAULT '',  -- empty for none
    ADD CONSTRAINT product_has_a_version CHECK ((product_code = '') = (product_version = 0));

-- Moves of accounts between versions, each begun here, carried out in the books, then done here. What a
-- caller was told under a request id stays.
CREATE TABLE account.product_move (
    request_id     uuid        PRIMARY KEY,
    account_number bigint      NOT NULL REFERENCES account.account,
    fingerprint    bigint      NOT NULL,  -- of the request's body
    done_sequence  bigint      UNIQUE,    -- order in which this shard's moves were done, without gaps
    create_time    timestamptz NOT NULL DEFAULT now(),
    from_version   integer     NOT NULL,
    to_version     integer     NOT NULL,
    state          smallint    NOT NULL DEFAULT 1 CHECK (state IN (1, 2, 3)),  -- begun, done, refused by the books
    refusal        smallint    NOT NULL DEFAULT 0,
    from_code      text        NOT NULL,
    to_code        text        NOT NULL,
    reason         text        NOT NULL,
    channel        text        NOT NULL,  -- of who asked
    subject        text        NOT NULL,
    CHECK ((state = 2) = (done_sequence IS NOT NULL)),
    CHECK ((state = 3) = (refusal <> 0))
);
CREATE UNIQUE INDEX one_move_at_a_time ON account.product_move (account_number) WHERE state = 1;
CREATE INDEX product_move_of_account ON account.product_move (account_number, create_time);
