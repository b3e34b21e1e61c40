"""What a call may open, decided place by place."""

import pytest

from services.account.opening import MESSAGES, AccountWanted, Claim, CustomerWanted, Refusal, Sheet

ONE, TWO, THREE = (bytes([n]) * 16 for n in (1, 2, 3))


def want(request_id: bytes, reference: str = "", name: str = "") -> CustomerWanted:
    return CustomerWanted(request_id, reference, name)


def claim(wanted: CustomerWanted, number: int) -> Claim:
    return Claim(number, wanted.fingerprint)


def sorted_out(
    wants: list[CustomerWanted], claims: dict[bytes, Claim] | None = None, owners: dict[str, int] | None = None
) -> Sheet[CustomerWanted]:
    sheet = Sheet(wants)
    sheet.read_requests(claims or {})
    sheet.read_references(owners or {})
    places = sheet.places_without_number()
    sheet.give(places, [100 + place for place in places])
    return sheet


def ends(sheet: Sheet[CustomerWanted]) -> list[object]:
    return sheet.results({number: number for number in range(1000)})


def test_a_new_request_gets_the_number_given() -> None:
    assert ends(sorted_out([want(ONE), want(TWO)])) == [100, 101]


def test_a_request_that_came_before_keeps_its_number() -> None:
    before = want(ONE, "R", "Ada")
    assert ends(sorted_out([before], {ONE: claim(before, 7)}, {"R": 7})) == [7]


def test_a_request_that_claimed_its_number_but_not_yet_its_reference_goes_on() -> None:
    before = want(ONE, "R")
    assert ends(sorted_out([before], {ONE: claim(before, 7)})) == [7]


def test_the_same_id_with_another_body_is_refused() -> None:
    claims = {ONE: claim(want(ONE, name="Ada"), 7)}
    assert ends(sorted_out([want(ONE, name="Bob")], claims)) == [Refusal.REQUEST_ID_REUSED]


def test_the_same_request_twice_in_one_call_is_one_record() -> None:
    assert ends(sorted_out([want(ONE, "R"), want(TWO), want(ONE, "R")])) == [100, 101, 100]


def test_the_same_id_with_two_bodies_in_one_call_belongs_to_the_first() -> None:
    wants = [want(ONE, name="Ada"), want(ONE, name="Bob"), want(ONE, name="Ada")]
    assert ends(sorted_out(wants)) == [100, Refusal.REQUEST_ID_REUSED, 100]


def test_the_same_id_with_two_bodies_in_one_call_belongs_to_what_it_meant_before() -> None:
    wants = [want(ONE, name="Ada"), want(ONE, name="Bob")]
    assert ends(sorted_out(wants, {ONE: claim(wants[1], 7)})) == [Refusal.REQUEST_ID_REUSED, 7]


def test_anothers_reference_is_taken() -> None:
    assert ends(sorted_out([want(ONE, "R")], owners={"R": 7})) == [Refusal.EXTERNAL_REFERENCE_TAKEN]


def test_the_same_reference_for_two_requests_of_one_call_goes_to_the_first() -> None:
    assert ends(sorted_out([want(ONE, "R"), want(TWO, "R")])) == [100, Refusal.EXTERNAL_REFERENCE_TAKEN]


def test_a_reference_that_a_later_place_owns_already_is_taken_for_the_earlier() -> None:
    wants = [want(ONE, "R"), want(TWO, "R")]
    assert ends(sorted_out(wants, {TWO: claim(wants[1], 7)}, {"R": 7})) == [Refusal.EXTERNAL_REFERENCE_TAKEN, 7]


def test_a_refused_place_does_not_keep_its_reference_from_the_next() -> None:
    wants = [want(ONE, "R", "Bob"), want(TWO, "R")]
    claims = {ONE: claim(want(ONE, "R", "Ada"), 7)}
    assert ends(sorted_out(wants, claims)) == [Refusal.REQUEST_ID_REUSED, 101]


