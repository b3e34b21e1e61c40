-- What the account service says to PostgreSQL. The first part speaks to the control database
-- (`store.py`), the second to the schema `account` of a shard (`records.py`).

-- lock_bank --
-- Locks the directory against other changes and returns its version.
SELECT directory_version, currencies FROM control.bank FOR UPDATE;

-- read_bank --
SELECT directory_version, currencies FROM control.bank;

-- set_bank --
-- Makes a new version of the directory.
UPDATE control.bank SET directory_version = directory_version + 1, currencies = $1;

-- read_shards --
SELECT shard_id, ledger_addresses, customer_quota, customer_count, slot_count FROM control.shard ORDER BY shard_id;

-- put_shard --
INSERT INTO control.shard (shard_id, ledger_addresses, customer_quota) VALUES ($1, $2, $3)
    ON CONFLICT (shard_id) DO UPDATE SET ledger_addresses = excluded.ledger_addresses,
                                         customer_quota = excluded.customer_quota;

-- put_slots --
-- Gives a stretch of slots, both ends inclusive, that nobody has yet to a shard.
WITH given AS (
    INSERT INTO control.slot (slot, shard_id) SELECT slot, $1 FROM generate_series($2::int, $3::int) AS slot RETURNING 1
)
UPDATE control.shard SET slot_count = slot_count + (SELECT count(*) FROM given) WHERE shard_id = $1;

-- read_slot_ranges --
-- Neighbouring slots of one shard and epoch as one row.
SELECT min(slot) AS first_slot, max(slot) AS last_slot, shard_id, epoch
  FROM (SELECT slot, shard_id, epoch, slot - row_number() OVER (PARTITION BY shard_id, epoch ORDER BY slot) AS island
          FROM control.slot) AS slots
 GROUP BY shard_id, epoch, island
 ORDER BY first_slot;

-- lock_fills --
-- Locks the shards that take customers against other placements and returns how full they are.
SELECT shard_id, customer_quota, customer_count, slot_count
  FROM control.shard WHERE slot_count > 0 ORDER BY shard_id FOR NO KEY UPDATE;

-- slots_with_room --
-- The first slots of each shard that have room, as many as could be needed: one per customer at most.
SELECT slot.shard_id, slot.slot, slot.last_serial
  FROM unnest($1::smallint[], $2::int[], $3::int[]) AS asked (shard_id, slot_capacity, customer_count)
 CROSS JOIN LATERAL (SELECT shard_id, slot, last_serial
                       FROM control.slot
                      WHERE slot.shard_id = asked.shard_id AND slot.last_serial < asked.slot_capacity
                      ORDER BY slot LIMIT asked.customer_count) AS slot
 ORDER BY slot.slot;

-- take_serials --
-- Gives out the next serials of slots and counts the customers on their shards.
WITH taken AS (
    UPDATE control.slot SET last_serial = last_serial + asked.customer_count
      FROM unnest($1::smallint[], $2::int[]) AS asked (slot, customer_count)
     WHERE slot.slot = asked.slot
    RETURNING slot.shard_id, asked.customer_count
)
UPDATE control.shard SET customer_count = shard.customer_count + placed.customer_count
  FROM (SELECT shard_id, sum(customer_count) AS customer_count FROM taken GROUP BY shard_id) AS placed
 WHERE shard.shard_id = placed.shard_id;

-- read_partners --
SELECT partner_number, bank_code, is_ready FROM control.partner_bank ORDER BY partner_number;

-- put_partners --
INSERT INTO control.partner_bank (partner_number, bank_code) SELECT * FROM unnest($1::smallint[], $2::text[]);

-- show_partners --
-- Makes partner banks visible in a new version of the directory, if any was not yet.
WITH shown AS (
    UPDATE control.partner_bank SET is_ready = true WHERE partner_number = ANY ($1::smallint[]) AND NOT is_ready RETURNING 1
)
UPDATE control.bank SET directory_version = directory_version + 1 WHERE EXISTS (SELECT FROM shown);

