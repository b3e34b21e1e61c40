"""Between the messages that ledgers exchange and their values: crossings, decisions, promises.

Never here: what may be landed, promised or decided.
"""

from itertools import pairwise
from typing import Final

from hivecore.ledger.v1 import ledger_pb2

from services.domain import errors, limits, metadata
from services.domain.identifiers import SHARD_ID_MAX
from services.domain.outcomes import Outcome
from services.ledger import wire
from services.ledger.books import Actor, Flag, Leg, Special, Transfers
from services.ledger.promises import PromiseAsked
from services.ledger.spanning import Span, Told
from services.ledger.traffic import Crossings, RoutedLeg, Verdict

_PROMISE_FLAGS_MAX: Final = int(Flag.LIMITS_OVERRIDDEN | Flag.OVERDRAW | Flag.FEES_WAIVED | Flag.GIVES_BACK)


def crossings(request: ledger_pb2.LandCrossingsRequest) -> Crossings:
    """Read crossings. Raises `Malformed`."""
    ids = wire.read_ids(request.transfer_ids)
    if request.decisions and len(ids) + len(request.decisions) > limits.CROSSINGS_PER_CALL_MAX:
        most = limits.CROSSINGS_PER_CALL_MAX
        raise errors.Malformed("DECISIONS_TOO_MANY", "decisions", f"at most {most} crossings and decisions together")
    decisions = [_verdict(decision) for decision in request.decisions]
    read = Crossings(
        request.from_shard_id,
        request.first_number,
        ids,
        list(request.debit_accounts),
        list(request.credit_accounts),
        list(request.amounts_minor),
        list(request.currencies),
        list(request.references),
        list(request.value_dates),
        wire.read_metadata(request.metadata, len(ids)),
        decisions=decisions,
    )
    last_number = read.first_number + len(ids) + len(decisions) - 1
    numbers = [read.first_number - 1, *(decision.number for decision in decisions), last_number + 1]
    if any(number >= following for number, following in pairwise(numbers)):
        raise errors.Malformed("CROSSINGS_INVALID", "decisions", "numbered in order, among the crossings")
    columns = (
        read.debit_accounts,
        read.credit_accounts,
        read.amounts_minor,
        read.currencies,
        read.references,
        read.value_dates,
    )
    if decisions and not ids:
        if any((*columns, request.actors, request.actor_places)):
            raise errors.Malformed("COLUMNS_INVALID", "transfer_ids", "decisions alone come without columns")
        _check_peer(read, request.shard_id)
        return read
    wire.check_columns(len(ids), columns, ())
    wire.check_legs(read.debit_accounts, read.credit_accounts, read.amounts_minor, read.currencies)
    wire.check_texts_and_dates(read.references, read.value_dates)
    read.actors = wire.read_actors(request, len(ids))
    _check_peer(read, request.shard_id)
    return read


def _check_peer(read: Crossings, shard_id: int) -> None:
    if read.first_number < 1 or read.peer_id == shard_id or not 1 <= read.peer_id <= SHARD_ID_MAX:
        raise errors.Malformed(
            "CROSSINGS_INVALID", "first_number", "crossings come from another shard, numbered from 1"
        )


def _verdict(decision: ledger_pb2.Decision) -> Verdict:
    outcome = int(decision.outcome)
    if outcome not in {Outcome.POSTED, Outcome.REFUSED} or (outcome == Outcome.REFUSED) != bool(decision.refusal):
        raise errors.Malformed("CROSSINGS_INVALID", "decisions", "posted, or refused for a reason")
    wire.check_texts_and_dates((decision.reference,), (decision.value_date,))
    return Verdict(
        decision.number,
        wire.one_id(decision.transfer_id, "decisions"),
        outcome,
        decision.refusal,
        decision.reference,
        decision.value_date,
        decision.account,
    )


