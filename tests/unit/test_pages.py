"""Page tokens open for the query and caller they were made for, and for nobody else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import errors
from services.gateway.pages import PageTokens

PAGES = PageTokens(b"a secret for pages")
QUERY = ("ListEntries", "accounts/1", "version desc", "teller 7")


def _reason(token: str, *query: str) -> str:
    with pytest.raises(errors.Malformed) as refused:
        PAGES.open(token, *query)
    assert refused.value.field == "page_token"
    return refused.value.reason


@given(st.integers(-(2**63), 2**63 - 1), st.lists(st.text(max_size=20), max_size=4))
def test_a_token_opens_at_the_position_it_was_sealed_with(position: int, query: list[str]) -> None:
    token = PAGES.seal(position, *query)
    assert PAGES.open(token, *query) == position
    assert token.isascii()
    assert "=" not in token
    assert "/" not in token


def test_no_token_is_the_first_page() -> None:
    assert PAGES.open("", *QUERY) == 0


@pytest.mark.parametrize("place", range(len(QUERY)))
def test_a_token_of_another_query_or_caller_is_a_mismatch(place: int) -> None:
    token = PAGES.seal(7, *QUERY)
    other = [*QUERY[:place], "other", *QUERY[place + 1 :]]
    assert _reason(token, *other) == "PAGE_TOKEN_MISMATCH"


def test_parts_of_a_query_do_not_run_into_each_other() -> None:
    assert _reason(PAGES.seal(7, "a,b", "c"), "a", "b,c") == "PAGE_TOKEN_MISMATCH"
    assert _reason(PAGES.seal(7, "a"), "a", "") == "PAGE_TOKEN_MISMATCH"


def test_a_changed_token_is_invalid_wherever_it_was_changed() -> None:
    token = PAGES.seal(7, *QUERY)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for place in range(len(raw)):
        changed = bytes([*raw[:place], raw[place] ^ 1, *raw[place + 1 :]])
        assert _reason(base64.urlsafe_b64encode(changed).decode(), *QUERY) == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("token", ["x", "!!!!", "ä", "AAAA", "A" * 1000, PAGES.seal(7, *QUERY)[:-1]])
def test_what_is_no_token_is_invalid(token: str) -> None:
    assert _reason(token, *QUERY) == "PAGE_TOKEN_INVALID"


def test_a_token_of_another_bank_is_invalid() -> None:
    assert _reason(PageTokens(b"another bank's secret").seal(7, *QUERY), *QUERY) == "PAGE_TOKEN_INVALID"
