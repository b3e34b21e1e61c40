-- Fees are legs that the bank adds to a transfer: they are marked, so that nobody takes them for what the
-- caller asked. `transfer.flags` has one bit more: 4 says that no fee was taken whatever the product says.

ALTER TABLE ledger.further_leg ADD COLUMN is_fee boolean NOT NULL DEFAULT false;