def promise_asked(request: ledger_pb2.PromiseTransferRequest) -> PromiseAsked:
    """Read a part to promise. Raises `Malformed`."""
    legs, home_id = request.legs, request.home_shard_id
    if not 1 <= len(legs) <= limits.LEGS_PER_TRANSFER_MAX:
        raise errors.Malformed("LEGS_TOO_MANY", "legs", f"from 1 to {limits.LEGS_PER_TRANSFER_MAX} legs")
    if home_id == request.shard_id or not 1 <= home_id <= SHARD_ID_MAX:
        raise errors.Malformed("PROMISE_INVALID", "home_shard_id", "another shard decides")
    columns = ("debit_account", "credit_account", "amount_minor", "currency")
    wire.check_legs(*([getattr(leg, name) for leg in legs] for name in columns))
    wire.check_texts_and_dates((request.reference,), ())
    if not all(leg.pays_here or leg.is_paid_here for leg in legs):
        raise errors.Malformed("PROMISE_INVALID", "legs", "a leg has a side here")
    if not 0 <= request.flags <= _PROMISE_FLAGS_MAX:
        raise errors.Malformed("PROMISE_INVALID", "flags", f"from 0 to {_PROMISE_FLAGS_MAX}")
    routed = tuple(
        RoutedLeg(
            leg.place,
            leg.debit_account,
            leg.credit_account,
            leg.amount_minor,
            leg.currency,
            0 if leg.pays_here else home_id,
            0 if leg.is_paid_here else home_id,
            leg.is_fee,
        )
        for leg in legs
    )
    transfer_id = wire.one_id(request.transfer_id, "transfer_id")
    return PromiseAsked(
        home_id,
        transfer_id,
        request.fingerprint,
        routed,
        request.flags,
        request.reference,
        metadata.read(request.metadata),
    )


def promise_request(span: Span, peer_id: int, actor: Actor | None) -> ledger_pb2.PromiseTransferRequest:
    """Write what a peer is to promise."""
    return ledger_pb2.PromiseTransferRequest(
        shard_id=peer_id,
        home_shard_id=span.home_id,
        transfer_id=span.transfer_id,
        fingerprint=span.fingerprint,
        legs=[
            ledger_pb2.PromiseTransferRequest.Leg(
                place=leg.place,
                debit_account=leg.debit_account,
                credit_account=leg.credit_account,
                amount_minor=leg.amount_minor,
                currency=leg.currency,
                pays_here=not leg.debit_peer,
                is_paid_here=not leg.credit_peer,
                is_fee=leg.is_fee,
            )
            for leg in span.share(peer_id)
        ],
        flags=span.flags,
        reference=span.reference,
        metadata=dict(span.metadata),
        actor=None if actor is None else ledger_pb2.Actor(**actor._asdict()),
    )


def asked_about(request: ledger_pb2.AskDecisionsRequest) -> list[Told]:
    """Read what a peer asks about. Raises `Malformed`."""
    ids, accounts = wire.read_ids(request.transfer_ids), list(request.accounts)
    wire.check_columns(len(ids), (accounts,), ())
    if request.from_shard_id == request.shard_id or not 1 <= request.from_shard_id <= SHARD_ID_MAX:
        raise errors.Malformed("PROMISE_INVALID", "from_shard_id", "another shard asks")
    return list(map(Told, ids, accounts))


def span_of(read: Transfers, place: int, home_id: int) -> Span:
    """Return a transfer over several shards."""
    first = Leg(
        read.debit_accounts[place], read.credit_accounts[place], read.amounts_minor[place], read.currencies[place]
    )
    return Span(
        read.transfer_ids[place],
        home_id,
        (first, *read.further_legs[place]),
        read.spans[place],
        read.fingerprints[place],
        read.references[place] if read.references is not None else "",
        read.value_dates[place] if read.value_dates is not None else 0,
        read.creditors.get(place),
        read.specials.get(place, Special()),
        read.metadata.get(place, ()),
    )
