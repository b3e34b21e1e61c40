"""Between protobuf messages about products and values: what to publish, whom to move, who was moved.

Never here: products themselves (`services/chassis/catalogue_wire.py`).
"""

from collections.abc import Mapping, Sequence

from hivecore.account.v1 import account_pb2

from services.account import wire
from services.account.moves import Move
from services.account.moving import move_fingerprint
from services.account.opening import Account
from services.chassis import catalogue_wire
from services.domain import errors, identifiers, products
from services.domain.outcomes import Refusal
from services.domain.products import NONE, Product, Reference

_WIRE_MARKS_MAX = identifiers.SHARD_ID_MAX


def loading(request: account_pb2.LoadProductsRequest) -> tuple[list[Product], dict[int, str]]:
    """Read products to publish, and defaults by currency. Raises `Malformed`."""
    if len(request.products) > products.PRODUCT_VERSIONS_MAX:
        raise errors.Malformed("TOO_MANY_ITEMS", "products", f"at most {products.PRODUCT_VERSIONS_MAX} per call")
    read = catalogue_wire.read_products(request.products)
    return read, {default.currency: default.code for default in request.defaults}


def move(request: account_pb2.MoveAccountRequest) -> Move:
    """Read an account to move. Raises `Malformed`."""
    if len(request.request_id) != 16:
        raise errors.Malformed("UUID_INVALID", "request_id", "not 16 bytes")
    for field in ("product_code", "reason", "channel", "subject"):
        wire.check_text(field, getattr(request, field))
    product = Reference(request.product_code, request.product_version)
    fingerprint = move_fingerprint(request.account_number, product, request.reason)
    return Move(
        request.request_id,
        request.account_number,
        fingerprint,
        NONE,
        product,
        1,
        0,
        request.reason,
        request.channel,
        request.subject,
    )


def moved(result: Account | int) -> account_pb2.MoveAccountResponse:
    """Write what became of a move."""
    if isinstance(result, Account):
        return account_pb2.MoveAccountResponse(account=wire.account(result))
    name = Refusal(result).name
    return account_pb2.MoveAccountResponse(
        error=account_pb2.PlaceError(reason=name, message=f"refused by the books: {name}")
    )


def marks(request: account_pb2.ListMovedAccountsRequest) -> dict[int, int]:
    """Read how far moves are known, by shard. Raises `Malformed`."""
    if len(request.marks) > _WIRE_MARKS_MAX:
        raise errors.Malformed("TOO_MANY_ITEMS", "marks", f"at most {_WIRE_MARKS_MAX} shards")
    return {mark.shard_id: mark.after for mark in request.marks}


def moves(found: Mapping[int, tuple[int, Sequence[int]]]) -> account_pb2.ListMovedAccountsResponse:
    """Write who was moved."""
    message = account_pb2.ListMovedAccountsResponse
    return message(
        moves=[
            message.Moves(shard_id=shard_id, through=through, account_numbers=numbers)
            for shard_id, (through, numbers) in sorted(found.items())
        ]
    )
