"""What a bank and its model are asked: requests drawn from few accounts, ids and amounts, so that they meet often.

Never here: carrying requests out, comparing (`bank_machine.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from hypothesis import strategies as st
from memory_books import CZK, EUR, Ask, an_id, cash, customer_account
from model_words import Across

from services.domain import chart
from services.ledger.books import Allowance, Flag, Kind, Leg, PlaceError

BALANCE_MAX: Final = 300
"""The balance limit during these tests, so that it is met."""

REACHABLE: Final = 6
"""Accounts of a shard's pool that are opened at the start; those behind them are not there."""


def income(shard: int) -> int:
    """Name the account that fees go to."""
    return chart.internal_account(shard, chart.Code.FEES, CZK)


def pool(shard: int) -> list[tuple[int, int, int]]:
    """List the accounts that requests name on a shard: number, currency, floor."""
    return [
        (cash(shard), CZK, -BALANCE_MAX),
        (customer_account(shard, 1), CZK, 0),
        (customer_account(shard, 2), CZK, -50),
        (customer_account(shard, 3), EUR, 0),
        (cash(shard, EUR), EUR, -BALANCE_MAX),
        (income(shard), CZK, 0),
        (customer_account(shard, 4), CZK, 0),
        (chart.transit_account(shard, shard % 2 + 1, CZK), CZK, 0),
    ]


CUSTOMER: Final = 7
"""Who owns some accounts of each shard, in one currency."""

CUSTOMERS_DAY_MAX: Final = 130


def limits_of(shard: int) -> dict[int, tuple[Allowance | None, int]]:
    """Tell the limits and the customer of accounts where there are limits; of all others there are none."""
    return {
        customer_account(shard, 1): (None, CUSTOMER),
        customer_account(shard, 2): (Allowance(balance_minor_max=120, transfer_minor_max=50), CUSTOMER),
        customer_account(shard, 4): (Allowance(balance_minor_max=60, day_minor_max=40, day_count_max=2), CUSTOMER),
        customer_account(shard, 3): (Allowance(day_minor_max=90, day_count_max=3), 0),
    }


@dataclass(frozen=True)
class Post:
    """Asks for transfers; a payee's shard is asked about the payee unless a yes is still believed."""

    asked: tuple[Ask, ...]
    believed: bool = False


@dataclass(frozen=True)
class PostAcross:
    """Asks for a transfer over several shards at its home; `silent` are those who do not answer in time."""

    across: Across
    silent: frozenset[int]


@dataclass(frozen=True)
class Inquire:
    """Asks a home on behalf of a peer what became of an id: one of its open promises, or one that it made up."""

    peer_id: int
    which: int


@dataclass(frozen=True)
class Repeat:
    """Asks once more for what was asked before."""

    which: int


@dataclass(frozen=True)
class Land:
    """Hands over crossings from a peer: too early or again by so many numbers."""

    peer_id: int
    offset: int
    count: int


@dataclass(frozen=True)
class Acknowledge:
    """Tells how far crossings have landed at a peer, or had before the last so many."""

    peer_id: int
    behind: int


@dataclass(frozen=True)
class Open:
    """Opens an account of the pool, perhaps with another floor."""

    which: int
    floor: int


@dataclass(frozen=True)
class Command:
    """Places a hold on an account of the pool, or increases or releases one that was asked for before."""

    kind: Kind
    command_id: bytes
    which: int
    amount: int
    payee: int
    hours: int
    """How long it lasts; of an increase, 0 leaves its end as it is."""


@dataclass(frozen=True)
class Capture:
    """Asks for a transfer out of a hold that was asked for before, to an account of a pool, perhaps with a fee."""

    transfer_id: bytes
    which: int
    amount: int
    payees_shard: int
    payee: int
    fee: int


