"""Between the gateway's values, the ledgers' columns and the public messages.

Never here: reading what callers send (`fields.py`, `validation.py`).
"""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from itertools import chain
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis import catalogue_wire, status
from services.domain import currencies, errors, identifiers
from services.domain.outcomes import NOT_THERE, Outcome, Refusal
from services.domain.products import Reference
from services.gateway.authentication import Caller
from services.gateway.columns import FEES_WAIVED, LIMITS_OVERRIDDEN, Outcomes, Special, Transfers

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()

_SENTENCES: Final = {
    Refusal.REVERSED_BEFORE_ARRIVAL: "somebody reversed the transfer before it was asked for",
    Refusal.PROMISE_TIMED_OUT: "it was given up before every shard had promised its part",
    Refusal.DEBIT_ACCOUNT_NOT_FOUND: "the debit account is not in the books",
    Refusal.CREDIT_ACCOUNT_NOT_FOUND: "the credit account is not in the books",
    Refusal.HOLD_NOT_FOUND: "the debit account has no such hold",
    Refusal.HOLD_ALREADY_CAPTURED: "the hold has been captured",
    Refusal.HOLD_ALREADY_RELEASED: "the hold has been released",
    Refusal.HOLD_ALREADY_EXPIRED: "the hold has expired",
    Refusal.ORIGINAL_NOT_FOUND: "the transfer to be reversed is not in the books",
    Refusal.ORIGINAL_NOT_POSTED: "the transfer to be reversed is not posted",
    Refusal.REVERSAL_MISMATCH: "a reversal runs from the original's payee to its payer; one of several legs is whole",
    Refusal.DEBIT_CURRENCY_MISMATCH: "the debit account has another currency",
    Refusal.CREDIT_CURRENCY_MISMATCH: "the credit account has another currency",
    Refusal.DEBIT_ACCOUNT_CLOSED: "the debit account is closed",
    Refusal.DEBIT_ACCOUNT_PENDING: "the debit account has not been made active yet",
    Refusal.CREDIT_ACCOUNT_CLOSED: "the credit account is closed",
    Refusal.CREDIT_ACCOUNT_PENDING: "the credit account has not been made active yet",
    Refusal.DEBITS_FROZEN: "debits of the debit account are frozen",
    Refusal.DEBIT_ACCOUNT_DORMANT: "the debit account is dormant",
    Refusal.CREDITS_FROZEN: "credits of the credit account are frozen",
    Refusal.HOLD_PAYEE_MISMATCH: "the hold was placed for another payee",
    Refusal.CAPTURE_EXCEEDS_HOLD: "the capture is more than the hold",
    Refusal.REVERSAL_EXCEEDS_ORIGINAL: "all reversals together would give back more than the original moved",
    Refusal.FEE_EXCEEDS_MAXIMUM: "the fee is more than the most that was agreed to",
    Refusal.INSUFFICIENT_FUNDS: "the debit account has not enough money available",
    Refusal.TRANSFER_LIMIT: "more than the debit account may pay at a time",
    Refusal.DAY_AMOUNT_LIMIT: "more than the debit account may pay in a business day",
    Refusal.DAY_COUNT_LIMIT: "more often than the debit account may pay in a business day",
    Refusal.CUSTOMER_DAY_LIMIT: "more than the customer may pay in a business day over all accounts of the currency",
    Refusal.CREDIT_BALANCE_LIMIT: "the credit account would rise above the highest balance that it may have",
    Refusal.CUSTOMER_MISSING: "the account has no customer whose cap could be set",
    Refusal.STATE_MAY_NOT_FOLLOW: "the account's state does not allow that one next",
    Refusal.ACCOUNT_NOT_EMPTY: "the account has a balance, a hold, or money on its way to another shard",
    Refusal.TRANSFER_ID_TAKEN: "another shard that takes part knows the id for another transfer",
}
assert _SENTENCES.keys() == set(Refusal)

