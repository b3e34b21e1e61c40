"""Account and customer numbers: what is built is read back, what is mistyped is refused."""

from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.domain import errors, identifiers
from services.domain.identifiers import ACCOUNT_SERIAL_MAX, CUSTOMER_SERIAL_MAX, SLOTS

slots = st.integers(0, SLOTS - 1)
accounts = st.builds(identifiers.account_number, slots, st.integers(1, ACCOUNT_SERIAL_MAX))
customers = st.builds(identifiers.customer_number, slots, st.integers(1, CUSTOMER_SERIAL_MAX))
texts = st.one_of(accounts.map(identifiers.account_text), customers.map(identifiers.customer_text))


def in_digits_from(zero: str) -> str:
    """Spell a right account number in another script."""
    text = identifiers.account_text(identifiers.account_number(1, 1))
    return "".join(chr(ord(zero) + int(digit)) for digit in text)


def parse(text: str) -> int:
    """Read a number of either kind by its length."""
    return identifiers.parse_account_number(text) if len(text) == 16 else identifiers.parse_customer_number(text)


@given(slots, st.integers(1, ACCOUNT_SERIAL_MAX))
def test_an_account_number_is_sixteen_digits_that_begin_with_its_slot(slot: int, serial: int) -> None:
    number = identifiers.account_number(slot, serial)
    text = identifiers.account_text(number)
    assert len(text) == 16
    assert text.startswith(f"{slot:04d}{serial:010d}")
    assert identifiers.parse_account_number(text) == number
    assert identifiers.slot_of_account(number) == slot


@given(slots, st.integers(1, CUSTOMER_SERIAL_MAX))
def test_a_customer_number_is_fourteen_digits_that_begin_with_its_slot(slot: int, serial: int) -> None:
    number = identifiers.customer_number(slot, serial)
    text = identifiers.customer_text(number)
    assert len(text) == 14
    assert text.startswith(f"{slot:04d}{serial:08d}")
    assert identifiers.parse_customer_number(text) == number
    assert identifiers.slot_of_customer(number) == slot


def test_all_97_pairs_of_check_digits_occur_and_are_read() -> None:
    accounts = [identifiers.account_number(0, serial) for serial in range(1, 98)]
    customers = [identifiers.customer_number(0, serial) for serial in range(1, 98)]
    for numbers in (accounts, customers):
        assert {number % 100 for number in numbers} == set(range(2, 99))
    assert [identifiers.parse_account_number(identifiers.account_text(number)) for number in accounts] == accounts
    assert [identifiers.parse_customer_number(identifiers.customer_text(number)) for number in customers] == customers


def test_the_largest_serials_fill_their_digits() -> None:
    last = identifiers.account_number(7, identifiers.ACCOUNT_SERIAL_MAX)
    assert identifiers.account_text(last)[:-2] == "0007" + "9" * 10
    assert identifiers.customer_text(identifiers.customer_number(7, identifiers.CUSTOMER_SERIAL_MAX))[:-2] == (
        "0007" + "9" * 8
    )


def test_the_check_digits_are_those_of_iso_7064() -> None:
    # The standard's own example: 794 gets the check digits 44.
    assert (identifiers.account_number(0, 794) % 100, identifiers.customer_number(0, 794) % 100) == (44, 44)


@given(texts, st.data())
def test_every_single_wrong_digit_is_noticed(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.sampled_from(sorted(set("0123456789") - {text[place]})))
    with pytest.raises(errors.Malformed):
        parse(text[:place] + wrong + text[place + 1 :])


@given(texts, st.data())
def test_every_pair_of_neighbours_that_changed_places_is_noticed(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 2))
    assume(text[place] != text[place + 1])
    with pytest.raises(errors.Malformed):
        parse(text[:place] + text[place + 1] + text[place] + text[place + 2 :])


@given(texts)
def test_each_number_has_one_spelling(text: str) -> None:
    # 97 more or less leaves the same remainder: of two such spellings only the built one is right.
    body, check = text[:-2], int(text[-2:])
    for other in {check - 97, check + 97} & set(range(100)):
        with pytest.raises(errors.Malformed):
            parse(f"{body}{other:02d}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "000100000000010",
        "00010000000001000",
        " 001000000000101",
        "+001000000000101",
        "0001_00000000010",
        in_digits_from("\N{ARABIC-INDIC DIGIT ZERO}"),
        in_digits_from("\N{FULLWIDTH DIGIT ZERO}"),
        "1234567890123456",
        "0000000000000001",
        "9999000000000001",
    ],
)
def test_what_is_no_account_number_is_refused_by_field(text: str) -> None:
    with pytest.raises(errors.Malformed) as caught:
        identifiers.parse_account_number(text, "transfer.legs[0].debit_account")
    assert (caught.value.reason, caught.value.field) == ("ACCOUNT_NUMBER_INVALID", "transfer.legs[0].debit_account")


@given(st.text(max_size=16))
def test_what_is_no_customer_number_is_refused_by_field(text: str) -> None:
    with pytest.raises(errors.Malformed) as caught:
        identifiers.parse_customer_number(text, "name")
    assert (caught.value.reason, caught.value.field) == ("CUSTOMER_NUMBER_INVALID", "name")


@given(slots, st.sampled_from((8, 10)))
def test_a_number_with_serial_0_is_refused_although_its_check_digits_are_right(slot: int, digits: int) -> None:
    number = slot * 10**digits * 100
    with pytest.raises(errors.Malformed):
        parse(f"{number + 98 - number % 97:0{4 + digits + 2}d}")


@pytest.mark.parametrize(("slot", "serial"), [(-1, 1), (SLOTS, 1), (0, 0), (0, ACCOUNT_SERIAL_MAX + 1)])
def test_numbers_outside_of_the_plan_are_a_bug(slot: int, serial: int) -> None:
    with pytest.raises(AssertionError):
        identifiers.account_number(slot, serial)


@given(st.uuids(), st.booleans())
def test_a_uuid_is_read_in_either_case_and_written_in_lower(value: UUID, upper: bool) -> None:
    text = str(value)
    raw = identifiers.parse_uuid(text.upper() if upper else text, "transfer_id")
    assert (raw, identifiers.uuid_text(raw)) == (value.bytes, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00000000000000000000000000000000",
        "{00000000-0000-0000-0000-000000000000}",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-00000000000",
        "00000000-0000-0000-0000-00000000000g",
        "00000000-0000-0000-0000-000000000000\n",
        "00000000-0000-0000-000000000000-0000",
    ],
)
def test_other_spellings_of_a_uuid_are_refused_by_field(text: str) -> None:
    with pytest.raises(errors.Malformed) as caught:
        identifiers.parse_uuid(text, "transfer_id")
    assert (caught.value.reason, caught.value.field) == ("UUID_INVALID", "transfer_id")
