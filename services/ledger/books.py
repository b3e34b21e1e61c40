"""The books of one shard as values: accounts, holds, transfers, decisions.

What a batch would write is a `Draft` (`draft.py`); whether it may, `posting.py` and others. Never here: rules, I/O.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from services.domain.metadata import Metadata

NO_LEG: Final = -1
"""No leg in particular: nothing was refused, or there is one leg only."""


class Restriction(IntFlag):
    """What an account's state forbids."""

    DEBITS_FROZEN = 1
    CREDITS_FROZEN = 2
    CLOSED = 4
    RESERVED = 8
    """Only the engine itself moves it (transit accounts); to callers there is no such account."""
    PENDING = 16
    DORMANT = 32
    """No debits until somebody wakes it; credits are welcome."""


class Kind(IntEnum):
    """Why a transfer stands in this shard's books."""

    ASKED = 1
    LANDING = 2
    RETURN = 3
    HOLD_PLACED = 4
    HOLD_INCREASED = 5
    HOLD_RELEASED = 6
    HOLD_EXPIRED = 7
    BURIED = 8
    """Not asked for yet, and refused if it ever is: its reversal, or its refusal, came first."""
    PROMISED = 9
    """This shard's part of a transfer that another shard decides."""
    KEPT = 10
    """How such a part was posted."""
    DROPPED = 11
    """How such a part was not posted."""


class PlaceError(IntEnum):
    """Why a transfer of a call has no outcome; nothing was written for it, except where that is not known."""

    TRANSFER_ID_REUSED = 1
    PAYEE_SHARD_UNREACHABLE = 2
    UNDECIDED = 3
    """Its legs lie on several shards, and whether all of them promise is not known."""
    WRONG_SHARD = 4
    OUTCOME_UNKNOWN = 5
    """As UNDECIDED, but it may have been decided: only asking again tells."""
    ORIGINAL_IN_TRANSIT = 6
    """It reverses a transfer that may still arrive or come back, as far as this shard knows."""


class Allowance(NamedTuple):
    """What an account may do beyond its floor, in minor units; None where there is no limit."""

    balance_minor_max: int | None = None
    transfer_minor_max: int | None = None
    """Of one debit."""
    day_minor_max: int | None = None
    """Of all debits and placed holds of one business day."""
    day_count_max: int | None = None
    """How many debits and placed holds there may be on one business day."""


class Spent(NamedTuple):
    """What was debited or set aside on one business day."""

    business_date: int = 0
    minor: int = 0
    times: int = 0


class AccountState:
    """An account as its last entry left it, with its slow-changing facts. Amounts in minor units."""

    __slots__ = (
        "allowance",
        "balance_minor",
        "currency",
        "customer_number",
        "floor_minor",
        "held_minor",
        "is_capped",
        "number",
        "promised_minor",
        "restrictions",
        "row",
        "spent",
        "version",
    )

    def __init__(
        self,
        number: int,
        currency: int,
        floor_minor: int,
        restrictions: int = 0,
        version: int = 0,
        balance_minor: int = 0,
        held_minor: int = 0,
        customer_number: int = 0,
        allowance: Allowance | None = None,
        spent: Spent | None = None,
        is_capped: bool = False,
    ) -> None:
        self.number = number
        self.currency = currency
        self.floor_minor = floor_minor
        self.restrictions = restrictions
        self.version = version
        self.balance_minor = balance_minor
        self.held_minor = held_minor
        self.customer_number = customer_number
        self.allowance = allowance
        """None for an account without any."""
        self.spent = spent
        """Only kept for an account with an allowance per day."""
        self.is_capped = is_capped
        """Whether a cap over all of its customer's accounts in this currency holds."""
        self.promised_minor = 0
        """What open promises will credit, if they are kept."""
        self.row: bytearray | None = None
        """Where the writer remembers it, for `remembered.py` alone; None when that is not known."""

    def become(self, twin: "AccountState") -> None:
        """Take over what a twin says."""
        self.currency = twin.currency
        self.floor_minor = twin.floor_minor
        self.restrictions = twin.restrictions
        self.version = twin.version
        self.balance_minor = twin.balance_minor
        self.held_minor = twin.held_minor
        self.customer_number = twin.customer_number
        self.allowance = twin.allowance
        self.spent = twin.spent
        self.is_capped = twin.is_capped
        self.promised_minor = twin.promised_minor

    def copy(self) -> "AccountState":
        """Return a twin that may be changed."""
        twin = AccountState.__new__(AccountState)
        twin.number = self.number
        twin.currency = self.currency
        twin.floor_minor = self.floor_minor
        twin.restrictions = self.restrictions
        twin.version = self.version
        twin.balance_minor = self.balance_minor
        twin.held_minor = self.held_minor
        twin.customer_number = self.customer_number
        twin.allowance = self.allowance
        twin.spent = self.spent
        twin.is_capped = self.is_capped
        twin.promised_minor = self.promised_minor
        twin.row = self.row
        return twin


class CapKey(NamedTuple):
    """Whose cap, in which currency."""

    customer_number: int
    currency: int


class Cap(NamedTuple):
    """What a customer may debit a day over all accounts of one currency, and what was spent of it."""

    day_minor_max: int
    spent: Spent


class HoldState(IntEnum):
    """Where a hold is in its life; all but OPEN are for ever."""

    OPEN = 1
    CAPTURED = 2
    RELEASED = 3
    EXPIRED = 4


class Hold(NamedTuple):
    """Money set aside."""

    hold_id: bytes
    account_number: int
    currency: int
    amount_minor: int
    expire_time_us: int
    payee_account: int
    """The only account that a capture may credit; 0 for any."""
    place_date: int
    """Business day it counts for, in days since 1970-01-01."""
    state: int
    captured_minor: int


