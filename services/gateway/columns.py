"""Transfers in columns: place i of every column belongs to transfer i. Pure.

One list per field instead of one object per transfer, so that thousands stay cheap. The columns are
those of `hivecore.ledger.v1.PostTransfersRequest`. One thing more: until a transfer is routed, a side
may be a chart code, a negative number that stands for one of the bank's own accounts without saying on
which shard. Never here: what the other values mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple, TypeVar

from services.domain.metadata import Metadata

T = TypeVar("T")


def chart_side(code: int, sub_number: int = 0) -> int:
    """Write an entry of the chart of accounts as a side."""
    return -(code * 1000 + sub_number)


def code_of_chart_side(side: int) -> tuple[int, int]:
    """Read code and sub-number back."""
    assert side < 0
    return divmod(-side, 1000)


class Creditor(NamedTuple):
    """Who is paid at another bank by the transfer at `place`."""

    place: int
    bank_code: str
    account: str
    creditor_name: str
    remittance_text: str


class FurtherLeg(NamedTuple):
    """A leg after the first of the transfer at `place`."""

    place: int
    debit_account: int
    credit_account: int
    amount_minor: int
    currency: int
    is_fee: bool = False
    """Whether the bank adds it; fees come last."""


class Actor(NamedTuple):
    """Who asks, through which channel."""

    channel: str
    subject: str


class Special(NamedTuple):
    """What makes a transfer more than a movement of the payer's free funds; ids are 16 bytes or empty."""

    hold_id: bytes = b""
    """The hold that it captures."""
    original_id: bytes = b""
    """The transfer that it reverses."""
    flags: int = 0
    fee_minor_max: int | None = None
    """The most that the caller agrees to be charged; None for any."""
    home_id: int = 0
    """The shard that decided what it reverses, when that is not the shard of the account which is paid last."""


LIMITS_OVERRIDDEN: Final = 1
"""Flag: the payer's limits are set aside."""
OVERDRAW: Final = 2
"""Flag, for reversals only: the payer's floor is set aside."""
FEES_WAIVED: Final = 4
"""Flag: no fee is charged."""


@dataclass(slots=True)
class Transfers:
    """Transfers; the columns have their first legs."""

    transfer_ids: bytes
    """16 bytes each."""
    debit_accounts: list[int]
    credit_accounts: list[int]
    amounts_minor: list[int]
    currencies: list[int]
    """ISO 4217 numeric."""
    references: list[str] = field(default_factory=list)
    """None at all or one per transfer."""
    value_dates: list[int] = field(default_factory=list)
    """Days since 1970-01-01, 0 when not given; none at all or one per transfer."""
    creditors: list[Creditor] = field(default_factory=list)
    further_legs: list[FurtherLeg] = field(default_factory=list)
    specials: dict[int, Special] = field(default_factory=dict)
    """By place, for the few that are."""
    metadata: dict[int, Metadata] = field(default_factory=dict)
    """By place, for those that have any."""
    actors: list[Actor] = field(default_factory=list)
    """Who asks, each once."""
    actor_places: list[int] = field(default_factory=list)
    """Who of `actors` asks, one per transfer; none at all when the first asks for all."""

    def __len__(self) -> int:
        return len(self.debit_accounts)


@dataclass(slots=True)
class Outcomes:
    """What became of transfers, in their order; the columns of the ledger's answer."""

    outcomes: Sequence[int]
    """0 where there is none."""
    refusals: Sequence[int]
    booking_times_us: Sequence[int]
    errors: Sequence[int]
    """None at all or one per transfer; 0 where there is an outcome."""
    repeats: Sequence[int] = field(default_factory=list)
    """Places that had their outcome before, where there is or was a fee."""
    refused_legs: Mapping[int, int] = field(default_factory=dict)
    """Which of several legs is to blame, by place."""


def transfer_id(transfers: Transfers, place: int) -> bytes:
    """Return the 16 bytes of one transfer's id."""
    return transfers.transfer_ids[16 * place : 16 * place + 16]