@dataclass(frozen=True)
class Reverse:
    """Asks to give back one of the transfers that arrived on the shard: whole, or so much of each leg; the legs in order or turned."""

    transfer_id: bytes
    which: int
    amount: int
    is_turned: bool
    flags: int


@dataclass(frozen=True)
class SpendUp:
    """Asks for so many transfers which together use up what an account of the pool may still spend today, or one more than that."""

    which: int
    times: int
    beyond: int


@dataclass(frozen=True)
class Expire:
    """Frees what all holds have set aside whose time has come, or does so for one that may not be due."""

    which: int | None


@dataclass(frozen=True)
class ChangeAccount:
    """Asks for another state or other limits of an account of the pool, or for another cap of its customer; None leaves one as it is."""

    change_id: bytes
    which: int
    floor: int | None
    limits: Allowance | None
    cap: int | None
    state: int | None = None


Request = (
    Post
    | PostAcross
    | Inquire
    | Repeat
    | Land
    | Acknowledge
    | Open
    | Command
    | Capture
    | Reverse
    | SpendUp
    | Expire
    | ChangeAccount
)


AMOUNTS: Final = (20, 1, 50, 51, 100, 20, 1, 50, 51, 100, BALANCE_MAX, BALANCE_MAX + 1)

SENSIBLE: Final = 15
"""How much more often a leg is drawn between accounts that are there, in their currency."""


@cache
def _legs(shard: int, payees_shard: int) -> st.SearchStrategy[Leg]:
    sensible = [
        (payer, payee, currency)
        for payer, currency, _ in pool(shard)[:REACHABLE]
        for payee, its_currency, _ in pool(payees_shard)[:REACHABLE]
        if payer != payee and currency == its_currency
    ]
    anything = [
        (payer, payee, currency)
        for payer, currency, _ in pool(shard)
        for payee, _, _ in pool(payees_shard)
        if payer != payee
    ]
    sides = st.sampled_from(sensible * SENSIBLE + anything)
    return st.tuples(sides, st.sampled_from(AMOUNTS)).map(lambda drawn: Leg(*drawn[0][:2], drawn[1], drawn[0][2]))


FEES: Final = (0, 1, 5, 1, 5, 100)
METADATA: Final = st.sampled_from([(), (), (("order", "1"),), (("order", "1"), ("till", "2"))])
REFERENCES: Final = st.sampled_from(["", "rent"])
VALUE_DATES: Final = st.sampled_from([0, 0, 0, 10_000, 25_000])
"""In days since 1970-01-01: past, to come, or the day of booking."""


def _ids(shard: int) -> st.SearchStrategy[bytes]:
    return st.one_of(st.integers(100 * shard, 100 * shard + 60), st.integers(1, 9)).map(an_id)


Drawn = tuple[tuple[Leg, tuple[int, int]], ...]
"""Legs with their payers' and payees' shards."""


def _priced(drawn: tuple[Drawn, tuple[int, ...]]) -> Drawn:
    """Let each payer bear one fee for all of its legs, or none, as the gateway does."""
    legs, fees = drawn
    shard_by_payer = {leg.debit_account: pair[0] for leg, pair in legs if leg.currency == CZK}
    charged = [(payer, shard) for payer, shard in shard_by_payer.items() if payer != income(shard)]
    return legs + tuple(
        (Leg(payer, income(shard), fee, CZK, is_fee=True), (shard, shard))
        for (payer, shard), fee in zip(charged, fees, strict=False)
        if fee
    )


@cache
def _with_fees(legs: st.SearchStrategy[Drawn], most: int) -> st.SearchStrategy[Drawn]:
    fees = st.one_of(st.just((0,) * most), st.tuples(*(st.sampled_from(FEES) for _ in range(most))))
    return st.tuples(legs, fees).map(_priced)


@cache
def _between(payer: int, payee: int) -> st.SearchStrategy[tuple[Leg, tuple[int, int]]]:
    return _legs(payer, payee).map(lambda leg: (leg, (payer, payee)))