-- find_claims --
-- Returns what names stand for; names that nobody has claimed are simply absent from the answer.
SELECT claim.kind, claim.key, claim.number, claim.fingerprint
  FROM unnest($1::smallint[], $2::bytea[]) AS asked (kind, key)
  JOIN account.claim USING (kind, key);

-- put_claims --
-- Claims names in ascending order, so that two calls with the same names never wait for each other
-- in a circle. Returns how many were free; the others stay with whom they belong to.
WITH put AS (
    INSERT INTO account.claim (kind, key, number, fingerprint, slot)
    SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::smallint[])
                    AS wanted (kind, key, number, fingerprint, slot)
     ORDER BY kind, key
    ON CONFLICT (kind, key) DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM put;

-- take_account_serials --
-- Gives out the next account serials of slots, in ascending order of slot; returns the last of each.
INSERT INTO account.slot_serial AS given (slot, last_serial)
SELECT slot, account_count FROM unnest($1::smallint[], $2::bigint[]) AS asked (slot, account_count) ORDER BY slot
    ON CONFLICT (slot) DO UPDATE SET last_serial = given.last_serial + excluded.last_serial
RETURNING slot, last_serial;

-- put_customers --
-- Returns what was new; records that are there already stay as they are.
INSERT INTO account.customer (customer_number, external_reference, display_name, request_id, channel, subject)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[])
                AS wanted (customer_number, external_reference, display_name, request_id, channel, subject)
 ORDER BY customer_number
    ON CONFLICT (customer_number) DO NOTHING
RETURNING customer_number, external_reference, display_name, state, create_time, request_id, channel, subject;

-- put_accounts --
-- Returns what was new; records that are there already stay as they are.
INSERT INTO account.account (account_number, customer_number, currency, external_reference, product_code, product_version,
                             request_id, channel, subject)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::text[], $5::text[], $6::integer[], $7::uuid[],
                     $8::text[], $9::text[])
                AS wanted (account_number, customer_number, currency, external_reference, product_code, product_version,
                           request_id, channel, subject)
 ORDER BY account_number
    ON CONFLICT (account_number) DO NOTHING
RETURNING account_number, customer_number, currency, external_reference, state, create_time, product_code, product_version,
          request_id, channel, subject;

-- get_customers --
SELECT customer_number, external_reference, display_name, state, create_time, request_id, channel, subject
  FROM account.customer WHERE customer_number = ANY ($1::bigint[]);

-- get_accounts --
SELECT account_number, customer_number, currency, external_reference, state, create_time, product_code, product_version,
       request_id, channel, subject
  FROM account.account WHERE account_number = ANY ($1::bigint[]);

-- active_customers --
SELECT customer_number FROM account.customer WHERE customer_number = ANY ($1::bigint[]) AND state = 2;

-- list_accounts --
SELECT account_number, customer_number, currency, external_reference, state, create_time, product_code, product_version,
       request_id, channel, subject
  FROM account.account WHERE customer_number = $1 AND account_number > $2 ORDER BY account_number LIMIT $3;

-- activate_customers --
UPDATE account.customer SET state = 2 WHERE customer_number = ANY ($1::bigint[]) AND state = 1;

-- activate_accounts --
UPDATE account.account SET state = 2 WHERE account_number = ANY ($1::bigint[]) AND state = 1;

-- discard_customers --
-- Removes half-opened customers whose external reference turned out to be another's.
DELETE FROM account.customer WHERE customer_number = ANY ($1::bigint[]) AND state = 1;

-- discard_accounts --
-- Removes half-opened accounts whose external reference turned out to be another's.
DELETE FROM account.account WHERE account_number = ANY ($1::bigint[]) AND state = 1;

-- stale_customers --
-- Customers left half-opened for longer than $1 seconds, oldest first. Whatever lies in the future was left before the
-- clock was set back: to finish it early does no harm, to wait until its time comes again may take hours.
SELECT customer_number, external_reference, display_name, state, create_time, request_id, channel, subject
  FROM account.customer WHERE state = 1 AND (create_time < now() - make_interval(secs => $1) OR create_time > now())
 ORDER BY create_time LIMIT $2;

