"""The load test's workload: who pays whom, under which ids, and what is put on the wire."""

from collections import Counter
from random import Random
from uuid import UUID

import pytest
from hivecore.gateway.v1 import bank_pb2

from loadtest.stencil import Stencil
from loadtest.workload import AMOUNT_MINOR_MAX, Workload, transfer_id

SHARDS = [[f"{shard}{serial:015d}" for serial in range(count)] for shard, count in ((1, 5), (2, 8), (3, 2))]


def draw(count: int, *, crossing_share: float) -> list[tuple[str, str, int]]:
    return Workload(SHARDS, crossing_share=crossing_share, chance=Random(7)).draw(count)


def crosses(payment: tuple[str, str, int]) -> bool:
    return payment[0][0] != payment[1][0]


def test_nobody_pays_themselves() -> None:
    assert all(debit != credit for debit, credit, _ in draw(5_000, crossing_share=0.5))


def test_amounts_are_small_and_positive() -> None:
    assert {amount for _, _, amount in draw(5_000, crossing_share=0.5)} == set(range(1, AMOUNT_MINOR_MAX + 1))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_crossings_is_as_asked(share: float) -> None:
    found = sum(map(crosses, draw(20_000, crossing_share=share))) / 20_000
    assert found == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_every_account_pays_equally_often(share: float) -> None:
    paid = Counter(debit for debit, _, _ in draw(30_000, crossing_share=share))
    assert len(paid) == 15
    assert all(count == pytest.approx(2_000, rel=0.1) for count in paid.values())


def test_within_a_shard_every_other_account_is_paid_equally_often() -> None:
    paid = Counter((debit, credit) for debit, credit, _ in draw(60_000, crossing_share=0.0) if debit[0] == "1")
    assert len(paid) == 5 * 4
    assert all(count == pytest.approx(1_000, rel=0.15) for count in paid.values())


def test_over_the_border_every_foreign_account_is_paid_equally_often() -> None:
    paid = Counter(credit for debit, credit, _ in draw(60_000, crossing_share=1.0) if debit[0] == "2")
    assert {number[0] for number in paid} == {"1", "3"}
    assert len(paid) == 7
    assert all(count == pytest.approx(60_000 * 8 / 15 / 7, rel=0.1) for count in paid.values())


def test_the_same_seed_draws_the_same_payments() -> None:
    assert draw(100, crossing_share=0.5) == draw(100, crossing_share=0.5)


@pytest.mark.parametrize(
    ("accounts", "share"), [([], 0.0), ([["a"]], 0.0), ([["a", "b"]], 0.5), ([["a", "b"], []], 1.0), (SHARDS, 1.5)]
)
def test_payments_that_the_accounts_do_not_allow_are_refused(accounts: list[list[str]], share: float) -> None:
    with pytest.raises(ValueError, match=r"payments|share"):
        Workload(accounts, crossing_share=share, chance=Random(7))


def test_ids_are_version_7_and_ordered_by_time() -> None:
    chance = Random(7)
    ids = [
        transfer_id(milliseconds, chance.getrandbits(74))
        for milliseconds in range(1_790_000_000_000, 1_790_000_000_500)
    ]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {(UUID(text).version, UUID(text).variant) for text in ids} == {(7, "specified in RFC 4122")}
    assert int(ids[0].replace("-", "")[:12], 16) == 1_790_000_000_000


def test_ids_keep_every_bit_of_chance() -> None:
    assert UUID(transfer_id(0, 0)).int == 0x7000_8000_0000_0000_0000
    assert UUID(transfer_id(0, 2**74 - 1)).int == 0x7FFF_BFFF_FFFF_FFFF_FFFF
    assert len({transfer_id(0, 1 << bit) for bit in range(74)}) == 74


def test_the_stencil_writes_what_the_generated_code_reads() -> None:
    chance = Random(7)
    transfers = [
        (transfer_id(1_790_000_000_000, chance.getrandbits(74)), debit, credit, amount)
        for amount, (debit, credit, _) in enumerate(draw(AMOUNT_MINOR_MAX, crossing_share=0.5), start=1)
    ]
    expected = [
        bank_pb2.Transfer(
            transfer_id=identifier,
            legs=[bank_pb2.Leg(debit_account=debit, credit_account=credit, amount_minor=amount, currency_code="CZK")],
        )
        for identifier, debit, credit, amount in transfers
    ]
    stencil = Stencil("CZK")
    assert list(bank_pb2.PostTransfersRequest.FromString(stencil.write(transfers)).transfers) == expected
    for transfer, alone in zip(transfers, expected, strict=True):
        assert bank_pb2.PostTransferRequest.FromString(stencil.write([transfer])).transfer == alone
