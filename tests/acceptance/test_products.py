"""Products and fees over all processes: published, charged, quoted, moved, and the books agree."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import small_bank
from grpc import StatusCode
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.product.v1 import product_pb2 as product
from small_bank import World, absent, leg, post

from services.cli.auditing import audit_bank
from services.domain import chart
from services.ledger.audit_report import CHECKS

TRANSFER, CASH, CAPTURE = (
    product.PaymentKind.Value(f"PAYMENT_KIND_{kind}") for kind in ("TRANSFER", "CASH", "CAPTURE")
)
INCOME = f"{chart.internal_account(1, chart.Code.FEES, 203):016d}"


def price(kind: Any, fixed: int, rate: int = 0) -> product.Fee:
    tier = product.Fee.Tier(fixed_minor=fixed, rate_ppm=rate)
    return product.Fee(kind=kind, method=product.Fee.SLAB, tiers=[tier])


def paid(version: int, fixed: int, **more: Any) -> product.Product:
    usual: dict[str, Any] = {
        "code": "PAID",
        "version": version,
        "display_name": "Paid account",
        "currency_code": "CZK",
        "kind": product.Product.CURRENT,
        "fees": [price(TRANSFER, fixed), price(CASH, 5, 10_000), price(CAPTURE, 3)],
    }
    return product.Product(**(usual | more))


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with small_bank.opened(tmp_path_factory.mktemp("products") / "bank") as opened:
        await opened.ask(
            "LoadProducts", bank.LoadProductsRequest(products=[paid(1, 7), paid(2, 9, transfer_minor_max=400)])
        )
        yield opened


async def opened(world: World, version: int = 1, customer: int = 0, funds: int = 1_000) -> str:
    """Open a paid account, at the version asked for, with money on it."""
    wanted = bank.Account(customer=world.customers[customer].name, currency_code="CZK", product="products/PAID")
    found = await world.ask("OpenAccount", bank.OpenAccountRequest(request_id=str(uuid4()), account=wanted))
    assert found.product == "products/PAID/versions/2"
    number = str(found.account_number)
    if version != 2:
        assert (await moved(world, number, version)).product == f"products/PAID/versions/{version}"
    await world.ask("PostTransfer", post(leg("CASH", number, funds)))
    return number


async def moved(world: World, number: str, version: int) -> bank.Account:
    name = f"products/PAID/versions/{version}"
    request = bank.MoveAccountProductRequest(
        name=f"accounts/{number}", request_id=str(uuid4()), product=name, reason="asked for"
    )
    found = await world.ask("MoveAccountProduct", request)
    assert await world.ask("MoveAccountProduct", request) == found
    return found


async def balance(world: World, number: str) -> int:
    found = await world.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{number}/balance"))
    return int(found.balance_minor)


async def test_a_transfer_bears_its_payers_fee_here_and_across_shards(world: World) -> None:
    payer = await opened(world)
    for payee in (world.neighbour, world.far):
        income = await balance(world, INCOME)
        asked = post(leg(payer, payee, 100))
        posted = await world.ask("PostTransfer", asked)
        assert (posted.fee_minor, [each.is_fee for each in posted.legs]) == (7, [False, True])
        assert (posted.legs[1].credit_account, await balance(world, INCOME)) == (INCOME, income + 7)
        again = await world.ask("GetTransfer", bank.GetTransferRequest(name=posted.name))
        assert (again.fee_minor, list(again.legs)) == (7, list(posted.legs))
    entries = await world.ask("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{payer}", page_size=2))
    assert [(entry.amount_minor, entry.is_fee) for entry in entries.entries] == [(-7, True), (-100, False)]
    assert await balance(world, payer) == 1_000 - 2 * 107


async def test_cash_and_captures_have_their_own_prices(world: World) -> None:
    payer = await opened(world)
    assert (await world.ask("PostTransfer", post(leg(payer, "CASH", 300)))).fee_minor == 5 + 3
    hold = bank.Hold(hold_id=str(uuid4()), account=payer, amount_minor=600, currency_code="CZK")
    held = await world.ask("PlaceHold", bank.PlaceHoldRequest(hold=hold))
    request = bank.CaptureHoldRequest(name=held.name, transfer=post(leg(payer, world.far, 500)).transfer)
    captured = await world.ask("CaptureHold", request)
    assert (captured.fee_minor, captured.captured_hold) == (3, held.name)
    assert await balance(world, payer) == 1_000 - 308 - 503


async def test_the_floor_holds_for_amount_and_fee_and_a_refusal_moves_nothing(world: World) -> None:
    payer = await opened(world)
    told = await world.told("PostTransfer", post(leg(payer, world.neighbour, 994)))
    assert (told.code, told.reason) == (StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS")
    assert (await world.ask("PostTransfer", post(leg(payer, world.neighbour, 993)))).fee_minor == 7
    assert await balance(world, payer) == 0


async def test_a_fee_above_what_was_agreed_is_refused_for_ever(world: World) -> None:
    payer = await opened(world)
    asked = post(leg(payer, world.neighbour, 10), fee_minor_max=6)
    for _ in range(2):
        assert (await world.told("PostTransfer", asked)).reason == "FEE_EXCEEDS_MAXIMUM"
    posted = await world.ask("PostTransfer", post(leg(payer, world.neighbour, 10), fee_minor_max=7))
    assert (posted.fee_minor, posted.fee_minor_max) == (7, 7)
    wrong = await world.told("PostTransfer", post(leg(payer, world.neighbour, 10), fee_minor_max=-1))
    assert wrong.violations == [("transfer.fee_minor_max", "AMOUNT_INVALID")]


async def test_fees_are_waived_by_whoever_may_and_that_is_recorded(world: World) -> None:
    payer = await opened(world)
    asked = post(leg(payer, world.far, 10), waive_fees=True)
    told = await world.told("PostTransfer", asked, world.mint("transfers.write"))
    assert (told.code, told.reason) == (StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    posted = await world.ask("PostTransfer", asked)
    assert (posted.fee_minor, posted.waive_fees) == (0, True)
    again = await world.ask("GetTransfer", bank.GetTransferRequest(name=posted.name))
    assert (again.waive_fees, again.actor) == (True, posted.actor)


async def test_a_repeat_after_a_move_shows_the_first_fee(world: World) -> None:
    payer = await opened(world)
    asked = post(leg(payer, world.neighbour, 100))
    first = await world.ask("PostTransfer", asked)
    assert (await moved(world, payer, 2)).product == "products/PAID/versions/2"
    again = await world.ask("PostTransfer", asked)
    assert (first.fee_minor, again.fee_minor, list(again.legs)) == (7, 7, list(first.legs))
    assert (await world.ask("PostTransfer", post(leg(payer, world.neighbour, 100)))).fee_minor == 9
    assert await balance(world, payer) == 1_000 - 107 - 109


async def test_a_move_brings_the_products_limits_but_not_over_the_accounts_own(world: World) -> None:
    plain, own = await opened(world), await opened(world)
    change = bank.ChangeAccountLimitsRequest(
        name=f"accounts/{own}",
        request_id=str(uuid4()),
        limits=bank.AccountLimits(transfer_minor_max=600),
        reason="agreed",
    )
    await world.ask("ChangeAccountLimits", change)
    for number, most in ((plain, 400), (own, 600)):
        await moved(world, number, 2)
        over = await world.told("PostTransfer", post(leg(number, world.neighbour, most + 1)))
        assert over.reason == "TRANSFER_LIMIT"
        assert (await world.ask("PostTransfer", post(leg(number, world.neighbour, most)))).fee_minor == 9
    await moved(world, plain, 1)
    await world.ask("PostTransfer", post(leg("CASH", plain, 1_000)))
    await world.ask("PostTransfer", post(leg(plain, world.neighbour, 900)))


async def test_a_reversal_keeps_the_fee_and_bears_none(world: World) -> None:
    payer, payee = await opened(world), await opened(world, customer=1)
    posted = await world.ask("PostTransfer", post(leg(payer, payee, 100)))
    request = bank.ReverseTransferRequest(name=posted.name, transfer_id=str(uuid4()))
    given = await world.ask("ReverseTransfer", request)
    assert (given.fee_minor, len(given.legs)) == (0, 1)
    assert [await balance(world, number) for number in (payer, payee)] == [993, 1_000]


async def test_a_transfer_over_several_shards_bears_one_fee_as_quoted_or_none(world: World) -> None:
    payer = await opened(world)
    legs = leg(payer, world.neighbour, 100), leg(payer, world.far, 200), leg(payer, world.accounts[3], 50)
    income = await balance(world, INCOME)
    quote = await world.ask("QuoteTransfer", bank.QuoteTransferRequest(transfer=bank.Transfer(legs=legs)))
    assert (quote.reason, quote.transfer.fee_minor, quote.total_minor) == ("", 21, 371)
    refusing = post(*legs, leg(payer, absent(world.far), 1))
    assert (await world.told("PostTransfer", refusing)).reason == "CREDIT_ACCOUNT_NOT_FOUND"
    assert (await world.told("PostTransfer", post(*legs, fee_minor_max=20))).reason == "FEE_EXCEEDS_MAXIMUM"
    assert (await world.told("PostTransfer", post(*legs, leg(payer, world.far, 623)))).reason == "INSUFFICIENT_FUNDS"
    assert (await balance(world, payer), await balance(world, INCOME)) == (1_000, income)
    asked = post(*legs, fee_minor_max=21)
    posted = await world.ask("PostTransfer", asked)
    assert (posted.fee_minor, list(posted.legs)) == (21, list(quote.transfer.legs))
    assert (await balance(world, payer), await balance(world, INCOME)) == (629, income + 21)
    repeated = await world.ask("PostTransfer", asked)
    assert (repeated.fee_minor, list(repeated.legs)) == (21, list(posted.legs))
    seen = await world.ask("GetTransfer", bank.GetTransferRequest(name=posted.name))
    assert (seen.fee_minor, list(seen.legs)) == (21, list(posted.legs))
    given = await world.ask("ReverseTransfer", bank.ReverseTransferRequest(name=posted.name, transfer_id=str(uuid4())))
    assert (given.fee_minor, [each.amount_minor for each in given.legs]) == (0, [50, 200, 100])
    assert (await balance(world, payer), await balance(world, INCOME)) == (979, income + 21)


async def test_each_payer_of_a_transfer_over_several_shards_bears_its_own_fee_on_its_own_shard(world: World) -> None:
    far_income = f"{chart.internal_account(2, chart.Code.FEES, 203):016d}"
    near, far = await opened(world), await opened(world, customer=2)
    before = [await balance(world, income) for income in (INCOME, far_income)]
    asked = post(leg(near, world.neighbour, 10), leg(far, world.neighbour, 20))
    quote = await world.ask("QuoteTransfer", bank.QuoteTransferRequest(transfer=asked.transfer))
    posted = await world.ask("PostTransfer", asked)
    fees = [(each.debit_account, each.credit_account, each.amount_minor) for each in posted.legs if each.is_fee]
    assert fees == [(near, INCOME, 7), (far, far_income, 7)]
    assert list(quote.transfer.legs) == list(posted.legs)
    await world.until_settled()
    assert [await balance(world, number) for number in (near, far)] == [983, 973]
    assert [await balance(world, income) for income in (INCOME, far_income)] == [each + 7 for each in before]
    free = await world.ask("PostTransfer", post(leg(near, world.neighbour), leg(far, world.neighbour), waive_fees=True))
    assert (free.fee_minor, len(free.legs)) == (0, 2)


async def test_a_quote_says_what_will_happen_and_changes_nothing(world: World) -> None:
    payer = await opened(world)
    before = await world.books()
    for amount, reason in ((993, ""), (994, "INSUFFICIENT_FUNDS")):
        for payee in (world.neighbour, world.far):
            wanted = bank.Transfer(legs=[leg(payer, payee, amount)])
            quote = await world.ask("QuoteTransfer", bank.QuoteTransferRequest(transfer=wanted))
            assert (quote.transfer.fee_minor, quote.total_minor, quote.reason) == (7, amount + 7, reason)
            assert [each.is_fee for each in quote.transfer.legs] == [False, True]
    told = await world.told("QuoteTransfer", bank.QuoteTransferRequest(transfer=bank.Transfer()))
    assert told.code is StatusCode.INVALID_ARGUMENT
    assert await world.books() == before
    assert await balance(world, payer) == 1_000


async def test_bulk_transfers_bear_fees_each(world: World) -> None:
    payer = await opened(world, funds=100_000)
    income = await balance(world, INCOME)
    asked = [post(leg(payer, payee, 1)).transfer for payee in (world.neighbour, world.far) for _ in range(300)]
    answer = await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=asked))
    assert {result.state for result in answer.results} == {bank.Transfer.POSTED}
    assert await balance(world, INCOME) == income + 600 * 7
    assert await balance(world, payer) == 100_000 - 600 * 8


async def test_products_are_published_once_and_refused_precisely(world: World) -> None:
    same = bank.LoadProductsRequest(products=[paid(1, 7)])
    assert list((await world.ask("LoadProducts", same)).published) == []
    told = await world.told("LoadProducts", bank.LoadProductsRequest(products=[paid(3, 1), paid(1, 8)]))
    assert (told.reason, told.metadata["field"]) == ("PRODUCT_VERSION_PUBLISHED", "products[1]")
    bad = paid(4, 1)
    bad.fees[0].tiers[0].rate_ppm = 500_001
    told = await world.told("LoadProducts", bank.LoadProductsRequest(products=[bad]))
    assert told.violations == [("products[0].fees[0].tiers[0].rate_ppm", "FEE_INVALID")]
    unknown = bank.LoadProductsRequest(products=[paid(1, 7)], default_products={"EUR": "PAID"})
    assert (await world.told("LoadProducts", unknown)).reason == "DEFAULT_PRODUCT_UNKNOWN"
    listed = await world.ask("ListProducts", bank.ListProductsRequest())
    assert [(each.code, each.version) for each in listed.products] == [("PAID", 1), ("PAID", 2)]
    assert (await world.told("LoadProducts", same, world.limited())).code is StatusCode.PERMISSION_DENIED


async def test_an_account_needs_a_product_that_there_is_in_its_currency(world: World) -> None:
    for currency, name, reason in (
        ("CZK", "products/NONE", "PRODUCT_NOT_FOUND"),
        ("EUR", "products/PAID", "PRODUCT_CURRENCY_MISMATCH"),
        ("CZK", "PAID", "NAME_INVALID"),
        ("CZK", "products/PAID/versions/1", "PRODUCT_VERSION_GIVEN"),
    ):
        wanted = bank.Account(customer=world.customers[0].name, currency_code=currency, product=name)
        request = bank.OpenAccountRequest(request_id=str(uuid4()), account=wanted)
        assert (await world.told("OpenAccount", request)).reason == reason
    assert not (await world.ask("GetAccount", bank.GetAccountRequest(name=f"accounts/{world.mine}"))).product
    move = bank.MoveAccountProductRequest(
        name=f"accounts/{world.mine}", request_id=str(uuid4()), product="products/PAID/versions/9", reason="x"
    )
    assert (await world.told("MoveAccountProduct", move)).reason == "PRODUCT_NOT_FOUND"


async def test_an_opening_that_was_refused_may_be_asked_for_again(world: World) -> None:
    wanted = bank.Account(customer=world.customers[0].name, currency_code="EUR", product="products/LATER")
    request = bank.OpenAccountRequest(request_id=str(uuid4()), account=wanted)
    for _ in range(2):
        assert (await world.told("OpenAccount", request)).reason == "PRODUCT_NOT_FOUND"
    said = (world.bank.places.logs / "account.log").read_text()
    assert '"reason": "PRODUCT_NOT_FOUND"' in said and "openings_refused" in said
    later = product.Product(
        code="LATER", version=1, display_name="Later", currency_code="EUR", kind=product.Product.CURRENT
    )
    await world.ask("LoadProducts", bank.LoadProductsRequest(products=[later]))
    opened = await world.ask("OpenAccount", request)
    assert opened.product == "products/LATER/versions/1"
    assert await world.ask("OpenAccount", request) == opened


async def test_racing_moves_and_payments_end_with_sound_books(world: World) -> None:
    payer = await opened(world, funds=100_000)

    async def pay() -> int:
        return int((await world.ask("PostTransfer", post(leg(payer, world.far, 1)))).fee_minor)

    async def wander() -> None:
        for version in (2, 1) * 4:
            await moved(world, payer, version)

    *fees, _ = await asyncio.gather(*(pay() for _ in range(200)), wander())
    assert set(fees) <= {7, 9}
    assert await balance(world, payer) == 100_000 - 200 - sum(fees)


async def test_the_books_are_sound_after_all_that(world: World) -> None:
    report = await audit_bank(world.bank.control_dsn, world.bank.shard_dsns, None)
    assert report.clean, [evidence for result in report.results for evidence in result.evidence]


PLAIN = "SELECT min(account_number) FROM account.account WHERE product_code = ''"
CHARGED = """
    SELECT min(f.debit_account) FROM ledger.further_leg f JOIN account.account a ON a.account_number = f.debit_account
     WHERE f.is_fee AND NOT EXISTS (SELECT FROM account.product_move m WHERE m.account_number = f.debit_account)
