"""A gateway process: `python -m services.gateway`.

Here everything is put together, and only here are the environment and the secrets read.
"""

import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Final

from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from services.chassis import bounds, logs, metrics, process, settings, tracing
from services.chassis.directory_cache import DirectoryCache
from services.chassis.identity import Identity
from services.chassis.server import Server
from services.chassis.settings import SettingsError
from services.chassis.watched import Unwatched, Watched, WatchedFile
from services.gateway import scopes
from services.gateway.allowances import Allowances
from services.gateway.authentication import NOTHING_REVOKED, Authenticator, Keys
from services.gateway.cataloguing import Cataloguing
from services.gateway.coalescing import Bounds
from services.gateway.customers import Customers
from services.gateway.general_ledger import GeneralLedger
from services.gateway.history import History
from services.gateway.holding import Holds
from services.gateway.look_ups import LookUps
from services.gateway.managing import Management
from services.gateway.metering import Metering
from services.gateway.ownership import Ownership
from services.gateway.pages import PageTokens
from services.gateway.peers import AccountService
from services.gateway.products import Products
from services.gateway.quoting import Quotes
from services.gateway.reading import Books
from services.gateway.reversing import Reversals
from services.gateway.revocations import Revocations
from services.gateway.searching import Searches
from services.gateway.service import BankService
from services.gateway.settings import GatewaySettings
from services.gateway.trail import AuditTrail
from services.gateway.transfers import Posting

TURN_SHARE: Final = 4
"""A quarter of what transfers may wait in a queue may go by before, until anybody looks at them, half of that for look-ups,
which so make way for transfers: a burst of some hundred small calls is looked at in that time."""

SERVICE: Final = bank_pb2.DESCRIPTOR.services_by_name["Bank"].full_name


async def main() -> None:
    """Serve until told to stop."""
    options = settings.read(GatewaySettings, os.environ)
    logs.configure(options.log_level, "gateway", options.instance)
    metrics.name_process("gateway")
    tracing.configure(options.traces, "gateway", options.instance, options.traces_file)
    authenticator = _authenticator(options)
    metering = _metering(options)
    page_tokens = PageTokens(_page_token_secret(options))
    queues = Bounds(
        options.queue_transfers_max,
        options.call_transfers_max,
        options.full_call_transfers,
        options.calls_in_flight_max,
        options.queue_seconds_max,
    )

    identity = Identity.among_services(options)
    directory = DirectoryCache(options.account_address, identity)
    account_service = AccountService(options.account_address, identity)
    ownership = Ownership(account_service, options.owners_cached_max)
    products = Products(directory, account_service, options.products_cached_max)
    posting = Posting(directory, ownership, products.charge, queues)
    look_ups = LookUps(options.look_ups_max, options.look_up_seconds_max, time.monotonic, posting.fullness)
    books = Books(directory, look_ups, account_service, ownership, queues)
    customers = Customers(account_service, directory, page_tokens, books.restrictions)
    service = BankService(
        authenticator,
        metering,
        ownership,
        customers,
        posting,
        books,
        History(directory, look_ups, ownership, page_tokens),
        Searches(directory, look_ups, ownership, books, page_tokens, lambda: time.time_ns() // 1_000),
        GeneralLedger(directory, account_service),
        Holds(directory, look_ups, ownership, books),
        Reversals(directory, books, posting),
        Management(directory, customers),
        Quotes(directory, posting),
        Cataloguing(account_service, products, customers),
        AuditTrail(directory, page_tokens),
    )
    server = Server(
        options,
        _public_identity(options),
        names_requests=True,
        gates=_gates(options, posting, look_ups, directory),
    )
    bank_pb2_grpc.add_BankServicer_to_server(service, server.server)
    try:
        await server.serve([SERVICE], prepare=products.start)
    finally:
        await posting.close()
        await books.close()
        await products.close()
        await account_service.close()
        await directory.close()


def _gates(
    options: GatewaySettings, posting: Posting, look_ups: LookUps, directory: DirectoryCache
) -> dict[str, bounds.Gate]:
    """Say when transfers and look-ups are turned away unread."""
    transferring = bounds.Gate(
        posting.takes_no_more,
        posting.places,
        seconds_to_turn_max=options.queue_seconds_max / TURN_SHARE,
        behind=posting.behind,
    )
    looking_up = bounds.Gate(
        lambda: look_ups.is_full(directory.current.shard_ids),
        look_ups.places,
        bounds.NO_LOOK_UP,
        seconds_to_turn_max=options.queue_seconds_max / TURN_SHARE / 2,
    )
    gates = dict.fromkeys(("PostTransfer", "PostTransfers", "CaptureHold", "ReverseTransfer"), transferring)
    gates |= dict.fromkeys(scopes.LOOK_UP_CALLS - scopes.UNBOUNDED_LOOK_UPS, looking_up)
    return {f"/{SERVICE}/{call}": gate for call, gate in gates.items()}


def _public_identity(options: GatewaySettings) -> Identity | None:
    """Read what callers see of the gateway; None where TLS ends before it."""
    if options.public_certificate_file is None or options.public_key_file is None:
        return None
    return Identity(options.public_certificate_file, options.public_key_file)


def _authenticator(options: GatewaySettings) -> Authenticator:
    revocations: Watched[Revocations] = NOTHING_REVOKED
    if options.revocations_file is not None:
        revocations = WatchedFile(options.revocations_file, Revocations.of_toml, "revocations")
    return Authenticator(
        _keys(options),
        revocations=revocations,
        issuer=options.jwt_issuer,
        audience=options.jwt_audience,
        clock_skew_seconds=options.jwt_clock_skew_seconds,
        tokens_max=options.tokens_cached_max,
        now=time.time,
    )


def _metering(options: GatewaySettings) -> Metering:
    allowances: Watched[Allowances] = Unwatched(Allowances())
    if options.allowances_file is not None:
        allowances = WatchedFile(options.allowances_file, Allowances.of_toml, "allowances")
    return Metering(allowances, time.time)


def _keys(options: GatewaySettings) -> Watched[Keys]:
    if options.jwt_secret_file is not None:
        return WatchedFile(options.jwt_secret_file, lambda text: Keys.of_secret(text.strip()), "jwt_secret")
    assert options.jwks_file is not None, "the settings check this"
    return WatchedFile(options.jwks_file, lambda text: Keys.of_jwks(text.decode()), "jwks")


def _page_token_secret(options: GatewaySettings) -> bytes:
    if options.page_token_secret_file is not None:
        secret = _secret(options.page_token_secret_file)
        if len(secret) < 16:
            raise SettingsError(f"{options.page_token_secret_file}: the secret needs at least 16 bytes")
        return secret
    if options.jwt_secret_file is not None:
        return hmac.digest(_secret(options.jwt_secret_file), b"hivecore page tokens", "sha256")
    return secrets.token_bytes(32)


def _secret(path: Path) -> bytes:
    """Read a secret; white space around it is not part of it."""
    return _read(path).strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None


if __name__ == "__main__":
    process.run(main)
