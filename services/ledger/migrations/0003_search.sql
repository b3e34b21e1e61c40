-- What transfers are found by and what balances by value date are read from.

-- What callers keep with a transfer, for the few that do: the body of the request, so refused ones have it too.
CREATE TABLE ledger.metadata (
    sequence bigint NOT NULL,  -- the transfer's
    key      text   NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 40),
    value    text   NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 1024),
    PRIMARY KEY (sequence, key)
);
-- Newest first for one key and value, page by page.
CREATE INDEX metadata_found ON ledger.metadata (key, value, sequence);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.metadata
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- Transfers that have a reference, by its digest: as narrow for the longest as for the shortest.
CREATE INDEX transfer_reference ON ledger.transfer (hashtextextended(reference, 0), sequence) WHERE reference <> '';

-- What is to be added to an account's booked balance to get the one by value date, in sums over days, 64
-- days and 4,096 days, each under its first day (days since 1970-01-01, multiples of 1, 64, 4096). An entry
-- adds its amount on its value date and takes it away on its business day; the sum up to a day is then
-- some 130 rows, whatever the account's history. Kept with the entries, in their transaction; the audit
-- holds the two against each other.
CREATE TABLE ledger.value_sum (
    account_number bigint   NOT NULL,
    first_day      integer  NOT NULL,
    width_days     smallint NOT NULL CHECK (width_days IN (1, 64, 4096)),
    amount_minor   numeric  NOT NULL,
    PRIMARY KEY (account_number, width_days, first_day),
    CHECK (first_day % width_days = 0)
);
INSERT INTO ledger.value_sum (account_number, first_day, width_days, amount_minor)
SELECT v.account_number, moved.day - moved.day % width.days, width.days, sum(moved.amount_minor)
  FROM ledger.value_dated v
 CROSS JOIN LATERAL (VALUES (v.value_date - date '1970-01-01', v.amount_minor),
                            (v.business_date - date '1970-01-01', -v.amount_minor)) AS moved (day, amount_minor)
 CROSS JOIN (VALUES (1::smallint), (64::smallint), (4096::smallint)) AS width (days)
 GROUP BY 1, 2, 3;