"""
DAMAGES = [
    ("product_unpublished", 1, f"UPDATE account.account SET product_code = 'PAID', product_version = 3 WHERE account_number = ({PLAIN})", "PAID/3, which is not published"),
    ("product_unpublished", 0, "DELETE FROM control.product WHERE version = 1", "PAID/1, which is not published"),
    ("product_currency_differs", 0, "UPDATE control.product SET currency = 978 WHERE version = 2", "PAID/2, which is for EUR, and holds CZK"),
    ("fee_without_product", 1, f"UPDATE account.account SET product_code = '', product_version = 0 WHERE account_number = ({CHARGED})", "never had a product"),
]  # fmt: skip


@pytest.mark.parametrize("case", DAMAGES, ids=lambda case: f"{case[0]} on {case[1]}")
async def test_damage_to_products_is_found_and_named(world: World, case: tuple[str, int, str, str]) -> None:
    check, shard_id, script, evidence = case
    assert check in CHECKS
    await world.ask("PostTransfer", post(leg(await opened(world, version=2), world.neighbour, 1)))
    table = "account.account" if shard_id else "control.product"
    dsn = world.bank.shard_dsns[shard_id] if shard_id else world.bank.control_dsn
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(f"CREATE TEMP TABLE kept AS TABLE {table}")
        await connection.execute(script)
        report = await audit_bank(world.bank.control_dsn, world.bank.shard_dsns, None)
        await connection.execute(f"DELETE FROM {table}; INSERT INTO {table} TABLE kept")
    finally:
        await connection.close()
    found = [finding for result in report.results for finding in result.findings]
    assert {finding.check for finding in found} == {check}
    assert evidence in " ".join(line for finding in found for line in finding.evidence)
