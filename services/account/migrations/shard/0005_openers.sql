-- Who asked for a customer or an account to be opened, through which channel and under which id: in the row
-- that the opening writes first, so in its transaction, and never changed. NULL for what was opened before.

ALTER TABLE account.customer
    ADD COLUMN request_id uuid,
    ADD COLUMN channel    text,
    ADD COLUMN subject    text,
    ADD CONSTRAINT opener_is_whole CHECK (num_nulls(request_id, channel, subject) IN (0, 3));
ALTER TABLE account.account
    ADD COLUMN request_id uuid,
    ADD COLUMN channel    text,
    ADD COLUMN subject    text,
    ADD CONSTRAINT opener_is_whole CHECK (num_nulls(request_id, channel, subject) IN (0, 3));

CREATE FUNCTION account.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'who opened %.% stays', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER opener_stays BEFORE UPDATE OF request_id, channel, subject ON account.customer
    FOR EACH STATEMENT EXECUTE FUNCTION account.refuse_change();
CREATE TRIGGER opener_stays BEFORE UPDATE OF request_id, channel, subject ON account.account
    FOR EACH STATEMENT EXECUTE FUNCTION account.refuse_change();
