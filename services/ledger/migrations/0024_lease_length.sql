-- How long a lease is worth when nobody renews it, in seconds. Standbys count them by their own clocks, from when they
-- first saw the lease as it is: the database's clock may be set. NULL: an older release wrote it.
ALTER TABLE ledger.writer_lease ADD COLUMN seconds float8 CHECK (seconds > 0);
