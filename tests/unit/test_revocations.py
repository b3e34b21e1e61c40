"""What a revocations file says, and whom it lets pass."""

import math

import pytest

from services.gateway.revocations import Revocations

NOON = 1_772_366_400.0
"""2026-03-01T12:00:00Z"""

FILE = b"""
tokens = ["a", "b"]
[subjects]
"teller 7" = 2026-03-01T12:00:00Z
[channels]
branch = 2026-03-01T14:00:00+01:00
"""


def test_an_empty_file_revokes_nothing() -> None:
    assert not Revocations.of_toml(b"").has("a", None, "teller 7", "branch")


@pytest.mark.parametrize(
    ("token_id", "issued_at", "subject", "channel", "is_revoked"),
    [
        ("a", NOON + 99_999, "x", "x", True),
        ("c", NOON - 1, "x", "x", False),
        (None, NOON - 1, "teller 7", "x", True),
        (None, NOON, "teller 7", "x", False),
        (None, None, "teller 7", "x", True),
        (None, None, "x", "x", False),
        (None, NOON + 3_599, "teller 7", "branch", True),
        (None, NOON + 3_600, "teller 7", "branch", False),
    ],
)
def test_tokens_are_revoked_by_id_and_by_when_they_were_issued_to_whom(
    token_id: str | None, issued_at: float | None, subject: str, channel: str, is_revoked: bool
) -> None:
    assert Revocations.of_toml(FILE).has(token_id, issued_at, subject, channel) == is_revoked


@pytest.mark.parametrize(
    "text",
    [
        b"token = []",
        b"tokens = 'a'",
        b"tokens = ['']",
        b"tokens = [1]",
        b"all = 2026-03-01",
        b"all = 2026-03-01T12:00:00",
        b"all = 5",
        b"subjects = []",
        b"[subjects]\nx = 'yesterday'",
        b"[",
        b"\xff",
    ],
)
def test_a_file_that_is_not_wholly_understood_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Revocations.of_toml(text)


NASTY = ('a "quoted" one', "back\\slash", "tab\tand\nline", "\x7f\x00", "čž 🏦", "", "[channels]")


def test_what_is_written_is_read_back() -> None:
    said = Revocations(
        frozenset(NASTY) - {""},
        NOON + 0.25,
        {name: NOON + place for place, name in enumerate(NASTY)},
        {name: NOON - place for place, name in enumerate(NASTY)},
    )
    assert Revocations.of_toml(said.to_toml().encode()) == said
    assert Revocations().to_toml() == ""


def test_revoking_adds_and_never_lets_a_token_live_again() -> None:
    said = Revocations.of_toml(FILE)
    more = said.with_tokens(["c"]).with_issued_before(NOON + 1, ["teller 7", "x"], ["branch"])
    assert more.token_ids == {"a", "b", "c"}
    assert more.before_by_subject == {"teller 7": NOON + 1, "x": NOON + 1}
    assert more.before_by_channel == {"branch": NOON + 3_600}
    assert more.all_before == -math.inf
    everybody = more.with_issued_before(NOON, everybody=True).with_issued_before(NOON - 1, everybody=True)
    assert everybody.all_before == NOON
