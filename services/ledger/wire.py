"""Between the ledger's messages and its values. Columns go over as columns.

Callers are trusted but not believed blindly: what would break the books' shape (columns of
different lengths, amounts out of range, one account on both sides) is refused as malformed as a
whole. Never here: what may be posted.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import blake2b
from struct import Struct
from typing import Any, Final

from hivecore.ledger.v1 import ledger_pb2

from services.domain import chart, errors, limits, metadata
from services.domain.identifiers import account_text
from services.domain.outcomes import Refusal
from services.ledger.books import (
    AccountState,
    Actor,
    Answers,
    Creditor,
    Flag,
    Leg,
    PlaceError,
    Relation,
    Special,
    Transfers,
)
from services.ledger.reader import TransferRecord

SLOT_DIVISOR: Final = 10**12
"""An account number divided by this is its slot."""

DAYS_MAX: Final = 2_932_896
"""9999-12-31 in days since 1970-01-01."""

_FLAGS_MAX: Final = int(Flag.LIMITS_OVERRIDDEN | Flag.OVERDRAW | Flag.FEES_WAIVED)

_BODY = Struct("<qqqii").pack


def transfers(request: ledger_pb2.PostTransfersRequest, shard_by_slot: Sequence[int]) -> Transfers:
    """Read transfers and tell, by the directory, which of them cross to a peer. Raises `Malformed`."""
    shard_id = request.shard_id
    ids = read_ids(request.transfer_ids)
    payers, payees = list(request.debit_accounts), list(request.credit_accounts)
    amounts, currencies = list(request.amounts_minor), list(request.currencies)
    references, value_dates = list(request.references) or None, list(request.value_dates) or None
    count = len(ids)
    check_columns(count, (payers, payees, amounts, currencies), (references, value_dates))
    check_legs(payers, payees, amounts, currencies)
    check_texts_and_dates(references or (), value_dates or ())
    read = Transfers(ids, payers, payees, amounts, currencies, [], references, value_dates)
    for creditor in request.creditors:
        _check_place(creditor.place, count, "creditors")
        texts = (creditor.bank_code, creditor.account, creditor.creditor_name, creditor.remittance_text)
        check_texts_and_dates(texts, ())
        read.creditors[creditor.place] = Creditor(*texts)
    if request.further_legs:
        _read_further_legs(read, request, count, shard_by_slot)
    if request.specials:
        _read_specials(read, request, count)
    if request.metadata:
        read.metadata = read_metadata(request.metadata, count)
    read.actors = read_actors(request, count)
    read.fingerprints = _fingerprints(read)
    _route(read, shard_id, shard_by_slot)
    return read


def _read_further_legs(
    read: Transfers, request: ledger_pb2.PostTransfersRequest, count: int, shard_by_slot: Sequence[int]
) -> None:
    """Read the legs after the first, checked in columns as those are."""
    places = [leg.place for leg in request.further_legs]
    for place in (min(places), max(places)):
        _check_place(place, count, "further_legs")
    legs = [
        Leg(leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency, leg.is_fee)
        for leg in request.further_legs
    ]
    check_legs(*list(zip(*legs, strict=True))[:4])
    for place, leg in zip(places, legs, strict=True):
        read.further_legs.setdefault(place, []).append(leg)
    for place, theirs in read.further_legs.items():
        _check_further(read, shard_by_slot, place, theirs)


@cache
def _income(shard_id: int, currency: int) -> int:
    """Name the account that a shard's fees go to."""
    return chart.internal_account(shard_id, chart.Code.FEES, currency)


