"""An episode of the walk: a product with a price is published, quoted, charged and left again. It checks itself.

Never here: the other episodes (`episodes.py`).
"""

from typing import Final

from hivecore.gateway.v1 import bank_pb2
from hivecore.product.v1 import product_pb2

from services.cli.demonstration import CURRENCY, Walk, transfer_of
from services.cli.ids import new_id

CODE: Final = "DEMO-PAID"
FREE_CODE: Final = "DEMO-FREE"
FEE_MINOR: Final = 2_00
PAID_MINOR: Final = 10_00


async def products(walk: Walk, payer: str, payee: str) -> None:
    """Give the payer's account a price, see it beforehand, pay it, refuse a dearer one, go back to a free product."""
    text = walk.text
    await walk.step("publish a product with a price and one without", "published", _publish(walk))
    await walk.step("move the payer's account to the first", f"products/{CODE}/versions/1", _move(walk, payer, CODE))
    asked = transfer_of(payer, payee, PAID_MINOR, "present")
    quoted = f"fee {text(FEE_MINOR)}, total {text(PAID_MINOR + FEE_MINOR)}"
    await walk.step(f"ask what a transfer of {text(PAID_MINOR)} costs", quoted, _quote(walk, asked))
    cautious = transfer_of(payer, payee, PAID_MINOR, "present")
    cautious.fee_minor_max = FEE_MINOR - 1
    await walk.step("send it with a smaller fee agreed to", "FEE_EXCEEDS_MAXIMUM", walk.post(cautious))
    await walk.step("send it", f"POSTED, fee {text(FEE_MINOR)}", _pay(walk, asked))
    await walk.step(
        "move the account to the free one", f"products/{FREE_CODE}/versions/1", _move(walk, payer, FREE_CODE)
    )


async def _publish(walk: Walk) -> str:
    tier = product_pb2.Fee.Tier(fixed_minor=FEE_MINOR)
    fee = product_pb2.Fee(kind=product_pb2.PAYMENT_KIND_TRANSFER, method=product_pb2.Fee.SLAB, tiers=[tier])
    wanted = [
        product_pb2.Product(
            code=code,
            version=1,
            display_name=code,
            currency_code=CURRENCY,
            kind=product_pb2.Product.CURRENT,
            fees=fees,
        )
        for code, fees in ((CODE, [fee]), (FREE_CODE, []))
    ]
    await walk.bank.call(walk.bank.stub.LoadProducts, bank_pb2.LoadProductsRequest(products=wanted))
    return "published"


async def _move(walk: Walk, account: str, code: str) -> str:
    request = bank_pb2.MoveAccountProductRequest(
        name=f"accounts/{account}", request_id=new_id(), product=f"products/{code}", reason="demonstration"
    )
    return (await walk.bank.call(walk.bank.stub.MoveAccountProduct, request)).product


async def _quote(walk: Walk, asked: bank_pb2.Transfer) -> str:
    request = bank_pb2.QuoteTransferRequest(transfer=asked)
    quote = await walk.bank.call(walk.bank.stub.QuoteTransfer, request)
    return quote.reason or f"fee {walk.text(quote.transfer.fee_minor)}, total {walk.text(quote.total_minor)}"


async def _pay(walk: Walk, asked: bank_pb2.Transfer) -> str:
    posted = await walk.bank.call(walk.bank.stub.PostTransfer, bank_pb2.PostTransferRequest(transfer=asked))
    return f"{bank_pb2.Transfer.State.Name(posted.state)}, fee {walk.text(posted.fee_minor)}"