-- stale_accounts --
-- Accounts left half-opened for longer than $1 seconds, oldest first; by whatever clock, as above.
SELECT account_number, customer_number, currency, external_reference, state, create_time, product_code, product_version,
       request_id, channel, subject
  FROM account.account WHERE state = 1 AND (create_time < now() - make_interval(secs => $1) OR create_time > now())
 ORDER BY create_time LIMIT $2;

-- put_payment_file --
-- Claims a payment file's message id, unless it is claimed already.
INSERT INTO account.payment_file (customer_number, initiating_party, message_id, digest, transfer_count, channel, subject, slot)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (message_id, initiating_party, customer_number) DO NOTHING;

-- get_payment_file --
SELECT digest, create_time
  FROM account.payment_file WHERE customer_number = $1 AND initiating_party = $2 AND message_id = $3;

-- The catalogue (`product_store.py`), in the control database.

-- lock_catalogue --
SELECT version FROM control.catalogue FOR UPDATE;

-- catalogue_version --
SELECT version FROM control.catalogue;

-- read_products --
SELECT body FROM control.product ORDER BY code, version;

-- read_default_products --
SELECT currency, code FROM control.default_product WHERE code <> '' ORDER BY currency;

-- put_products --
INSERT INTO control.product (code, version, currency, kind, body)
SELECT * FROM unnest($1::text[], $2::integer[], $3::smallint[], $4::smallint[], $5::jsonb[]);

-- put_default_products --
INSERT INTO control.default_product (currency, code) SELECT * FROM unnest($1::smallint[], $2::text[])
    ON CONFLICT (currency) DO UPDATE SET code = excluded.code;

-- raise_catalogue --
UPDATE control.catalogue SET version = version + 1 RETURNING version;

-- Moves of accounts (`moves.py`), on the account's shard.

-- find_move --
SELECT request_id, account_number, fingerprint, from_code, from_version, to_code, to_version, state, refusal, reason,
       channel, subject
  FROM account.product_move WHERE request_id = $1;

-- begin_move --
-- From whatever product the account has now; nothing when the id is known or another move is under way.
INSERT INTO account.product_move (request_id, account_number, fingerprint, from_code, from_version, to_code, to_version,
                                  reason, channel, subject)
SELECT $1, account_number, $3, product_code, product_version, $4, $5, $6, $7, $8
  FROM account.account WHERE account_number = $2
    ON CONFLICT DO NOTHING;

-- lock_moves --
-- One at a time gets its place in the order, so that whoever reads on from a place misses none.
SELECT pg_advisory_xact_lock(hashtext('hivecore account.product_move'));

-- finish_move --
WITH done AS (
    UPDATE account.product_move
       SET state = 2, done_sequence = (SELECT coalesce(max(done_sequence), 0) + 1 FROM account.product_move)
     WHERE request_id = $1 AND state = 1
    RETURNING account_number, to_code, to_version
)
UPDATE account.account a SET product_code = done.to_code, product_version = done.to_version
  FROM done WHERE a.account_number = done.account_number;

-- refuse_move --
UPDATE account.product_move SET state = 3, refusal = $2 WHERE request_id = $1 AND state = 1;

-- stale_moves --
-- Moves begun longer than $1 seconds ago, oldest first; by whatever clock, as above.
SELECT request_id, account_number, fingerprint, from_code, from_version, to_code, to_version, state, refusal, reason,
       channel, subject
  FROM account.product_move WHERE state = 1 AND (create_time < now() - make_interval(secs => $1) OR create_time > now())
 ORDER BY create_time LIMIT $2;

-- moves_through --
SELECT coalesce(max(done_sequence), 0) FROM account.product_move;

-- moves_after --
SELECT done_sequence, account_number FROM account.product_move
 WHERE done_sequence > $1 ORDER BY done_sequence LIMIT $2;