@cache
def _asks(shard: int, shards: Sequence[int]) -> st.SearchStrategy[Ask]:
    """Draw transfers whose payer is on the shard and whose payee may be anywhere."""
    failures = st.sampled_from([None] * 19 + [PlaceError.PAYEE_SHARD_UNREACHABLE])
    here = _between(shard, shard)
    one, more = st.tuples(here), st.lists(here, min_size=2, max_size=3).map(tuple)
    away = [st.tuples(_between(shard, peer)) for peer in shards if peer != shard]
    drawn = st.one_of(_with_fees(one, 1), _with_fees(more, 3), *(_with_fees(legs, 1) for legs in away))
    return st.tuples(_ids(shard), drawn, REFERENCES, failures, METADATA, VALUE_DATES).map(
        lambda drawn: Ask(
            drawn[0],
            tuple(leg for leg, _ in drawn[1]),
            drawn[2],
            drawn[5],
            peer_id=drawn[1][0][1][1] if drawn[1][0][1][1] != shard else 0,
            error=drawn[3],
            metadata=drawn[4],
        )
    )


@cache
def _acrosses(shard: int, shards: Sequence[int]) -> st.SearchStrategy[Across]:
    """Draw transfers over several shards whose first payer is on the shard."""
    anywhere = st.tuples(st.sampled_from(list(shards)), st.sampled_from(list(shards)))
    first = st.sampled_from(list(shards)).flatmap(lambda payee: _between(shard, payee))
    further = st.lists(anywhere.flatmap(lambda pair: _between(*pair)), min_size=1, max_size=3)
    legs = st.tuples(first, further).map(lambda drawn: (drawn[0], *drawn[1]))
    across = legs.filter(lambda drawn: len({side for _, pair in drawn for side in pair}) > 1)
    return st.tuples(_ids(shard), _with_fees(across, 4), REFERENCES, METADATA, VALUE_DATES).map(
        lambda drawn: Across(
            Ask(drawn[0], tuple(leg for leg, _ in drawn[1]), drawn[2], drawn[4], metadata=drawn[3]),
            tuple(pair for _, pair in drawn[1]),
        )
    )


@cache
def _changes(shard: int) -> st.SearchStrategy[ChangeAccount]:
    most = st.sampled_from([None, None, 40, 120, 200])
    limits = st.builds(Allowance, most, st.sampled_from([None, None, 50]), most, st.sampled_from([None, None, 2, 4]))
    floor = st.tuples(st.sampled_from([-50, -20, 0]), st.none(), st.none())
    limit = st.tuples(st.none(), limits, st.none())
    cap = st.tuples(st.none(), st.none(), st.sampled_from([-1, 60, CUSTOMERS_DAY_MAX]))
    which = st.sampled_from([1, 1, 2, 2, 3, 6, 0, 7])
    what = st.one_of(floor, limit, limit, limit, cap, st.tuples(st.just(0), limits, st.just(90)))
    limited = st.tuples(_ids(shard), which, what).map(lambda drawn: ChangeAccount(*drawn[:2], *drawn[2]))
    return st.one_of(limited, limited, _states(shard, st.integers(0, REACHABLE + 1), [0, 0, 0, 1, 2, 3, 32]))


def _states(shard: int, which: st.SearchStrategy[int], states: Sequence[int]) -> st.SearchStrategy[ChangeAccount]:
    return st.builds(ChangeAccount, _ids(shard), which, st.none(), st.none(), st.none(), st.sampled_from(states))


