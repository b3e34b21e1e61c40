"""docs/reasons.md has every reason that the code can give, with what there is to say about it."""

import re

from services.account.opening import Refusal as OpeningRefusal
from services.domain.outcomes import Refusal
from tools import reasons_page

PAGE = reasons_page.PAGE.read_text(encoding="utf-8")


def test_the_page_is_fresh() -> None:
    assert reasons_page.page() == PAGE, "make pages"


def test_every_upper_snake_word_that_the_services_say_to_callers_is_on_the_page() -> None:
    """A second, coarser look than the page's own: any such literal that stands as an argument of a call."""
    said = set()
    for room in reasons_page.ROOMS:
        for file in (reasons_page.ROOT / "services" / room).rglob("*.py"):
            said |= set(re.findall(r'[(,]\s*"([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)"[,)]', file.read_text(encoding="utf-8")))
    missing = {word for word in said if f"`{word}`" not in PAGE and not reasons_page.NOT_REASONS.fullmatch(word)}
    assert missing - NO_REASONS == set()
    assert len(said) > 80


NO_REASONS = {"hivecore"}
"""Words that look like reasons and are none."""


def test_refusals_stand_in_their_order_of_precedence() -> None:
    table = PAGE.partition("## Refusals")[2].partition("## Errors")[0]
    assert re.findall(r"^\| (\d+) \| `(\w+)`", table, re.MULTILINE) == [
        (str(each.value), each.name) for each in Refusal
    ]


def test_every_row_is_whole() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| (\d+ \| )?`", line)]
    assert len(rows) > len(Refusal) + len(OpeningRefusal) + 60
    assert [row for row in rows if re.search(r"\|\s+\|", row)] == []


def test_nothing_is_said_of_reasons_and_calls_that_there_are_not() -> None:
    found = reasons_page.reasons()
    assert {*reasons_page.CALLS, *reasons_page.MEANINGS} <= found.keys()
    named = set(re.findall(r"\b[A-Z][a-z]+[A-Z][A-Za-z]+\b", " ".join(reasons_page.CALLS.values())))
    assert named <= reasons_page.methods().keys()
