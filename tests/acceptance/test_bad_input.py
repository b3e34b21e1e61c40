"""Whatever is wrong with a request, its caller gets a documented status and reason, and nothing is written."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import StatusCode
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.gateway.v1 import bank_pb2_grpc
from small_bank import FUNDS_MINOR, World, absent, leg, post, read_status

from services.cli import tokens
from services.domain import chart, identifiers, limits
from services.gateway import scopes

NOBODYS_SLOT = f"{identifiers.account_number(9000, 1):016d}"
TRANSIT = f"{chart.transit_account(1, 2, 203):016d}"
ABSENT_CUSTOMER = f"customers/{identifiers.customer_number(0, identifiers.CUSTOMER_SERIAL_MAX):014d}"


@pytest.fixture(autouse=True)
async def nothing_is_written(world: World) -> AsyncIterator[None]:
    world.before = await world.books()
    yield
    assert await world.books() == world.before


Make = Callable[[World], Any]


def hold(account: str, **changes: Any) -> bank.Hold:
    usual = {"hold_id": str(uuid4()), "account": account, "amount_minor": 1, "currency_code": "CZK"}
    return bank.Hold(**(usual | changes))


def hold_name(account: str) -> str:
    return f"accounts/{account}/holds/{uuid4()}"


def reversal(payer: str) -> bank.ReverseTransferRequest:
    return bank.ReverseTransferRequest(name=f"accounts/{payer}/transfers/{uuid4()}", transfer_id=str(uuid4()))


def frozen(account: str) -> bank.ChangeAccountStateRequest:
    return bank.ChangeAccountStateRequest(
        name=f"accounts/{account}", request_id=str(uuid4()), state="FROZEN", reason="test"
    )


def overdraft(account: str) -> bank.ChangeAccountLimitsRequest:
    name = f"accounts/{account}"
    return bank.ChangeAccountLimitsRequest(name=name, request_id=str(uuid4()), floor_minor=-1, reason="test")


MALFORMED: list[tuple[str, Make, list[tuple[str, str]]]] = [
    ("a mistyped account", lambda w: post(leg(w.mine[:-1] + str((int(w.mine[-1]) + 1) % 10), w.far)), [("legs[0].debit_account", "ACCOUNT_NUMBER_INVALID")]),
    ("no account", lambda w: post(leg(w.mine, "")), [("legs[0].credit_account", "ACCOUNT_NUMBER_INVALID")]),
    ("a transit account", lambda w: post(leg(w.mine, TRANSIT)), [("legs[0].credit_account", "ACCOUNT_RESERVED")]),
    ("two chart names", lambda w: post(leg("CASH", "FEES")), [("legs[0].credit_account", "CHART_NAMES_ON_BOTH_SIDES")]),
    ("an unknown currency", lambda w: post(leg(w.mine, w.far, currency_code="CSK")), [("legs[0].currency_code", "CURRENCY_UNKNOWN")]),
    ("no amount", lambda w: post(leg(w.mine, w.far, 0)), [("legs[0].amount_minor", "AMOUNT_NOT_POSITIVE")]),
    ("a negative amount", lambda w: post(leg(w.mine, w.far, -1)), [("legs[0].amount_minor", "AMOUNT_NOT_POSITIVE")]),
    ("too large an amount", lambda w: post(leg("CASH", w.far, limits.AMOUNT_MINOR_MAX + 1)), [("legs[0].amount_minor", "AMOUNT_TOO_LARGE")]),
    ("the same account on both sides", lambda w: post(leg(w.mine, w.mine)), [("legs[0].credit_account", "SAME_ACCOUNT")]),
    ("too many legs", lambda w: post(*[leg(w.mine, w.neighbour)] * (limits.LEGS_PER_TRANSFER_MAX + 1)), [("legs", "LEGS_TOO_MANY")]),
    ("no legs", lambda w: post(), [("legs", "LEGS_MISSING")]),
    ("a malformed transfer id", lambda w: post(leg(w.mine, w.far), transfer_id="7"), [("transfer_id", "UUID_INVALID")]),
    ("too long a reference", lambda w: post(leg(w.mine, w.far), reference="x" * 141), [("reference", "TEXT_TOO_LONG")]),
    ("a line break in a reference", lambda w: post(leg(w.mine, w.far), reference="a\nb"), [("reference", "TEXT_HAS_CONTROL_CHARACTERS")]),
    ("a date that there is not", lambda w: post(leg(w.mine, w.far), value_date={"year": 2025, "month": 2, "day": 29}), [("value_date", "VALUE_DATE_INVALID")]),
    ("a creditor without an account", lambda w: post(leg(w.mine, "FEES"), creditor={"bank_code": "AB"}), [("creditor.account", "CREDITOR_ACCOUNT_MISSING")]),
    ("nothing at all", lambda w: bank.PostTransferRequest(), [("transfer_id", "UUID_INVALID"), ("legs", "LEGS_MISSING")]),
    ("everything at once", lambda w: post(leg("1", "2", 0, "?"), transfer_id="?"), [("transfer_id", "UUID_INVALID"), ("legs[0].debit_account", "ACCOUNT_NUMBER_INVALID"), ("legs[0].credit_account", "ACCOUNT_NUMBER_INVALID"), ("legs[0].amount_minor", "AMOUNT_NOT_POSITIVE"), ("legs[0].currency_code", "CURRENCY_UNKNOWN")]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "violations"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
async def test_a_malformed_transfer_is_refused_with_all_its_violations(
    world: World, make: Make, violations: list[tuple[str, str]]
) -> None:
    request = make(world)
    told = await world.told("PostTransfer", request)
    assert told.code is StatusCode.INVALID_ARGUMENT
    assert told.violations == [(f"transfer.{field}", reason) for field, reason in violations]
    assert told.reason == violations[0][1]
    many = await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=[request.transfer] * 2))
    for place, result in enumerate(many.results):
        alone = read_status(result.error)
        assert result.state == bank.Transfer.STATE_UNSPECIFIED
        assert (alone.code, alone.reason) == (told.code, told.reason)
        assert alone.violations == [(f"transfers[{place}].{field}", reason) for field, reason in violations]


COMMANDS: list[tuple[str, Any, list[tuple[str, str]]]] = [
    ("PlaceHold", bank.PlaceHoldRequest(hold=hold("1", hold_id="?", amount_minor=0, hold_seconds=-1)), [("hold.hold_id", "UUID_INVALID"), ("hold.account", "ACCOUNT_NUMBER_INVALID"), ("hold.amount_minor", "AMOUNT_NOT_POSITIVE"), ("hold.hold_seconds", "HOLD_SECONDS_INVALID")]),
    ("IncreaseHold", bank.IncreaseHoldRequest(name="holds/1", currency_code="?"), [("name", "NAME_INVALID"), ("request_id", "UUID_INVALID"), ("amount_minor", "AMOUNT_NOT_POSITIVE"), ("currency_code", "CURRENCY_UNKNOWN")]),
    ("CaptureHold", bank.CaptureHoldRequest(), [("name", "NAME_INVALID"), ("transfer.transfer_id", "UUID_INVALID"), ("transfer.legs", "LEGS_MISSING")]),
    ("ReleaseHold", bank.ReleaseHoldRequest(), [("name", "NAME_INVALID"), ("request_id", "UUID_INVALID")]),
    ("GetHold", bank.GetHoldRequest(), [("name", "NAME_INVALID")]),
    ("ListHolds", bank.ListHoldsRequest(parent="accounts/1"), [("parent", "ACCOUNT_NUMBER_INVALID")]),
    ("ReverseTransfer", bank.ReverseTransferRequest(amount_minor=-1, policy=7), [("name", "NAME_INVALID"), ("transfer_id", "UUID_INVALID"), ("amount_minor", "AMOUNT_NEGATIVE"), ("policy", "POLICY_UNKNOWN")]),
    ("ChangeAccountState", bank.ChangeAccountStateRequest(state="OPENING"), [("name", "NAME_INVALID"), ("request_id", "UUID_INVALID"), ("state", "STATE_INVALID"), ("reason", "REASON_MISSING")]),
    ("ChangeAccountLimits", bank.ChangeAccountLimitsRequest(reason="x"), [("name", "NAME_INVALID"), ("request_id", "UUID_INVALID"), ("limits", "CHANGE_MISSING")]),
]  # fmt: skip


@pytest.mark.parametrize(("method", "request_", "violations"), COMMANDS, ids=[row[0] for row in COMMANDS])
async def test_a_malformed_command_is_refused_with_all_its_violations(
    world: World, method: str, request_: Any, violations: list[tuple[str, str]]
) -> None:
    told = await world.told(method, request_)
    assert (told.code, told.reason) == (StatusCode.INVALID_ARGUMENT, violations[0][1])
    assert told.violations == violations


REFUSED: list[tuple[str, Make, StatusCode, str]] = [
    ("an unknown payer", lambda w: post(leg(absent(w.mine), w.far)), StatusCode.NOT_FOUND, "DEBIT_ACCOUNT_NOT_FOUND"),
    ("an unknown payee on the payer's shard", lambda w: post(leg(w.mine, absent(w.mine))), StatusCode.NOT_FOUND, "CREDIT_ACCOUNT_NOT_FOUND"),
    ("an unknown payee on another shard", lambda w: post(leg(w.mine, absent(w.far))), StatusCode.NOT_FOUND, "CREDIT_ACCOUNT_NOT_FOUND"),
    ("another currency than the payer's", lambda w: post(leg(w.euros, w.neighbour)), StatusCode.FAILED_PRECONDITION, "DEBIT_CURRENCY_MISMATCH"),
    ("another currency than the payee's", lambda w: post(leg(w.mine, w.euros)), StatusCode.FAILED_PRECONDITION, "CREDIT_CURRENCY_MISMATCH"),
    ("another currency than the payee's on another shard", lambda w: post(leg(w.euros, w.far, 1, "EUR")), StatusCode.FAILED_PRECONDITION, "CREDIT_CURRENCY_MISMATCH"),
    ("more money than there is", lambda w: post(leg(w.mine, w.neighbour, FUNDS_MINOR + 1)), StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS"),
    ("more money than there is, to another shard", lambda w: post(leg(w.mine, w.far, FUNDS_MINOR + 1)), StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS"),
    ("a second leg that fails", lambda w: post(leg(w.mine, w.neighbour), leg(w.mine, w.neighbour, FUNDS_MINOR)), StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "code", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_what_the_books_refuse_is_refused_for_ever(
    world: World, make: Make, code: StatusCode, reason: str
) -> None:
    request = make(world)
    transfer_id = request.transfer.transfer_id
    for _ in range(2):
        told = await world.told("PostTransfer", request)
        assert (told.code, told.reason) == (code, reason)
        at_fault = {"leg": "1"} if len(request.transfer.legs) > 1 else {}
        assert told.metadata == {"transfer_id": transfer_id, "state": "REFUSED", **at_fault}
    (result,) = (await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=[request.transfer]))).results
    assert (result.state, result.reason) == (bank.Transfer.REFUSED, reason)
    name = f"accounts/{request.transfer.legs[0].debit_account}/transfers/{transfer_id}"
    found = await world.ask("GetTransfer", bank.GetTransferRequest(name=name))
    assert (found.state, found.reason) == (bank.Transfer.REFUSED, reason)


NOT_ROUTED: list[tuple[str, Make, StatusCode, str]] = [
    ("a payer in nobody's slot", lambda w: post(leg(NOBODYS_SLOT, w.far)), StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"),
    ("a payee in nobody's slot", lambda w: post(leg(w.mine, NOBODYS_SLOT)), StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"),
    ("a chart name for the other side itself", lambda w: post(leg(f"{chart.internal_account(1, chart.Code.CASH, 203):016d}", "CASH")), StatusCode.INVALID_ARGUMENT, "SAME_ACCOUNT"),
    ("a bank that is no partner", lambda w: post(leg(w.mine, "NOSTRO.NOBODY")), StatusCode.NOT_FOUND, "PARTNER_BANK_NOT_FOUND"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "code", "reason"), [row[1:] for row in NOT_ROUTED], ids=[row[0] for row in NOT_ROUTED]
)
async def test_what_cannot_be_routed_never_reaches_the_books(
    world: World, make: Make, code: StatusCode, reason: str
) -> None:
    request = make(world)
    told = await world.told("PostTransfer", request)
    assert (told.code, told.reason) == (code, reason)
    (result,) = (await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=[request.transfer]))).results
    assert read_status(result.error) == told
    name = f"accounts/{world.mine}/transfers/{request.transfer.transfer_id}"
    assert (await world.told("GetTransfer", bank.GetTransferRequest(name=name))).reason == "TRANSFER_NOT_FOUND"


async def test_an_id_that_names_another_transfer_is_refused(world: World) -> None:
    first = post(leg(world.mine, world.neighbour, FUNDS_MINOR + 1))
    await world.told("PostTransfer", first)
    for other in (
        leg(world.mine, world.neighbour, FUNDS_MINOR + 2),
        leg(world.mine, world.far, FUNDS_MINOR + 1),
        leg(world.mine, world.neighbour, FUNDS_MINOR + 1, "EUR"),
    ):
        request = post(other, transfer_id=first.transfer.transfer_id)
        told = await world.told("PostTransfer", request)
        assert (told.code, told.reason) == (StatusCode.ALREADY_EXISTS, "TRANSFER_ID_REUSED")
        (result,) = (await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=[request.transfer]))).results
        assert read_status(result.error) == told


async def test_a_request_id_that_opened_something_else_is_refused(world: World) -> None:
    request = bank.OpenCustomerRequest(request_id=str(uuid4()), customer=bank.Customer(display_name="Jana"))
    opened = await world.ask("OpenCustomer", request)
    assert await world.ask("OpenCustomer", request) == opened
    request.customer.display_name = "Jan"
    told = await world.told("OpenCustomer", request)
    assert (told.code, told.reason) == (StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_one_bad_transfer_of_a_call_does_not_stop_the_others(world: World) -> None:
    transfers = [
        post(leg(world.mine, world.far, 5)).transfer,
        post(leg(world.mine, world.mine)).transfer,
        post(leg(world.far, world.mine, 5)).transfer,
        post(leg(world.far, NOBODYS_SLOT)).transfer,
        post(leg(world.mine, world.neighbour, FUNDS_MINOR * 9)).transfer,
    ]
    before = world.before
    many = await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=transfers))
    again = await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=transfers))
    assert again == many
    states = [bank.Transfer.POSTED, 0, bank.Transfer.POSTED, 0, bank.Transfer.REFUSED]
    assert [result.state for result in many.results] == states
    assert [read_status(result.error).reason for result in many.results if result.HasField("error")] == [
        "SAME_ACCOUNT",
        "ACCOUNT_NOT_FOUND",
    ]
    world.before = after = await world.books()
    moved = [(old.version, new.version) for old, new in zip(before, after, strict=True) if old != new]
    assert [new - old for old, new in moved] == [2, 2]
    assert [old.balance_minor for old in before] == [new.balance_minor for new in after]


@pytest.mark.parametrize("count", [0, limits.TRANSFERS_PER_CALL_MAX + 1])
async def test_a_call_with_too_few_or_too_many_transfers_is_refused_as_a_whole(world: World, count: int) -> None:
    transfers = [post(leg(world.mine, world.far)).transfer] * count
    told = await world.told("PostTransfers", bank.PostTransfersRequest(transfers=transfers))
    assert told.violations == [("transfers", "TRANSFERS_COUNT_INVALID")]


async def test_the_answer_to_thousands_of_bad_transfers_still_fits_a_message(world: World) -> None:
    worst = post(leg("1", "2", 0, "?"), transfer_id="?", reference="\n").transfer
    request = bank.PostTransfersRequest(transfers=[worst] * limits.TRANSFERS_PER_CALL_MAX)
    many = await world.ask("PostTransfers", request)
    assert {read_status(result.error).reason for result in many.results} == {"UUID_INVALID"}


async def test_too_large_a_message_is_refused_before_it_isread_status(world: World) -> None:
    request = post(leg(world.mine, world.far), reference="x" * limits.MESSAGE_BYTES_MAX)
    async with grpc.aio.insecure_channel(world.bank.gateway) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await bank_pb2_grpc.BankStub(channel).PostTransfer(
                request, metadata=(("authorization", f"Bearer {world.token}"),), timeout=20
            )
    assert failed.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert failed.value.details() == "a message larger than the server reads"


ANYTHING: list[tuple[str, Make]] = [
    ("OpenCustomer", lambda w: bank.OpenCustomerRequest(request_id=str(uuid4()))),
    ("OpenAccount", lambda w: bank.OpenAccountRequest(request_id=str(uuid4()))),
    ("GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{w.mine}/balance")),
    ("PostTransfer", lambda w: post(leg(w.mine, w.far))),
    ("PostTransfers", lambda w: bank.PostTransfersRequest(transfers=[post(leg(w.mine, w.far)).transfer])),
    ("ListShards", lambda w: bank.ListShardsRequest()),
    ("PlaceHold", lambda w: bank.PlaceHoldRequest(hold=hold(w.mine))),
    ("CaptureHold", lambda w: bank.CaptureHoldRequest(name=hold_name(w.mine), transfer=post(leg(w.mine, w.far)).transfer)),
    ("GetHold", lambda w: bank.GetHoldRequest(name=hold_name(w.mine))),
    ("ReverseTransfer", lambda w: reversal(w.mine)),
    ("ChangeAccountState", lambda w: frozen(w.mine)),
    ("ChangeAccountLimits", lambda w: overdraft(w.mine)),
]  # fmt: skip


@pytest.mark.parametrize(("method", "make"), ANYTHING, ids=[row[0] for row in ANYTHING])
async def test_without_a_good_token_nothing_is_done(world: World, method: str, make: Make) -> None:
    wrong_secret = tokens.mint("x" * 64, subject="somebody")
    for token, reason in (
        ("", "TOKEN_MISSING"),
        ("nonsense", "TOKEN_INVALID"),
        (wrong_secret, "TOKEN_INVALID"),
        (world.mint(issuer="somebody else"), "TOKEN_INVALID"),
        (world.mint(audience="another bank"), "TOKEN_INVALID"),
        (world.mint(lifetime_seconds=-1), "TOKEN_EXPIRED"),
    ):
        told = await world.told(method, make(world), token)
        assert (told.code, told.reason) == (StatusCode.UNAUTHENTICATED, reason)


@pytest.mark.parametrize(("method", "make"), ANYTHING, ids=[row[0] for row in ANYTHING])
async def test_without_the_right_scope_nothing_is_done(world: World, method: str, make: Make) -> None:
    scope = scopes.SCOPE_BY_CALL[method]
    told = await world.told(method, make(world), world.mint(*(set(tokens.SCOPES) - {scope})))
    assert (told.code, told.reason) == (StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert told.metadata == {"scope": scope}


OTHERS: list[tuple[str, str, Make, str]] = [
    ("an account", "GetAccount", lambda w: bank.GetAccountRequest(name=f"accounts/{w.far}"), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("a balance", "GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{w.far}/balance"), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("a neighbour's balance", "GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{w.neighbour}/balance"), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("a balance of an account that there is not", "GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{absent(w.mine)}/balance"), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("a statement", "ListEntries", lambda w: bank.ListEntriesRequest(parent=f"accounts/{w.far}"), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("the accounts of another", "ListAccounts", lambda w: bank.ListAccountsRequest(parent=w.customers[1].name), "ANOTHER_CUSTOMER"),
    ("another customer", "GetCustomer", lambda w: bank.GetCustomerRequest(name=w.customers[1].name), "ANOTHER_CUSTOMER"),
    ("a customer that there is not", "GetCustomer", lambda w: bank.GetCustomerRequest(name=ABSENT_CUSTOMER), "ANOTHER_CUSTOMER"),
    ("an account for another", "OpenAccount", lambda w: bank.OpenAccountRequest(request_id=str(uuid4()), account=bank.Account(customer=w.customers[1].name, currency_code="CZK")), "ANOTHER_CUSTOMER"),
    ("another's money", "PostTransfer", lambda w: post(leg(w.far, w.mine)), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("another's money in a second leg", "PostTransfer", lambda w: post(leg(w.mine, w.neighbour), leg(w.neighbour, w.mine)), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("money from nowhere", "PostTransfer", lambda w: post(leg("CASH", w.mine)), "INTERNAL_ACCOUNT"),
    ("money into the bank's own account", "PostTransfer", lambda w: post(leg(w.mine, "FEES")), "INTERNAL_ACCOUNT"),
    ("money from the bank's own account by number", "PostTransfer", lambda w: post(leg(f"{chart.internal_account(1, chart.Code.CASH, 203):016d}", w.mine)), "INTERNAL_ACCOUNT"),
    ("somebody's account by reference", "FindAccounts", lambda w: bank.FindAccountsRequest(external_references=["1"]), "TOKEN_LIMITED_TO_CUSTOMER"),
    ("a new customer", "OpenCustomer", lambda w: bank.OpenCustomerRequest(request_id=str(uuid4())), "TOKEN_LIMITED_TO_CUSTOMER"),
    ("a hold on another's money", "PlaceHold", lambda w: bank.PlaceHoldRequest(hold=hold(w.neighbour)), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("a hold on an account that there is not", "GetHold", lambda w: bank.GetHoldRequest(name=hold_name(absent(w.mine))), "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("a hold that captures into the bank's own account", "CaptureHold", lambda w: bank.CaptureHoldRequest(name=hold_name(w.mine), transfer=post(leg(w.mine, "FEES")).transfer), "INTERNAL_ACCOUNT"),
    ("a reversal", "ReverseTransfer", lambda w: reversal(w.mine), "TOKEN_LIMITED_TO_CUSTOMER"),
    ("a state of life", "ChangeAccountState", lambda w: frozen(w.mine), "TOKEN_LIMITED_TO_CUSTOMER"),
    ("an overdraft of one's own", "ChangeAccountLimits", lambda w: overdraft(w.mine), "TOKEN_LIMITED_TO_CUSTOMER"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "make", "reason"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS])
async def test_a_customers_token_is_good_for_that_customers_accounts_only(
    world: World, method: str, make: Make, reason: str
) -> None:
    told = await world.told(method, make(world), world.limited())
    assert (told.code, told.reason) == (StatusCode.PERMISSION_DENIED, reason)


async def test_a_transfer_between_others_is_not_shown_and_neither_is_whether_there_is_one(world: World) -> None:
    request = post(leg(world.neighbour, world.far, FUNDS_MINOR + 1))
    await world.told("PostTransfer", request)
    prefix = f"accounts/{world.neighbour}/transfers/"
    for transfer_id in (request.transfer.transfer_id, str(uuid4())):
        told = await world.told("GetTransfer", bank.GetTransferRequest(name=prefix + transfer_id), world.limited())
        assert (told.code, told.reason) == (StatusCode.PERMISSION_DENIED, "ACCOUNT_OF_ANOTHER_CUSTOMER")


async def test_a_page_token_of_another_query_or_caller_is_refused(world: World) -> None:
    asked: dict[str, Any] = {"parent": f"accounts/{world.mine}", "page_size": 1, "order_by": "version"}
    for request in (post(leg(world.mine, world.neighbour)), post(leg(world.neighbour, world.mine))):
        await world.ask("PostTransfer", request)
    world.before = await world.books()
    token = (await world.ask("ListEntries", bank.ListEntriesRequest(**asked))).next_page_token
    assert token
    assert (await world.ask("ListEntries", bank.ListEntriesRequest(**asked, page_token=token))).entries[0].version == 2
    for changes in ({"parent": f"accounts/{world.neighbour}"}, {"order_by": "version desc"}):
        told = await world.told("ListEntries", bank.ListEntriesRequest(**(asked | changes), page_token=token))
        assert told.violations == [("page_token", "PAGE_TOKEN_MISMATCH")]
    told = await world.told("ListEntries", bank.ListEntriesRequest(**asked, page_token=token), world.mint())
    assert told.violations == [("page_token", "PAGE_TOKEN_MISMATCH")]
    request = bank.ListAccountsRequest(parent=world.customers[0].name, page_token=token)
    assert (await world.told("ListAccounts", request)).violations == [("page_token", "PAGE_TOKEN_MISMATCH")]
    told = await world.told("ListEntries", bank.ListEntriesRequest(**asked, page_token=token[:-2]))
    assert told.violations == [("page_token", "PAGE_TOKEN_INVALID")]


READS: list[tuple[str, str, Make, StatusCode, str]] = [
    ("an unknown account", "GetAccount", lambda w: bank.GetAccountRequest(name=f"accounts/{absent(w.mine)}"), StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"),
    ("a balance of an unknown account", "GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{absent(w.mine)}/balance"), StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"),
    ("a balance in nobody's slot", "GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{NOBODYS_SLOT}/balance"), StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"),
    ("a statement of an unknown account", "ListEntries", lambda w: bank.ListEntriesRequest(parent=f"accounts/{absent(w.far)}"), StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND"),
    ("an unknown customer", "GetCustomer", lambda w: bank.GetCustomerRequest(name=ABSENT_CUSTOMER), StatusCode.NOT_FOUND, "CUSTOMER_NOT_FOUND"),
    ("an unknown reference", "GetCustomer", lambda w: bank.GetCustomerRequest(name="customers/-", external_reference="nobody"), StatusCode.NOT_FOUND, "CUSTOMER_NOT_FOUND"),
    ("accounts of an unknown customer", "ListAccounts", lambda w: bank.ListAccountsRequest(parent=ABSENT_CUSTOMER), StatusCode.NOT_FOUND, "CUSTOMER_NOT_FOUND"),
    ("an account for an unknown customer", "OpenAccount", lambda w: bank.OpenAccountRequest(request_id=str(uuid4()), account=bank.Account(customer=ABSENT_CUSTOMER, currency_code="CZK")), StatusCode.NOT_FOUND, "CUSTOMER_NOT_FOUND"),
    ("an account in a currency that the bank does not keep", "OpenAccount", lambda w: bank.OpenAccountRequest(request_id=str(uuid4()), account=bank.Account(customer=ABSENT_CUSTOMER, currency_code="GBP")), StatusCode.FAILED_PRECONDITION, "CURRENCY_NOT_KEPT"),
    ("a mistyped account", "GetBalance", lambda w: bank.GetBalanceRequest(name="accounts/1234567890123456/balance"), StatusCode.INVALID_ARGUMENT, "ACCOUNT_NUMBER_INVALID"),
    ("another kind of name", "GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{w.mine}"), StatusCode.INVALID_ARGUMENT, "NAME_INVALID"),
    ("a malformed transfer id", "GetTransfer", lambda w: bank.GetTransferRequest(name=f"accounts/{w.mine}/transfers/7"), StatusCode.INVALID_ARGUMENT, "UUID_INVALID"),
    ("a negative page size", "ListEntries", lambda w: bank.ListEntriesRequest(parent=f"accounts/{w.mine}", page_size=-1), StatusCode.INVALID_ARGUMENT, "PAGE_SIZE_INVALID"),
    ("an unknown order", "ListEntries", lambda w: bank.ListEntriesRequest(parent=f"accounts/{w.mine}", order_by="amount"), StatusCode.INVALID_ARGUMENT, "ORDER_BY_INVALID"),
    ("a malformed bank code", "RegisterPartnerBanks", lambda w: bank.RegisterPartnerBanksRequest(bank_codes=["a b"]), StatusCode.INVALID_ARGUMENT, "BANK_CODE_INVALID"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "make", "code", "reason"), [row[1:] for row in READS], ids=[row[0] for row in READS]
)
async def test_a_question_that_has_no_answer_says_why(
    world: World, method: str, make: Make, code: StatusCode, reason: str
) -> None:
    told = await world.told(method, make(world))
    assert (told.code, told.reason) == (code, reason)
