"""A bank over TLS: callers trust its authority, services show each other certificates, renewals need no restart."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from command_line import User
from cryptography import x509
from hivecore.account.v1 import account_pb2, account_pb2_grpc
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc
from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from services.chassis.identity import LOOK_SECONDS
from services.cli import authority, channels, topology
from services.cli.bank import Bank
from services.cli.certificates import Certificates
from services.cli.topology import BankOptions


@pytest.fixture(scope="module")
async def bank(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    data = tmp_path_factory.mktemp("tls") / "bank"
    async with Bank.open(BankOptions(data=data, shards=2, port=0, tls=True)) as opened:
        yield opened


def _stranger(place: Path) -> Certificates:
    """Make certificates of an authority that the bank does not know."""
    stranger = Certificates(place / "stranger")
    authority.ensure(stranger, ["gateway"])
    return stranger


async def _is_refused(address: str, credentials: grpc.ChannelCredentials | None) -> bool:
    async with channels.channel(address, credentials) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.GetShardStatus(ledger_pb2.GetShardStatusRequest(shard_id=1), timeout=3)
        return failure.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_money_moves_between_shards_and_the_command_line_trusts_the_bank(bank: Bank) -> None:
    user = User(bank)
    customers = [await user.get("customer", "open", "--name", name) for name in ("Anna", "Petr")]
    accounts = [
        (await user.get("account", "open", each["customer_number"], "--currency", "CZK"))["account_number"]
        for each in customers
    ]
    assert accounts[0][:4] != accounts[1][:4]
    for debit, credit, amount in (("CASH", accounts[0], "9.00"), (*accounts, "4.00")):
        await user.get("transfer", "--from", debit, "--to", credit, "--amount", amount, "--currency", "CZK")
    assert (await user.get("balance", accounts[1]))["balance_minor"] == 400
    assert (await user.get("audit"))["is_clean"]


async def test_the_gateway_speaks_no_plain_text_and_no_old_tls(bank: Bank) -> None:
    assert await _is_refused(bank.gateway, None)
    host, _, port = bank.gateway.partition(":")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(bank.places.certificates.authority_file)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)) as refused:
        await asyncio.open_connection(host, int(port), ssl=old)
    # The server's doing, not this side's own refusal to speak so old a version.
    assert isinstance(refused.value, ConnectionResetError) or "ALERT" in str(refused.value)


async def test_a_caller_that_trusts_another_authority_is_not_connected(bank: Bank, tmp_path: Path) -> None:
    stranger = _stranger(tmp_path)
    assert await _is_refused(bank.gateway, grpc.ssl_channel_credentials(stranger.authority_file.read_bytes()))


async def test_services_take_calls_only_from_who_shows_a_certificate_of_the_bank(bank: Bank, tmp_path: Path) -> None:
    own, stranger = bank.places.certificates, _stranger(tmp_path)
    authority = own.authority_file.read_bytes()
    nobody = grpc.ssl_channel_credentials(authority)
    false = grpc.ssl_channel_credentials(
        authority, stranger.key_file("gateway").read_bytes(), stranger.certificate_file("gateway").read_bytes()
    )
    true = grpc.ssl_channel_credentials(
        authority, own.key_file("gateway").read_bytes(), own.certificate_file("gateway").read_bytes()
    )
    ledger = bank.topology.ledgers[1][0]
    for address in (ledger, bank.topology.account):
        for credentials in (None, nobody, false):
            assert await _is_refused(address, credentials)
    async with channels.channel(ledger, true) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        assert (await stub.GetShardStatus(ledger_pb2.GetShardStatusRequest(shard_id=1), timeout=5)).is_writer
    async with channels.channel(bank.topology.account, true) as channel:
        accounts = account_pb2_grpc.AccountsStub(channel)
        assert (await accounts.GetDirectory(account_pb2.GetDirectoryRequest(), timeout=5)).version


async def _shown(address: str, authority_file: Path) -> int:
    """Give the serial number of the certificate that a server shows."""
    host, _, port = address.partition(":")
    trust = ssl.create_default_context(cafile=authority_file)
    trust.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=trust)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(certificate).serial_number


async def test_renewed_certificates_are_shown_and_used_without_a_restart(bank: Bank) -> None:
    own = bank.places.certificates
    before = await _shown(bank.gateway, own.authority_file)
    processes = bank.processes
    for name in topology.CERTIFIED:
        own.certificate_file(name).unlink()
    authority.ensure(own, topology.CERTIFIED)
    while await _shown(bank.gateway, own.authority_file) == before:
        await asyncio.sleep(LOOK_SECONDS / 10)
    # Every connection that is made from now on shows the new ones; calls go on all the while.
    async with channels.channel(bank.gateway, bank.credentials()) as channel:
        stub = bank_pb2_grpc.BankStub(channel)
        metadata = (("authorization", f"Bearer {bank.token()}"),)
        for _ in range(20):
            listed = await stub.ListShards(bank_pb2.ListShardsRequest(), metadata=metadata, timeout=10)
            assert [bool(shard.writer) for shard in listed.shards] == [True, True]
            await asyncio.sleep(LOOK_SECONDS / 10)
    assert bank.processes == processes
