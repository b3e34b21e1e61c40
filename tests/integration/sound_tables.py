"""The tables that `sound_books.py` writes: columns in its order, and what is updated in place.

Never here: what is written.
"""

COLUMNS = {
    "account": "account_number floor_minor open_time currency restrictions customer_number",
    "transfer": "sequence transfer_id debit_account credit_account amount_minor fingerprint booking_time "
    "business_date value_date currency kind outcome refusal leg_count reference flags",
    "further_leg": "sequence transfer_sequence debit_account credit_account amount_minor currency",
    "relation": "sequence target_id amount_minor relation",
    "entry": "account_number version sequence amount_minor balance_after_minor held_after_minor",
    "day": "business_date first_sequence",
    "value_dated": "account_number sequence amount_minor business_date value_date",
    "spending": "account_number sequence minor count business_date",
    "customer_spending": "customer_number currency sequence minor count business_date",
    "account_change": "sequence change_id account_number change_time fingerprint restrictions_before restrictions "
    "floor_before_minor floor_minor sets_allowance balance_minor_max transfer_minor_max day_minor_max day_count_max "
    "customer_day_minor_max balance_before_minor_max transfer_before_minor_max day_before_minor_max "
    "day_before_count_max actor_id refusal reason",
    "crossing_out": "number sequence peer_id",
    "crossing_returned": "number return_sequence peer_id refusal",
    "crossing_landed": "first_number last_number first_sequence peer_id",
    "crossing_refused": "number peer_id refusal",
}

WRITE_HEAD = "UPDATE ledger.journal_head SET last_sequence = $1, booking_time = $2"
WRITE_PEER = """
INSERT INTO ledger.peer (peer_id, sent_through, acknowledged_through, landed_through) VALUES ($1, $2, $3, $4)
ON CONFLICT (peer_id) DO UPDATE SET sent_through = excluded.sent_through,
       acknowledged_through = excluded.acknowledged_through, landed_through = excluded.landed_through
"""
WRITE_ACCOUNT = """
UPDATE ledger.account SET floor_minor = $2, restrictions = $3, balance_minor_max = $4, transfer_minor_max = $5,
       day_minor_max = $6, day_count_max = $7
 WHERE account_number = $1
"""
WRITE_CAP = """
INSERT INTO ledger.customer_cap (customer_number, currency, day_minor_max) VALUES ($1, $2, $3)
ON CONFLICT (customer_number, currency) DO UPDATE SET day_minor_max = excluded.day_minor_max
"""
WRITE_HOLD = """
INSERT INTO ledger.hold (hold_id, account_number, amount_minor, captured_minor, payee_account, expire_time, place_date,
                         currency, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (hold_id) DO UPDATE SET amount_minor = excluded.amount_minor, captured_minor = excluded.captured_minor,
       expire_time = excluded.expire_time, state = excluded.state
"""