@cache
def _requests(shard: int, shards: Sequence[int]) -> st.SearchStrategy[Request]:
    peers = st.sampled_from([other for other in shards if other != shard])
    post = st.builds(Post, st.lists(_asks(shard, shards), min_size=1, max_size=5).map(tuple), st.booleans())
    silent = st.sampled_from([frozenset[int]()] * 4 + [frozenset({peer}) for peer in shards if peer != shard])
    across = st.builds(PostAcross, _acrosses(shard, shards), silent)
    inquire = st.builds(Inquire, peers, st.integers(0, 9))
    repeat = st.builds(Repeat, st.integers(0, 99))
    land = st.builds(Land, peers, st.sampled_from([0, 0, 0, -1, -3, 1]), st.integers(1, 5))
    acknowledge = st.builds(Acknowledge, peers, st.sampled_from([0, 0, 0, 1, 3]))
    opening = st.builds(Open, st.integers(0, REACHABLE), st.sampled_from([0, 0, -50]))
    command = st.builds(
        Command,
        st.sampled_from([Kind.HOLD_PLACED, Kind.HOLD_INCREASED, Kind.HOLD_INCREASED, Kind.HOLD_RELEASED]),
        _ids(shard),
        st.sampled_from([1, 1, 1, 2, 2, 3, 6, 0]),
        st.sampled_from(AMOUNTS),
        st.sampled_from([0, 0, customer_account(shard, 2)]),
        st.sampled_from([0, 1, 24, 168, 168]),
    )
    capture = st.builds(
        Capture,
        _ids(shard),
        st.integers(0, 9),
        st.sampled_from([1, 20, 50]),
        st.sampled_from([shard, shard, *shards]),
        st.sampled_from([1, 2, 2, 6]),
        st.sampled_from(FEES),
    )
    reverse = st.builds(
        Reverse,
        _ids(shard),
        st.integers(0, 99),
        st.sampled_from([0, 0, 0, 1, 20, 300]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([0, 0, 0, int(Flag.OVERDRAW)]),
    )
    spend_up = st.builds(SpendUp, st.sampled_from([1, 2, 3, 6]), st.integers(1, 5), st.sampled_from([0, 0, 1]))
    expire = st.builds(Expire, st.sampled_from([None, None, 0, 1, 2]))
    return st.one_of(
        *(reverse, reverse, expire, _changes(shard), _changes(shard)),
        *(post, post, post, across, across, inquire, repeat, land, land, land, acknowledge, acknowledge, opening),
        *(command, command, command, command, capture, spend_up),
    )


@cache
def batches(shards: Sequence[int]) -> st.SearchStrategy[tuple[int, list[Request]]]:
    """Draw a shard and what arrives there while the batch before commits."""
    return st.sampled_from(list(shards)).flatmap(
        lambda shard: st.tuples(st.just(shard), st.lists(_requests(shard, shards), min_size=1, max_size=4))
    )


@cache
def batches_in_a_row(shards: Sequence[int]) -> st.SearchStrategy[tuple[int, list[list[Request]]]]:
    """Draw a shard and several batches that arrive there, each while the one before it commits; most are plain posts."""

    def several(shard: int) -> st.SearchStrategy[list[list[Request]]]:
        plain: st.SearchStrategy[Request] = st.builds(
            Post, st.lists(_asks(shard, shards), min_size=1, max_size=2).map(tuple)
        )
        anything, posts = (st.lists(each, min_size=1, max_size=2) for each in (_requests(shard, shards), plain))
        return st.lists(st.one_of(anything, *[posts] * 4), min_size=3, max_size=6)

    return st.sampled_from(list(shards)).flatmap(lambda shard: st.tuples(st.just(shard), several(shard)))


@cache
def new_states(shards: Sequence[int]) -> st.SearchStrategy[tuple[int, ChangeAccount]]:
    """Draw a shard and a state for an account of its pool; closing is asked for here alone, in a batch of its own.

    Whether money is still on its way from an account is known to couriers, which the model has none of.
    """
    return st.sampled_from(list(shards)).flatmap(
        lambda shard: st.tuples(st.just(shard), _states(shard, st.integers(0, REACHABLE), [0, 0, 0, 1, 2, 4, 4, 32]))
    )