def _check_further(read: Transfers, shard_by_slot: Sequence[int], place: int, legs: Sequence[Leg]) -> None:
    if len(legs) == 1 and legs[0].is_fee and legs[0].debit_account == read.debit_accounts[place]:
        # What most fees are: of one leg, by its payer.
        (fee,) = legs
        shard_id = shard_by_slot[fee.debit_account // SLOT_DIVISOR]
        if shard_id and fee.credit_account == _income(shard_id, fee.currency):
            return
    asked = [leg for leg in legs if not leg.is_fee]
    if 1 + len(asked) > limits.LEGS_PER_TRANSFER_MAX:
        raise errors.Malformed("LEGS_TOO_MANY", "further_legs", f"at most {limits.LEGS_PER_TRANSFER_MAX} legs")
    if len(asked) == len(legs):
        return
    payers = {read.debit_accounts[place], *(leg.debit_account for leg in asked)}
    fees = legs[len(asked) :]
    if not all(
        leg.is_fee
        and leg.debit_account in payers
        and (shard_id := shard_by_slot[leg.debit_account // SLOT_DIVISOR])
        and leg.credit_account == _income(shard_id, leg.currency)
        for leg in fees
    ) or len(fees) != len({leg.debit_account for leg in fees}):
        raise errors.Malformed(
            "FEE_INVALID", "further_legs", "fees come last, one per payer, for the income of the payer's shard"
        )


def _read_specials(read: Transfers, request: ledger_pb2.PostTransfersRequest, count: int) -> None:
    for special in request.specials:
        _check_place(special.place, count, "specials")
        hold_id = one_id(special.hold_id, "hold_id") if special.hold_id else None
        original_id = one_id(special.original_id, "original_id") if special.original_id else None
        further = read.further_legs.get(special.place, ())
        if hold_id is not None and (original_id is not None or not all(leg.is_fee for leg in further)):
            raise errors.Malformed("SPECIAL_INVALID", "specials", "a capture has one leg and reverses nothing")
        if (original_id is not None or special.flags & Flag.FEES_WAIVED) and further and further[-1].is_fee:
            raise errors.Malformed("SPECIAL_INVALID", "specials", "neither a reversal nor who is let off bears a fee")
        if (special.flags & Flag.OVERDRAW and original_id is None) or not 0 <= special.flags <= _FLAGS_MAX:
            raise errors.Malformed("SPECIAL_INVALID", "specials", "only a reversal may set the floor aside")
        fee_minor_max = special.fee_minor_max if special.HasField("fee_minor_max") else None
        if fee_minor_max is not None and not 0 <= fee_minor_max <= limits.BALANCE_MINOR_MAX:
            raise errors.Malformed("AMOUNT_INVALID", "fee_minor_max", f"from 0 to {limits.BALANCE_MINOR_MAX}")
        read.specials[special.place] = Special(hold_id, original_id, special.flags, fee_minor_max)


def read_metadata(rows: Iterable[ledger_pb2.Metadata], count: int) -> dict[int, metadata.Metadata]:
    """Read what callers keep with transfers, by place. Raises `Malformed`."""
    found = {}
    for row in rows:
        _check_place(row.place, count, "metadata")
        found[row.place] = metadata.read(row.pairs)
    return found


def read_actors(
    request: ledger_pb2.PostTransfersRequest | ledger_pb2.LandCrossingsRequest, count: int
) -> list[Actor] | None:
    """Read who asks for each of `count` transfers; None when nobody is named."""
    if not request.actors:
        return None
    actors = [actor(one) for one in request.actors]
    if not request.actor_places:
        return [actors[0]] * count
    places = list(request.actor_places)
    if len(places) != count or not 0 <= min(places) <= max(places) < len(actors):
        raise errors.Malformed("COLUMNS_INVALID", "actor_places", "one place in actors per transfer")
    return [actors[place] for place in places]


def actor(message: ledger_pb2.Actor) -> Actor:
    """Read who asks. Raises `Malformed`."""
    check_texts_and_dates((message.channel, message.subject), ())
    return Actor(message.channel, message.subject)


def one_id(raw: bytes, field: str) -> bytes:
    """Read one id. Raises `Malformed`."""
    if len(raw) != 16:
        raise errors.Malformed("ID_INVALID", field, "not 16 bytes")
    return raw


def page_limit(limit: int) -> int:
    """Read how many a page may hold. Raises `Malformed`."""
    if not 1 <= limit <= limits.PAGE_SIZE_MAX:
        raise errors.Malformed("PAGE_INVALID", "limit", f"from 1 to {limits.PAGE_SIZE_MAX}")
    return limit


def _route(read: Transfers, shard_id: int, shard_by_slot: Sequence[int]) -> None:
    """Mark crossings, transfers over several shards, and what does not belong to this shard.

    Of several shards, the home decides: that of the first payer, of a reversal whichever decided the original.
    """
    peers = [shard_by_slot[account // SLOT_DIVISOR] for account in read.credit_accounts]
    if peers.count(shard_id) != len(peers):
        read.peers = [0 if peer == shard_id else peer for peer in peers]
        for place, peer in enumerate(peers):
            if not peer:  # Nobody has the slot.
                read.payee_refusals[place] = Refusal.CREDIT_ACCOUNT_NOT_FOUND
    for place, account in enumerate(read.debit_accounts):
        if shard_by_slot[account // SLOT_DIVISOR] != shard_id:
            read.errors[place] = PlaceError.WRONG_SHARD
    for place, legs in read.further_legs.items():
        special = read.specials.get(place)
        shards = {shard_by_slot[account // SLOT_DIVISOR] for leg in legs for account in (leg[0], leg[1])}
        if special is not None and special.original_id is not None:
            first = (read.debit_accounts[place], read.credit_accounts[place])
            shards |= {shard_by_slot[account // SLOT_DIVISOR] for account in first}
        if shards != {shard_id}:
            _span(read, place, shard_id, shard_by_slot)


def _span(read: Transfers, place: int, shard_id: int, shard_by_slot: Sequence[int]) -> None:
    """Tell the shards of all legs of a transfer over several; a slot that nobody has is the home's to refuse."""
    first = (read.debit_accounts[place], read.credit_accounts[place])
    sides = [first, *(leg[:2] for leg in read.further_legs[place])]
    shards = tuple(
        (shard_by_slot[debit // SLOT_DIVISOR] or shard_id, shard_by_slot[credit // SLOT_DIVISOR] or shard_id)
        for debit, credit in sides
    )
    special = read.specials.get(place)
    is_reversal = special is not None and special.original_id is not None
    is_home = any(shard_id in pair for pair in shards) if is_reversal else shards[0][0] == shard_id
    read.errors[place] = PlaceError.UNDECIDED if is_home else PlaceError.WRONG_SHARD
    read.spans[place] = shards
    read.payee_refusals.pop(place, None)
    if read.peers is not None:
        read.peers[place] = 0


def _fingerprints(read: Transfers) -> list[int]:
    """Digest each transfer's body: the same for a repeat, another for another intention."""
    count = len(read.transfer_ids)
    dates = read.value_dates or [0] * count
    bodies = list(map(_BODY, read.debit_accounts, read.credit_accounts, read.amounts_minor, read.currencies, dates))
    if read.references is not None:
        bodies = [body + text.encode() for body, text in zip(bodies, read.references, strict=True)]
    for place, legs in read.further_legs.items():
        asked = [
            _BODY(debit, credit, amount, currency, 0) for debit, credit, amount, currency, is_fee in legs if not is_fee
        ]
        if asked:
            bodies[place] += b"\0legs" + b"".join(asked)
    for place, creditor in read.creditors.items():
        bodies[place] += b"\0creditor" + b"\0".join(text.encode() for text in creditor)
    for place, pairs in read.metadata.items():
        bodies[place] += b"\0metadata" + metadata.body(pairs)
    for place, special in read.specials.items():
        bodies[place] += b"\0special%d" % special.flags + (special.hold_id or b"") + (special.original_id or b"")
        if special.fee_minor_max is not None:
            bodies[place] += b"\0fee%d" % special.fee_minor_max
    from_bytes = int.from_bytes
    return [from_bytes(blake2b(body, digest_size=8).digest(), "little", signed=True) for body in bodies]


def fingerprint(body: bytes) -> int:
    """Digest the body of a request; 64 bits tell a mistaken reuse of an id from a repeat."""
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "little", signed=True)


def answered(answers: Answers) -> ledger_pb2.PostTransfersResponse:
    """Write outcomes."""
    response = ledger_pb2.PostTransfersResponse(
        outcomes=answers.outcomes,  # type: ignore[arg-type]
        refusals=answers.refusals,
        booking_times_us=answers.booking_times_us,
        repeats=answers.repeats,
    )
    if answers.errors:
        places: list[int] = [answers.errors.get(place, 0) for place in range(len(answers.outcomes))]
        response.errors.extend(places)  # type: ignore[arg-type]
    for place, leg in sorted(answers.refused_legs.items()):
        response.refused_legs.add(place=place, leg=leg)
    return response


def record(transfer: TransferRecord) -> ledger_pb2.TransferRecord:
    """Write a transfer."""
    creditor = None
    if transfer.creditor is not None:
        creditor = ledger_pb2.ExternalCreditor(**transfer.creditor._asdict())
    return ledger_pb2.TransferRecord(
        transfer_id=transfer.transfer_id,
        legs=[ledger_pb2.TransferRecord.Leg(**leg._asdict()) for leg in transfer.legs],
        outcome=transfer.outcome,  # type: ignore[arg-type]
        refusal=transfer.refusal,
        reference=transfer.reference,
        creditor=creditor,
        booking_time_us=transfer.booking_time_us,
        business_date=transfer.business_date,
        value_date=transfer.value_date,
        flags=transfer.flags,
        actor=None if transfer.actor is None else ledger_pb2.Actor(**transfer.actor._asdict()),
        hold_id=transfer.target_id if transfer.relation in {Relation.CAPTURES, Relation.HOLD} else b"",
        original_id=transfer.target_id if transfer.relation == Relation.REVERSES else b"",
        kind=transfer.kind,
        metadata=dict(transfer.metadata),
        refused_leg=transfer.refused_leg,
        home_shard_id=transfer.home_id,
    )


def balances(numbers: Sequence[int], states: dict[int, AccountState]) -> ledger_pb2.GetBalancesResponse:
    """Write the states of accounts in the order asked for."""
    absent = AccountState(0, 0, 0)
    found = [states.get(number, absent) for number in numbers]
    return ledger_pb2.GetBalancesResponse(
        found=[state is not absent for state in found],
        currencies=[state.currency for state in found],
        balances_minor=[state.balance_minor for state in found],
        helds_minor=[state.held_minor for state in found],
        floors_minor=[state.floor_minor for state in found],
        versions=[state.version for state in found],
        restrictions=[state.restrictions for state in found],
    )


def read_ids(joined: bytes) -> list[bytes]:
    """Read ids that stand one after the other. Raises `Malformed`."""
    if len(joined) % 16:
        raise errors.Malformed("TRANSFER_IDS_INVALID", "transfer_ids", "not a whole number of 16-byte ids")
    return [joined[start : start + 16] for start in range(0, len(joined), 16)]


def check_columns(count: int, columns: Sequence[Sequence[Any]], optional: Sequence[Sequence[Any] | None]) -> None:
    """Raise `Malformed` unless all columns have a place for each of `count`."""
    given = [len(column) for column in (*columns, *optional) if column is not None]
    if not 1 <= count <= limits.TRANSFERS_PER_CALL_MAX or any(length != count for length in given):
        raise errors.Malformed(
            "COLUMNS_INVALID", "transfer_ids", f"from 1 to {limits.TRANSFERS_PER_CALL_MAX} ids and columns as long"
        )


def _check_place(place: int, count: int, field: str) -> None:
    if not 0 <= place < count:
        raise errors.Malformed("PLACE_INVALID", field, f"place {place} is not in the call")


def check_texts_and_dates(texts: Sequence[str], dates: Sequence[int]) -> None:
    """Raise `Malformed` for texts or days since 1970-01-01 that the books cannot take."""
    if "\0" in "".join(texts):
        raise errors.Malformed("TEXT_INVALID", "references", "a text contains NUL")
    if dates and not 0 <= min(dates) <= max(dates) <= DAYS_MAX:
        raise errors.Malformed("DATE_INVALID", "value_dates", f"from 0 to {DAYS_MAX} days since 1970-01-01")


def check_legs(payers: Sequence[int], payees: Sequence[int], amounts: Sequence[int], currencies: Sequence[int]) -> None:
    """Raise `Malformed` for legs that no books can have."""
    if not 0 < min(currencies) <= max(currencies) < 1000:
        raise errors.Malformed("CURRENCY_UNKNOWN", "currencies", "not an ISO 4217 number")
    if min(amounts) < 1 or max(amounts) > limits.AMOUNT_MINOR_MAX:
        raise errors.Malformed("AMOUNT_INVALID", "amounts_minor", f"from 1 to {limits.AMOUNT_MINOR_MAX}")
    for column in (payers, payees):
        if min(column) < 1 or max(column) >= 10**16:
            raise errors.Malformed("ACCOUNT_NUMBER_INVALID", "accounts", "an account number has 16 digits")
    for debit, credit in zip(payers, payees, strict=True):
        if debit == credit:
            raise errors.Malformed("SAME_ACCOUNT", "accounts", f"{account_text(debit)} is on both sides of a leg")


def trail_row(row: Any) -> ledger_pb2.ListTrailResponse.Row:
    """Write one row of the audit trail."""
    return ledger_pb2.ListTrailResponse.Row(
        sequence=row["sequence"],
        time_us=row["time"],
        kind=row["kind"],
        id=row["id"],
        debit_account=row["debit_account"],
        credit_account=row["credit_account"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        outcome=row["outcome"],
        refusal=row["refusal"],
        flags=row["flags"],
        words=row["words"],
        actor=ledger_pb2.Actor(channel=row["channel"], subject=row["subject"]),
        leg_count=row["leg_count"],
    )
