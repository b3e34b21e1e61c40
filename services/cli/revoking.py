"""Changing the file that says which tokens are revoked, so that gateways see all of a change or none.

Never here: what the file means (`services/gateway/revocations.py`).
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import jwt

from services.cli import toml_comments
from services.cli.output import Failure
from services.gateway.revocations import Revocations

NEW_FILE_MODE: Final = 0o644
"""The gateways may run as somebody else, and nothing in the file is secret."""


def ensure(file: Path) -> None:
    """Make a file that revokes nothing unless there is one. Raises OSError."""
    if not file.exists():
        _write(file, "")


def revoke(file: Path, change: Callable[[Revocations], Revocations]) -> Revocations:
    """Change what a file says, or begin one, with its comments; give what it says now. Raises `Failure`."""
    try:
        with _alone(file.parent):
            written = file.read_bytes() if file.exists() else b""
            after = change(Revocations.of_toml(written))
            text = toml_comments.keep(written.decode(), after.to_toml())
            assert Revocations.of_toml(text.encode()) == after, "a comment revokes nothing"
            _write(file, text)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise Failure(f"{file} stays as it is: {error}") from error
    return after


def token_id(text: str) -> str:
    """Give a token's id (`jti`), from the token or from the id itself. Raises `Failure` when the token has none."""
    if text.count(".") != 2:
        return text
    try:
        found = jwt.decode(text, options={"verify_signature": False}).get("jti")
    except jwt.InvalidTokenError:
        return text
    if not isinstance(found, str) or not found:
        raise Failure("the token has no id (jti): revoke its --subject or its --channel")
    return found


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let nobody else change files of a directory meanwhile who asks in this way, too."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(file: Path, text: str) -> None:
    mode = file.stat().st_mode if file.exists() else NEW_FILE_MODE
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as beside:
        os.fchmod(descriptor, mode & 0o777)
        beside.write(text)
        beside.flush()
        os.fsync(descriptor)
    Path(temporary).replace(file)
