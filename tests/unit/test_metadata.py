"""Metadata: what may be kept with a transfer, and that it is part of what a repeat must have alike."""

import pytest
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2
from memory_books import CZK, an_id, cash, customer_account

from services.domain import errors, metadata
from services.gateway import columns, validation
from services.gateway import wire as gateway_wire
from services.ledger import wire

A, B = customer_account(1, 1), customer_account(1, 2)
HOME = [1] * 10_000


def test_metadata_is_read_into_the_order_of_its_keys() -> None:
    assert metadata.read({"shop": "7", "order": "žluťoučký"}) == (("order", "žluťoučký"), ("shop", "7"))
    assert metadata.read({}) == ()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({f"k{n}": "v" for n in range(metadata.KEYS_MAX + 1)}, "METADATA_TOO_MANY_KEYS"),
        ({"": "v"}, "METADATA_KEY_INVALID"),
        ({"k" * 41: "v"}, "METADATA_KEY_INVALID"),
        ({"a b": "v"}, "METADATA_KEY_INVALID"),
        ({"_k": "v"}, "METADATA_KEY_INVALID"),
        ({"klíč": "v"}, "METADATA_KEY_INVALID"),
        ({"k": ""}, "METADATA_VALUE_INVALID"),
        ({"k": "v" * 257}, "METADATA_VALUE_INVALID"),
        ({"k": "a\nb"}, "METADATA_VALUE_INVALID"),
        ({"k": "\0"}, "METADATA_VALUE_INVALID"),
        ({f"k{n}": "v" * 250 for n in range(5)}, "METADATA_TOO_LARGE"),
        ({"k": "😀" * 256}, "METADATA_TOO_LARGE"),
    ],
)
def test_what_breaks_a_bound_is_refused_with_its_reason(given: dict[str, str], reason: str) -> None:
    with pytest.raises(errors.Malformed) as refusal:
        metadata.read(given, "transfer.metadata")
    assert refusal.value.reason == reason
    assert refusal.value.field.startswith("transfer.metadata")


def test_the_largest_metadata_is_taken() -> None:
    largest = {f"{n:02d}": "v" * 62 for n in range(16)}
    assert len(metadata.read(largest)) == metadata.KEYS_MAX
    assert sum(len(key) + len(value) for key, value in largest.items()) == metadata.BYTES_MAX
    longest = {"k" * 40: "v" * 256}
    assert metadata.read(longest) == tuple(longest.items())
    narrow = {"k": "\u00a0"}
    assert metadata.read(narrow) == (("k", "\u00a0"),), "a space that does not break controls nothing"


def test_no_two_metadata_have_one_digest_text() -> None:
    twins = [(("a", "bc"),), (("ab", "c"),), (("a", "b"), ("c", "d")), (("a", "b1:c1:d"),)]
    assert len({metadata.body(each) for each in twins}) == len(twins)


def test_a_digest_text_counts_bytes_whatever_the_letters() -> None:
    assert metadata.body((("a", "b1"), ("shop", "7"))) == b"1:a2:b14:shop1:7"
    assert metadata.body((("a", "\u017e1"), ("shop", "7"))) == b"1:a3:\xc5\xbe14:shop1:7"


def _asked(**pairs: str) -> bank_pb2.Transfer:
    leg = bank_pb2.Leg(debit_account=f"{A:016d}", credit_account=f"{B:016d}", amount_minor=5, currency_code="CZK")
    return bank_pb2.Transfer(transfer_id="0190c1d2-0000-7000-8000-000000000001", legs=[leg], metadata=pairs)


def test_the_gateway_carries_metadata_with_its_transfer_through_splitting_and_joining() -> None:
    transfers, faults = validation.read_transfers([_asked(), _asked(order="7"), _asked(shop="1")], {}, lambda _: "t")
    assert faults == {}
    picked = columns.pick(transfers, [2, 0])
    assert picked.metadata == {0: (("shop", "1"),)}
    joined = columns.join([picked, columns.pick(transfers, [1])])
    assert joined.metadata == {0: (("shop", "1"),), 2: (("order", "7"),)}
    request = gateway_wire.post_request(1, joined, 1)
    assert {row.place: dict(row.pairs) for row in request.metadata} == {0: {"shop": "1"}, 2: {"order": "7"}}


def test_the_gateway_tells_what_is_wrong_with_metadata_and_where() -> None:
    _, faults = validation.read_transfers([_asked(order="7"), _asked(**{"a b": "7"})], {}, lambda n: f"transfers[{n}]")
    (place,) = faults
    fault = faults[place]
    assert isinstance(fault, errors.Malformed)
    assert (place, fault.reason, fault.field) == (1, "METADATA_KEY_INVALID", "transfers[1].metadata['a b']")


def _posted(*pairs: dict[str, str]) -> ledger_pb2.PostTransfersRequest:
    count = len(pairs)
    return ledger_pb2.PostTransfersRequest(
        shard_id=1,
        transfer_ids=b"".join(an_id(n) for n in range(count)),
        debit_accounts=[cash(1)] * count,
        credit_accounts=[A] * count,
        amounts_minor=[5] * count,
        currencies=[CZK] * count,
        metadata=[ledger_pb2.Metadata(place=place, pairs=given) for place, given in enumerate(pairs) if given],
    )


def test_metadata_is_part_of_the_fingerprint_in_whatever_order_it_came() -> None:
    one, other, plain = {"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {}
    read = wire.transfers(_posted(one, dict(reversed(one.items())), other, plain), HOME)
    assert read.fingerprints[0] == read.fingerprints[1]
    assert len(set(read.fingerprints)) == 3


def test_the_ledger_refuses_metadata_that_no_gateway_would_send() -> None:
    request = _posted({"a": "1"})
    request.metadata[0].place = 1
    with pytest.raises(errors.Malformed, match="place 1 is not in the call"):
        wire.transfers(request, HOME)
    with pytest.raises(errors.Malformed, match="at most 1024"):
        wire.transfers(_posted({f"k{n}": "v" * 250 for n in range(5)}), HOME)
