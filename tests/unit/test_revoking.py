"""Changing the file of revoked tokens: whole or not at all, also when many do at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli import revoking, tokens, toml_comments
from services.cli.output import Failure
from services.gateway.revocations import Revocations

SECRET = "s" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "revocations.toml"


def said(file: Path) -> Revocations:
    return Revocations.of_toml(file.read_bytes())


def test_a_file_is_begun_readable_for_gateways_and_then_changed(file: Path) -> None:
    revoking.ensure(file)
    assert said(file) == Revocations()
    assert file.stat().st_mode & 0o777 == 0o644
    file.chmod(0o640)
    revoking.revoke(file, lambda before: before.with_tokens(["a"]))
    revoking.ensure(file)
    revoking.revoke(file, lambda before: before.with_tokens(["b"]))
    assert said(file).token_ids == {"a", "b"}
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_file_that_is_not_understood_stays_as_it_is(file: Path) -> None:
    file.write_text("tokns = []")
    with pytest.raises(Failure, match="stays as it is: tokns is none of"):
        revoking.revoke(file, lambda before: before.with_tokens(["a"]))
    assert file.read_text() == "tokns = []"
    with pytest.raises(Failure, match="No such file"):
        revoking.revoke(file.parent / "nowhere" / "x.toml", lambda before: before)


KEPT = """\
# Who asks for a revocation: security@bank.example

# After the audit of March.
all = 2026-03-01T00:00:00Z  # everybody
# Found on the internet.
tokens = [  # by jti
    # Anna's laptop, "stolen" # twice
    "b",  # ticket 7
    'c # d', # ticket 8
]
[subjects]  # who
"teller \\u0037" = 2026-03-02T17:45:00Z # ticket 9
# Not yet:
# "teller 8" = 2026-03-02T17:45:00Z
"""


def test_comments_stay_with_what_they_are_about(file: Path) -> None:
    file.write_text(KEPT)
    revoking.revoke(file, lambda before: before.with_tokens(["a"]).with_issued_before(2_000_000_000, channels=["web"]))
    assert (
        file.read_text()
        == """\
# Who asks for a revocation: security@bank.example

# After the audit of March.
all = 2026-03-01T00:00:00Z  # everybody
# Found on the internet.
tokens = [  # by jti
    "a",
    # Anna's laptop, "stolen" # twice
    "b",  # ticket 7
    "c # d",  # ticket 8
]
[subjects]  # who
"teller 7" = 2026-03-02T17:45:00Z  # ticket 9
[channels]
"web" = 2033-05-18T03:33:20Z
# Not yet:
# "teller 8" = 2026-03-02T17:45:00Z
"""
    )
    once = file.read_text()
    revoking.revoke(file, lambda before: before.with_tokens(["a"]))
    assert file.read_text() == once


@given(st.lists(st.sampled_from(["#", "# x", '"', "'", "a", "\n", "=", "[", "]", " ", "subjects", "\\", ","])))
def test_no_comment_is_lost_nor_anything_else_changed_whatever_a_file_looks_like(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        before = Revocations.of_toml(text.encode())
    except ValueError:
        before = None
    plain = Revocations().with_tokens(["a", "#", 'x"y']).with_issued_before(1e9, ["b # c"], everybody=True)
    kept = toml_comments.keep(text, plain.to_toml())
    assert Revocations.of_toml(kept.encode()) == plain
    if before is not None:
        assert kept.count("# x") >= len([line for line in text.splitlines() if line.lstrip().startswith("# x")])


@pytest.mark.parametrize("text", ["# nothing yet\n", "# nothing yet\n\n", "\n# nothing yet\ntokens = []  # none\n"])
def test_what_stands_before_everything_stays_there(file: Path, text: str) -> None:
    file.write_text(text)
    revoking.revoke(file, lambda before: before.with_tokens(["a"]))
    assert file.read_text().startswith("# nothing yet\n")


def test_nothing_is_lost_when_many_revoke_at_once(file: Path) -> None:
    def revoke(number: int) -> None:
        revoking.revoke(file, lambda before: before.with_tokens([str(number)]))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(revoke, range(40)))
    assert said(file).token_ids == {str(number) for number in range(40)}


def test_a_token_is_known_by_its_id() -> None:
    token = tokens.mint(SECRET, subject="x")
    token_id = jwt.decode(token, options={"verify_signature": False})["jti"]
    assert revoking.token_id(token) == revoking.token_id(token_id) == token_id
    assert tokens.mint(SECRET, subject="x") != token
    assert revoking.token_id("an.id.with dots") == "an.id.with dots"
    with pytest.raises(Failure, match="has no id"):
        revoking.token_id(jwt.encode({"sub": "x"}, SECRET))