class Original(NamedTuple):
    """A transfer that somebody wants reversed, as this shard has it: asked for or landed here."""

    transfer_id: bytes
    outcome: int
    legs: tuple["Leg", ...]
    reversed_minor: int
    """What reversals have given back already."""


class Leg(NamedTuple):
    """One movement between two accounts."""

    debit_account: int
    credit_account: int
    amount_minor: int
    currency: int
    is_fee: bool = False
    """Whether the bank added it: its own income, not what the caller asked for."""

    def turned(self) -> "Leg":
        """Return the leg the other way round."""
        return self._replace(debit_account=self.credit_account, credit_account=self.debit_account)


class Creditor(NamedTuple):
    """Who is paid at another bank."""

    bank_code: str
    account: str
    creditor_name: str
    remittance_text: str


class Decision(NamedTuple):
    """What an id means: enough to answer whoever sends it again."""

    fingerprint: int
    kind: int
    outcome: int
    refusal: int
    booking_time_us: int
    peer_id: int
    """Peer of a crossing; 0 when there is none."""
    number: int
    """Number of a crossing at that peer."""
    has_fee: bool = False
    """Whether fee legs went with it, so that a repeat can be told which."""
    leg: int = NO_LEG
    """Which of several legs was refused."""


class TransferRow(NamedTuple):
    """A row of `ledger.transfer`; dates in days since 1970-01-01."""

    sequence: int
    transfer_id: bytes
    debit_account: int
    credit_account: int
    amount_minor: int
    fingerprint: int
    value_date: int
    currency: int
    kind: int
    outcome: int
    refusal: int
    leg_count: int
    reference: str
    actor_id: int = 0
    flags: int = 0


class Flag(IntFlag):
    """What a transfer was allowed beyond the rules, and how it counts; recorded with it."""

    LIMITS_OVERRIDDEN = 1
    OVERDRAW = 2
    """The payer's floor was set aside: only for reversals whose policy says so."""
    FEES_WAIVED = 4
    """No fee was taken, whatever the payer's product says."""
    GIVES_BACK = 8
    """Part of a reversal, promised: nobody's spending."""
    PASSES_ON = 16
    """A promise whose legs pay with what legs before them bring: they set aside only the rest."""


class Relation(IntEnum):
    """How a transfer refers to something before it."""

    CAPTURES = 1
    """A hold, by its id."""
    REVERSES = 2
    """A transfer, by its id."""
    HOLD = 3
    """The hold that a command increases or releases."""


class Special(NamedTuple):
    """What makes a transfer more than a movement of the payer's free funds."""

    hold_id: bytes | None = None
    """The hold that it captures: pays from what was set aside and frees the rest."""
    original_id: bytes | None = None
    """The transfer that it reverses, whole or in part."""
    flags: int = 0
    fee_minor_max: int | None = None
    """The most that its fee legs may take together; None for any."""


class Actor(NamedTuple):
    """Who asked, through which channel."""

    channel: str
    subject: str


ENGINE: Final = Actor("", "")
"""Nobody asked: what the engine does by itself. Its number in the books is 0."""


@dataclass(slots=True)
class Transfers:
    """Transfers to decide, in columns: place i of every column is transfer i's first leg."""

    transfer_ids: list[bytes]
    debit_accounts: list[int]
    credit_accounts: list[int]
    amounts_minor: list[int]
    currencies: list[int]
    fingerprints: list[int]
    references: list[str] | None = None
    value_dates: list[int] | None = None
    """Days since 1970-01-01; 0 for the business date."""
    peers: list[int] | None = None
    """Shard of each credit account where that is not this shard, else 0; None when all are 0."""
    payee_refusals: dict[int, int] = field(default_factory=dict)
    """What the payees' shards said of them beforehand, by place."""
    errors: dict[int, PlaceError] = field(default_factory=dict)
    """Places not to be decided at all."""
    creditors: dict[int, Creditor] = field(default_factory=dict)
    further_legs: dict[int, list[Leg]] = field(default_factory=dict)
    specials: dict[int, Special] = field(default_factory=dict)
    """Captures, reversals and dispensations, by place."""
    metadata: dict[int, Metadata] = field(default_factory=dict)
    spans: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Places with legs on several shards, other than one crossing: shards of each leg's payer and payee."""
    actors: list[Actor] | None = None
    actor_ids: list[int] | None = None
    """The numbers of `actors` in the books, put in before deciding."""


class HoldCommand(NamedTuple):
    """One thing to do with a hold. `command_id` is the hold's own when it is placed."""

    kind: int
    """`Kind.HOLD_PLACED`, `HOLD_INCREASED` or `HOLD_RELEASED`."""
    command_id: bytes
    hold_id: bytes
    account_number: int
    amount_minor: int
    currency: int
    seconds: int
    """How long it holds from now on; when increased, 0 leaves that as it is."""
    payee_account: int
    reference: str
    fingerprint: int
    flags: int
    actor: Actor


@dataclass(slots=True)
class Answers:
    """What became of `Transfers`, in columns."""

    outcomes: list[int]
    refusals: list[int]
    booking_times_us: list[int]
    errors: dict[int, PlaceError]
    crossings: dict[int, tuple[int, int]]
    """Places still in transit: (peer, number)."""
    refused_legs: dict[int, int] = field(default_factory=dict)
    """Which leg was refused, by place, of transfers of several legs."""
    repeats: list[int] = field(default_factory=list)
    """Places whose id had its outcome before, where fee legs are or were."""
