-- The catalogue: versions of products, never changed once they are here, and what an account gets when
-- nobody asks for a product. Few and small: everybody keeps them whole.

CREATE TABLE control.product (
    currency  smallint    NOT NULL CHECK (currency BETWEEN 1 AND 999),  -- ISO 4217 numeric
    kind      smallint    NOT NULL CHECK (kind BETWEEN 1 AND 4),  -- current, savings, loan, internal
    version   integer     NOT NULL CHECK (version BETWEEN 1 AND 1000000),
    load_time timestamptz NOT NULL DEFAULT now(),
    code      text        NOT NULL CHECK (code <> ''),
    body      jsonb       NOT NULL,  -- hivecore.product.v1.Product
    PRIMARY KEY (code, version)
);

-- Code of the product that an account gets when none is asked for; empty for none.
CREATE TABLE control.default_product (
    currency smallint PRIMARY KEY CHECK (currency BETWEEN 1 AND 999),
    code     text     NOT NULL
);

-- One row. Whoever changes the catalogue locks it first and raises the version.
CREATE TABLE control.catalogue (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL
);
INSERT INTO control.catalogue (version) VALUES (0);

CREATE FUNCTION control.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON control.product
    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change();