def pick(transfers: Transfers, places: Sequence[int]) -> Transfers:
    """Return the transfers at `places`, renumbered in that order."""
    ids, references, value_dates = transfers.transfer_ids, transfers.references, transfers.value_dates
    picked = Transfers(
        b"".join([ids[16 * place : 16 * place + 16] for place in places]),
        _at(transfers.debit_accounts, places),
        _at(transfers.credit_accounts, places),
        _at(transfers.amounts_minor, places),
        _at(transfers.currencies, places),
        _at(references, places) if references else [],
        _at(value_dates, places) if value_dates else [],
        actors=transfers.actors,
        actor_places=_at(transfers.actor_places, places) if transfers.actor_places else [],
    )
    if transfers.creditors or transfers.further_legs or transfers.specials or transfers.metadata:
        place_by_old = {old: new for new, old in enumerate(places)}
        picked.creditors = _renumbered(transfers.creditors, place_by_old)
        picked.further_legs = _renumbered(transfers.further_legs, place_by_old)
        picked.further_legs.sort(key=_place)
        picked.specials = {
            place_by_old[old]: special for old, special in transfers.specials.items() if old in place_by_old
        }
        picked.metadata = {place_by_old[old]: pairs for old, pairs in transfers.metadata.items() if old in place_by_old}
    return picked


def join(several: Sequence[Transfers]) -> Transfers:
    """Put transfers one after the other."""
    if len(several) == 1:
        return several[0]
    joined = Transfers(
        b"".join([part.transfer_ids for part in several]),
        _chained(part.debit_accounts for part in several),
        _chained(part.credit_accounts for part in several),
        _chained(part.amounts_minor for part in several),
        _chained(part.currencies for part in several),
    )
    if any(part.references for part in several):
        joined.references = _chained(part.references or [""] * len(part) for part in several)
    if any(part.value_dates for part in several):
        joined.value_dates = _chained(part.value_dates or [0] * len(part) for part in several)
    first = 0
    for part in several:
        if part.creditors:
            joined.creditors += [row._replace(place=row.place + first) for row in part.creditors]
        if part.further_legs:
            joined.further_legs += [row._replace(place=row.place + first) for row in part.further_legs]
        if part.specials:
            joined.specials |= {place + first: special for place, special in part.specials.items()}
        if part.metadata:
            joined.metadata |= {place + first: pairs for place, pairs in part.metadata.items()}
        first += len(part)
    _join_actors(joined, several)
    return joined


def _join_actors(joined: Transfers, several: Sequence[Transfers]) -> None:
    """Name each actor of several parts once, and say who asks for what unless one asks for all."""
    place_by_actor: dict[Actor, int] = {}
    for part in several:
        for actor in part.actors:
            place_by_actor.setdefault(actor, len(place_by_actor))
    joined.actors = list(place_by_actor)
    if len(place_by_actor) < 2:
        return
    for part in several:
        places = [place_by_actor[actor] for actor in part.actors]
        if part.actor_places:
            joined.actor_places += [places[place] for place in part.actor_places]
        else:
            joined.actor_places += [places[0]] * len(part)


def cut(outcomes: Outcomes, sizes: Iterable[int]) -> list[Outcomes]:
    """Cut the answer to joined transfers into the answers to the parts, whose sizes are given."""
    parts = []
    first = 0
    for size in sizes:
        after = first + size
        parts.append(
            Outcomes(
                outcomes.outcomes[first:after],
                outcomes.refusals[first:after],
                outcomes.booking_times_us[first:after],
                outcomes.errors[first:after],
                [place - first for place in outcomes.repeats if first <= place < after],
                {place - first: leg for place, leg in outcomes.refused_legs.items() if first <= place < after},
            )
        )
        first = after
    assert first == len(outcomes.outcomes)
    return parts


def _at(column: Sequence[T], places: Sequence[int]) -> list[T]:
    return [column[place] for place in places]


def _chained(columns: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(columns))


def _place(row: FurtherLeg) -> int:
    return row.place


Row = TypeVar("Row", Creditor, FurtherLeg)


def _renumbered(rows: list[Row], place_by_old: dict[int, int]) -> list[Row]:
    return [row._replace(place=place_by_old[row.place]) for row in rows if row.place in place_by_old]