# The public states are the outcomes by the same numbers, so they need no translation.
assert {name: number for name, number in bank_pb2.Transfer.State.items() if number} == {
    outcome.name: outcome.value for outcome in Outcome
}

STATE_BY_RESTRICTIONS: Final = {
    0: bank_pb2.Account.ACTIVE,
    1: bank_pb2.Account.DEBITS_FROZEN,
    2: bank_pb2.Account.CREDITS_FROZEN,
    3: bank_pb2.Account.FROZEN,
    4: bank_pb2.Account.CLOSED,
    16: bank_pb2.Account.PENDING,
    32: bank_pb2.Account.DORMANT,
}
"""What the books forbid an account, as its state of life."""


def post_request(shard_id: int, transfers: Transfers, directory_version: int) -> ledger_pb2.PostTransfersRequest:
    """Write transfers, their chart names resolved, as a ledger wants them."""
    request = ledger_pb2.PostTransfersRequest(
        shard_id=shard_id,
        transfer_ids=transfers.transfer_ids,
        debit_accounts=transfers.debit_accounts,
        credit_accounts=transfers.credit_accounts,
        amounts_minor=transfers.amounts_minor,
        currencies=transfers.currencies,
        references=transfers.references,
        value_dates=transfers.value_dates,
        directory_version=directory_version,
        actors=[ledger_pb2.Actor(**row._asdict()) for row in transfers.actors],
        actor_places=transfers.actor_places,
    )
    _add_rarities(request, transfers)
    return request


def _add_rarities(request: ledger_pb2.PostTransfersRequest, transfers: Transfers) -> None:
    """Write what only some transfers have. Messages are made where they belong: made first and copied, they cost twice."""
    for place, debit, credit, amount, currency, is_fee in transfers.further_legs:
        request.further_legs.add(
            place=place,
            debit_account=debit,
            credit_account=credit,
            amount_minor=amount,
            currency=currency,
            is_fee=is_fee,
        )
    for creditor in transfers.creditors:
        request.creditors.add(**creditor._asdict())
    for place, special in transfers.specials.items():
        request.specials.add(
            place=place,
            hold_id=special.hold_id,
            original_id=special.original_id,
            flags=special.flags,
            fee_minor_max=special.fee_minor_max,
        )
    for place, pairs in transfers.metadata.items():
        kept = request.metadata.add(place=place).pairs
        for key, value in pairs:
            kept[key] = value


def outcomes(response: ledger_pb2.PostTransfersResponse) -> Outcomes:
    """Read a ledger's answer."""
    columns = (response.outcomes, response.refusals, response.booking_times_us, response.errors)
    legs = {refused.place: refused.leg for refused in response.refused_legs}
    return Outcomes(*columns, response.repeats, legs)


def place_error(number: int, transfer_id: bytes) -> errors.BankError:
    """Say why a ledger gave no outcome, other than that it is the wrong shard."""
    match number:
        case ledger_pb2.PLACE_ERROR_TRANSFER_ID_REUSED:
            text = identifiers.uuid_text(transfer_id)
            return errors.Conflict(
                "TRANSFER_ID_REUSED", f"{text} already names another transfer", {"transfer_id": text}
            )
        case ledger_pb2.PLACE_ERROR_PAYEE_SHARD_UNREACHABLE:
            return errors.Unavailable(
                "PAYEE_SHARD_UNREACHABLE", "the payee's shard does not answer; nothing was written"
            )
        case ledger_pb2.PLACE_ERROR_OUTCOME_UNKNOWN:
            return errors.OutcomeUnknown(
                status.DOUBT_REASON, "it may or may not have been decided: send the same ids again"
            )
        case ledger_pb2.PLACE_ERROR_UNDECIDED:
            return errors.Unavailable(
                "TRANSFER_UNDECIDED", "not every shard has promised its part in time: send the same id again"
            )
        case ledger_pb2.PLACE_ERROR_ORIGINAL_IN_TRANSIT:
            return original_in_transit()
    raise AssertionError(f"a ledger gave neither an outcome nor a known error: {number}")