def test_empty_references_never_collide() -> None:
    assert ends(sorted_out([want(ONE), want(TWO)], owners={})) == [100, 101]


def test_places_beyond_the_last_number_find_the_bank_full() -> None:
    sheet = Sheet([want(ONE), want(TWO), want(TWO)])
    sheet.give(sheet.places_without_number(), [5])
    assert ends(sheet) == [5, Refusal.BANK_FULL, Refusal.BANK_FULL]


def test_who_claimed_a_request_first_wins_and_a_number_given_meanwhile_is_dropped() -> None:
    sheet = sorted_out([want(ONE, name="Ada"), want(TWO)])
    sheet.read_requests({ONE: claim(want(ONE, name="Ada"), 7), TWO: claim(want(TWO, name="other"), 8)})
    assert ends(sheet) == [7, Refusal.REQUEST_ID_REUSED]


def test_a_number_that_lost_its_reference_is_refused() -> None:
    sheet = sorted_out([want(ONE, "R"), want(TWO, "S"), want(ONE, "R")])
    sheet.refuse_numbers({100})
    taken = Refusal.EXTERNAL_REFERENCE_TAKEN
    assert ends(sheet) == [taken, 101, taken]


def test_every_refusal_is_shown_in_order() -> None:
    # Everything that can be wrong is wrong in the first row; each row mends one thing.
    reused = Claim(7, want(ONE, "R", "another body").fingerprint)
    shown = []
    for claims, known, owners, room in (
        ({ONE: reused}, 0, {"R": 9}, []),
        ({}, 0, {"R": 9}, []),
        ({}, 1, {"R": 9}, []),
        ({}, 2, {"R": 9}, []),
        ({}, 3, {"R": 9}, []),
        ({}, 3, {}, []),
    ):
        sheet = Sheet([want(ONE, "R")])
        sheet.read_requests(claims)
        sheet.refuse_unless(lambda _want, known=known: known > 0, Refusal.CUSTOMER_NOT_FOUND)
        sheet.refuse_unless(lambda _want, known=known: known > 1, Refusal.PRODUCT_NOT_FOUND)
        sheet.refuse_unless(lambda _want, known=known: known > 2, Refusal.PRODUCT_CURRENCY_MISMATCH)
        sheet.read_references(owners)
        sheet.give(sheet.places_without_number(), room)
        shown += ends(sheet)
    assert shown == list(Refusal)


def test_a_request_known_already_is_not_asked_for_its_customer_again() -> None:
    before = want(ONE)
    sheet = Sheet([before])
    sheet.read_requests({ONE: claim(before, 7)})
    sheet.refuse_unless(lambda _want: False, Refusal.CUSTOMER_NOT_FOUND)
    assert ends(sheet) == [7]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (want(ONE, "ab", "c"), want(ONE, "a", "bc")),
        (want(ONE, "1:a", ""), want(ONE, "", "1:a")),
        (AccountWanted(ONE, 1, 203, ""), AccountWanted(ONE, 1, 978, "")),
        (AccountWanted(ONE, 1, 203, ""), AccountWanted(ONE, 2, 203, "")),
        (AccountWanted(ONE, 1, 203, "a"), AccountWanted(ONE, 1, 203, "b")),
    ],
)
def test_bodies_that_differ_anywhere_have_other_fingerprints(
    one: CustomerWanted | AccountWanted, other: CustomerWanted | AccountWanted
) -> None:
    assert one.fingerprint != other.fingerprint


def test_fingerprints_are_stored_and_never_change() -> None:
    assert want(ONE, "R", "Žofie").fingerprint == -5437208402887848758
    assert AccountWanted(ONE, 10000000191, 203, "R").fingerprint == 2503617404031847968
    assert all(-(2**63) <= want(ONE, str(n)).fingerprint < 2**63 for n in range(100))


def test_every_refusal_has_words() -> None:
    assert MESSAGES.keys() == set(Refusal)
