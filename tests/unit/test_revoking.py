"""Changing the file of revoked tokens: whole or not at all, also when many do at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest

from services.cli import revoking, tokens
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