def original_in_transit() -> errors.Unavailable:
    """Say that a reversal cannot be decided yet."""
    return errors.Unavailable(
        "ORIGINAL_IN_TRANSIT",
        "the original is on its way, or its payer's shard will hear that it has arrived: send the same again",
    )


def refusal_name(refusal: int) -> str:
    """Return the public reason of a refusal; empty for 0."""
    return Refusal(refusal).name if refusal else ""


def refusal_error(transfer_id: bytes, outcome: int, refusal: int, leg: int | None = None) -> errors.BankError:
    """Say that a transfer was refused or returned; `leg` is the one of several that is to blame, from 0."""
    metadata = {"transfer_id": identifiers.uuid_text(transfer_id), "state": Outcome(outcome).name}
    if leg is not None:
        metadata["leg"] = str(leg)
    return refused(refusal, metadata)


def actor(caller: Caller) -> ledger_pb2.Actor:
    """Write who asks."""
    return ledger_pb2.Actor(channel=caller.channel, subject=caller.subject)


def refused(refusal: int, metadata: Mapping[str, str]) -> errors.BankError:
    """Say why the books refuse something."""
    reason = Refusal(refusal)
    kind = errors.NotFound if reason in NOT_THERE else errors.Refused
    return kind(reason.name, _SENTENCES[reason], metadata)


def posted_transfer(
    asked: bank_pb2.Transfer, transfers: Transfers, outcome: int, booking_time_us: int
) -> bank_pb2.Transfer:
    """Write one transfer, asked for and routed alone, with its outcome."""
    (actor,) = transfers.actors
    special = transfers.specials.get(0, Special())
    payer = transfers.debit_accounts[0]
    firsts = zip(
        transfers.debit_accounts,
        transfers.credit_accounts,
        transfers.amounts_minor,
        transfers.currencies,
        strict=True,
    )
    further = (each[1:] for each in transfers.further_legs)
    transfer_id = identifiers.uuid_text(transfers.transfer_ids)
    return bank_pb2.Transfer(
        name=transfer_name(payer, transfers.transfer_ids),
        transfer_id=transfer_id,
        legs=[leg(*each) for each in chain(firsts, further)],
        reference=asked.reference,
        creditor=asked.creditor if asked.HasField("creditor") else None,
        value_date=asked.value_date if asked.HasField("value_date") else None,
        state=outcome,  # type: ignore[arg-type]
        booking_time=timestamp(booking_time_us),
        captured_hold=hold_name(payer, special.hold_id) if special.hold_id else "",
        override_limits=bool(special.flags & LIMITS_OVERRIDDEN),
        fee_minor_max=special.fee_minor_max,
        waive_fees=bool(special.flags & FEES_WAIVED),
        fee_minor=sum(leg.amount_minor for leg in transfers.further_legs if leg.is_fee),
        actor=actor.subject,
        channel=actor.channel,
        metadata=asked.metadata,
    )


def external_creditor(it: ledger_pb2.ExternalCreditor) -> bank_pb2.ExternalCreditor:
    """Write who is paid at another bank."""
    return bank_pb2.ExternalCreditor(
        bank_code=it.bank_code,
        account=it.account,
        creditor_name=it.creditor_name,
        remittance_text=it.remittance_text,
    )


def transfer_name(payer: int, transfer_id: bytes) -> str:
    """Write the name of a transfer."""
    return f"accounts/{payer:016d}/transfers/{identifiers.uuid_text(transfer_id)}"


def hold_name(account_number: int, hold_id: bytes) -> str:
    """Write the name of a hold."""
    return f"accounts/{account_number:016d}/holds/{identifiers.uuid_text(hold_id)}"


