"""Which shard decides a transfer, and how a call's transfers are split over shards. Pure.

The home shard is that of the first leg's debit account; of a reversal of several legs, the
original's, mostly that of the last leg's credit account. When all legs lie there, except that the first may
credit an account on another shard (a crossing, never a reversal of several legs), it decides alone; otherwise it asks the others for their promises, in a lane of its own. A chart name stands for the bank's own account
on the other side's shard. Never here: the directory's freshness, or sending anything.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from services.domain import chart, errors, identifiers
from services.domain.directory import Directory
from services.gateway.columns import FurtherLeg, Transfers, code_of_chart_side, pick

LANE_MIXED: Final = 0
"""The lane of a part whose payees lie on several shards."""
LANE_SPANNING: Final = -1
"""The lane of transfers over several shards: they wait for others, and nobody waits for them."""


@dataclass(slots=True)
class Part:
    """The transfers of a call that one shard decides, in the order of the call.

    The lane is the shard of the payees, so that a peer that stands still holds up nobody else's crossings.
    """

    shard_id: int
    lane: int
    places: Sequence[int]
    """Where in the call they stood."""
    transfers: Transfers


def split(
    transfers: Transfers, directory: Directory, refused: Container[int], places: Sequence[int] | None = None
) -> tuple[list[Part], dict[int, errors.BankError]]:
    """Split a call by shard, leaving out places in `refused`; also tell, by place, what cannot be routed.

    `places` limits the work to some of the call. In the parts, chart names have become account numbers.
    """
    wanted: Container[int] = range(len(transfers)) if places is None else frozenset(places)
    places = range(len(transfers)) if places is None else places
    faults: dict[int, errors.BankError] = {}
    homes: dict[int, int] = {}
    if min(transfers.debit_accounts) < 0 or min(transfers.credit_accounts) < 0 or transfers.further_legs:
        transfers = replace(
            transfers,
            debit_accounts=list(transfers.debit_accounts),
            credit_accounts=list(transfers.credit_accounts),
            further_legs=list(transfers.further_legs),
        )
        faults = _resolve_chart_names(transfers, directory, refused, places)
        faults |= _resolve_further_legs(transfers, directory, wanted, refused, faults, homes)
    shard_by_slot = directory.shard_by_slot
    debits, credits_ = transfers.debit_accounts, transfers.credit_accounts
    places_by_shard: dict[int, list[int]] = {}
    lane_by_shard: dict[int, int] = {}
    for place in places:
        if place in refused or place in faults:
            continue
        if homes and place in homes:
            continue
        home = shard_by_slot[debits[place] // 10**12]
        payee = shard_by_slot[credits_[place] // 10**12]
        if not home or not payee:
            faults[place] = unknown_account(credits_[place] if home else debits[place])
            continue
        if home not in places_by_shard:
            places_by_shard[home] = [place]
            lane_by_shard[home] = payee
            continue
        places_by_shard[home].append(place)
        if lane_by_shard[home] != payee:
            lane_by_shard[home] = LANE_MIXED
    parts = [(shard_id, lane_by_shard[shard_id], theirs) for shard_id, theirs in places_by_shard.items()]
    if homes:
        places_by_home: dict[int, list[int]] = {}
        for place in places:
            if place in homes:
                places_by_home.setdefault(homes[place], []).append(place)
        parts += [(home, LANE_SPANNING, theirs) for home, theirs in places_by_home.items()]
    return [
        Part(shard_id, lane, theirs, transfers if len(theirs) == len(transfers) else pick(transfers, theirs))
        for shard_id, lane, theirs in parts
    ], faults


def shard_of_account(directory: Directory, number: int) -> int:
    """Tell the shard of an account. Raises `NotFound` (ACCOUNT_NOT_FOUND) when nobody has its slot."""
    shard_id = directory.shard_of_account(number)
    if not shard_id:
        raise unknown_account(number)
    return shard_id


def unknown_account(number: int) -> errors.NotFound:
    """Say that there is no such account."""
    text = identifiers.account_text(number)
    return errors.NotFound("ACCOUNT_NOT_FOUND", f"there is no account {text}", {"account": text})


def _resolve_chart_names(
    transfers: Transfers, directory: Directory, refused: Container[int], places: Sequence[int]
) -> dict[int, errors.BankError]:
    """Put account numbers in the place of the first legs' chart names; tell where that is impossible."""
    faults: dict[int, errors.BankError] = {}
    number_by_name: dict[tuple[int, int, int], int] = {}
    for column, other_column in (
        (transfers.debit_accounts, transfers.credit_accounts),
        (transfers.credit_accounts, transfers.debit_accounts),
    ):
        if min(column) >= 0:
            continue
        for place in places:
            side = column[place]
            if side >= 0 or place in refused or place in faults:
                continue
            other = other_column[place]
            shard_id = directory.shard_by_slot[other // 10**12]
            if not shard_id:
                faults[place] = unknown_account(other)
                continue
            name = (side, shard_id, transfers.currencies[place])
            number = number_by_name.get(name)
            if number is None:
                number = number_by_name[name] = _internal_account(*name)
            column[place] = number
            if number == other:
                faults[place] = _same_account()
    return faults


def _same_account() -> errors.Malformed:
    """Refuse a chart name that turns out to stand for the account on the other side."""
    return errors.Malformed("SAME_ACCOUNT", "legs", "a chart name stands for the account on the other side")


def _internal_account(side: int, shard_id: int, currency: int) -> int:
    code, sub_number = code_of_chart_side(side)
    return chart.internal_account(shard_id, code, currency, sub_number)


def _resolve_further_legs(
    transfers: Transfers,
    directory: Directory,
    wanted: Container[int],
    refused: Container[int],
    faults: Container[int],
    homes: dict[int, int],
) -> dict[int, errors.BankError]:
    """Resolve the chart names of legs after the first; put into `homes` who decides what is not one shard's alone."""
    found: dict[int, errors.BankError] = {}
    shard_of = directory.shard_of_account
    internal_account = cache(_internal_account)
    last_payees = {leg.place: leg.credit_account for leg in transfers.further_legs}
    for row, (place, payer, payee, amount, currency, is_fee) in enumerate(transfers.further_legs):
        if place not in wanted or place in refused or place in faults or place in found:
            continue
        first_payer, first_payee = shard_of(transfers.debit_accounts[place]), shard_of(transfers.credit_accounts[place])
        if not first_payer or not first_payee:
            continue  # As of transfers of one leg, `split` tells.
        debit, credit = payer, payee
        if payer < 0 or payee < 0:
            shard_id = shard_of(max(payer, payee))
            if shard_id:
                debit = internal_account(payer, shard_id, currency) if payer < 0 else payer
                credit = internal_account(payee, shard_id, currency) if payee < 0 else payee
                transfers.further_legs[row] = FurtherLeg(place, debit, credit, amount, currency, is_fee)
        unknown = next((side for side in (debit, credit) if side > 0 and not shard_of(side)), 0)
        if unknown or debit == credit:
            found[place] = unknown_account(unknown) if unknown else _same_account()
            homes.pop(place, None)
            continue
        special = transfers.specials.get(place)
        shards = {shard_of(debit), shard_of(credit)}
        home = first_payer
        if special is not None and special.original_id:
            home = special.home_id or shard_of(last_payees[place])
            shards |= {first_payer, first_payee}
        if shards != {home}:
            homes[place] = home
    return found
