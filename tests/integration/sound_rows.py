"""What `sound_books.py` keeps of accounts, holds and peers, and the tables that it writes.

Never here: what is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

UNLIMITED = (None, None, None, None)

COLUMNS = {
    "account": "account_number floor_minor open_time currency restrictions customer_number",
    "transfer": "sequence transfer_id debit_account credit_account amount_minor fingerprint booking_time "
    "business_date value_date currency kind outcome refusal leg_count reference flags",
    "further_leg": "sequence transfer_sequence debit_account credit_account amount_minor currency is_fee",
    "relation": "sequence target_id amount_minor relation",
    "entry": "account_number version sequence amount_minor balance_after_minor held_after_minor",
    "day": "business_date first_sequence",
    "value_dated": "account_number sequence amount_minor business_date value_date",
    "metadata": "sequence key value",
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
WRITE_VALUE_SUM = """
INSERT INTO ledger.value_sum (account_number, width_days, first_day, amount_minor) VALUES ($1, $2, $3, $4)
ON CONFLICT (account_number, width_days, first_day) DO UPDATE SET amount_minor = excluded.amount_minor
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


@dataclass
class Purse:
    """What was spent on a day out of something that has a limit per day."""

    day: date | None = None
    minor: int = 0
    count: int = 0

    def spend(self, day: date, minor: int, count: int) -> None:
        if self.day != day:
            self.day, self.minor, self.count = day, 0, 0
        self.minor += minor
        self.count += count


@dataclass
class Account:
    """An account's state; its limits are those of `account_change`, in that order."""

    currency: int
    floor: int = 0
    customer: int = 0
    version: int = 0
    balance: int = 0
    held: int = 0
    restrictions: int = 0
    limits: tuple[int | None, ...] = UNLIMITED
    purse: Purse | None = None


@dataclass
class Hold:
    """Money set aside; states as in `ledger.hold`."""

    account: int
    amount: int
    payee: int
    expire_time: datetime
    place_date: date
    currency: int
    state: int = 1
    captured: int = 0


@dataclass
class Peer:
    """How far crossings have come."""

    sent: int = 0
    acknowledged: int = 0
    landed: int = 0


@dataclass
class Crossing:
    """What travels to the payee's shard, with the further legs that stay at home."""

    transfer_id: UUID
    debit: int
    credit: int
    amount: int
    currency: int
    value_date: date
    reference: str
    further: Sequence[tuple[int, ...]] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Special:
    """What makes a transfer more than a movement of free funds."""

    hold: UUID | None = None
    original: UUID | None = None
    flags: int = 0


PLAIN = Special()