def hold(record: ledger_pb2.Hold) -> bank_pb2.Hold:
    """Write a hold."""
    return bank_pb2.Hold(
        name=hold_name(record.account_number, record.hold_id),
        hold_id=identifiers.uuid_text(record.hold_id),
        account=f"{record.account_number:016d}",
        amount_minor=record.amount_minor,
        currency_code=currencies.CODE_BY_NUMBER[record.currency],
        payee_account=f"{record.payee_account:016d}" if record.payee_account else "",
        reference=record.reference,
        state=record.state,  # type: ignore[arg-type]
        expire_time=timestamp(record.expire_time_us),
        captured_minor=record.captured_minor,
    )


def leg(debit_account: int, credit_account: int, amount_minor: int, currency: int, is_fee: int = False) -> bank_pb2.Leg:
    """Write a leg."""
    return bank_pb2.Leg(
        debit_account=f"{debit_account:016d}",
        credit_account=f"{credit_account:016d}",
        amount_minor=amount_minor,
        currency_code=currencies.CODE_BY_NUMBER[currency],
        is_fee=bool(is_fee),
    )


def balance(
    account_number: int, currency: int, balance_minor: int, held_minor: int, floor_minor: int, version: int
) -> bank_pb2.Balance:
    """Write what an account holds."""
    return bank_pb2.Balance(
        name=f"accounts/{account_number:016d}/balance",
        currency_code=currencies.CODE_BY_NUMBER[currency],
        balance_minor=balance_minor,
        held_minor=held_minor,
        available_minor=balance_minor - held_minor - floor_minor,
        version=version,
    )


def customer(record: account_pb2.Customer) -> bank_pb2.Customer:
    """Write a customer."""
    number = identifiers.customer_text(record.customer_number)
    return bank_pb2.Customer(
        name=f"customers/{number}",
        customer_number=number,
        external_reference=record.external_reference,
        display_name=record.display_name,
        create_time=timestamp(record.create_time_us),
        **_opened_by(record),
    )


def account(record: account_pb2.Account, restrictions: int | None = None) -> bank_pb2.Account:
    """Write an account; its state of life, once it is open, is what the books forbid it."""
    state = record.state
    if restrictions is not None and state == bank_pb2.Account.ACTIVE:
        state = STATE_BY_RESTRICTIONS[restrictions]
    number = identifiers.account_text(record.account_number)
    return bank_pb2.Account(
        name=f"accounts/{number}",
        account_number=number,
        customer=f"customers/{identifiers.customer_text(record.customer_number)}",
        currency_code=currencies.CODE_BY_NUMBER[record.currency],
        external_reference=record.external_reference,
        state=state,  # type: ignore[arg-type]
        create_time=timestamp(record.create_time_us),
        product=catalogue_wire.product_name(Reference(record.product_code, record.product_version)),
        **_opened_by(record),
    )


def _opened_by(record: account_pb2.Customer | account_pb2.Account) -> dict[str, str]:
    request_id = identifiers.uuid_text(record.request_id) if record.request_id else ""
    return {"actor": record.subject, "channel": record.channel, "request_id": request_id}


_KIND_BY_REASON: Final = {
    "REQUEST_ID_REUSED": errors.Conflict,
    "EXTERNAL_REFERENCE_TAKEN": errors.Conflict,
    "BANK_FULL": errors.Refused,
    "CUSTOMER_NOT_FOUND": errors.NotFound,
    "PRODUCT_NOT_FOUND": errors.NotFound,
    "PRODUCT_CURRENCY_MISMATCH": errors.Refused,
}


def opening_error(error: account_pb2.PlaceError) -> errors.BankError:
    """Say why the account service did not open a customer or an account."""
    kind = _KIND_BY_REASON.get(error.reason, errors.Unavailable)
    return kind(error.reason, error.message)


def timestamp(microseconds: int) -> Timestamp:
    """Write microseconds since 1970-01-01 UTC."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def day(days: int) -> Date:
    """Write days since 1970-01-01."""
    year, month, day_of_month = _calendar(days)
    return Date(year=year, month=month, day=day_of_month)


@lru_cache(maxsize=4096)
def _calendar(days: int) -> tuple[int, int, int]:
    it = date.fromordinal(days + _EPOCH_ORDINAL)
    return it.year, it.month, it.day
