"""Which tokens are no good although they are signed and not expired: a pure room, from text to yes or no and back.

A TOML file, all of it optional: tokens by their `jti`, and a time before which the tokens of everybody,
of a subject or of a channel were issued (`iat`). A token without `iat` is of before any time.
Never here: reading the file (`services/chassis/watched.py`), or the rest of a token (`authentication.py`).

    all = 2026-03-01T00:00:00Z
    tokens = ["7f3c9a10-5d0b-4a57-9f1e-0d9c1c1f4b11"]
    [subjects]
    "teller 7" = 2026-03-02T17:45:00Z
    [channels]
    branch = 2026-03-02T18:00:00Z
"""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

_FIELDS: Final = frozenset({"all", "tokens", "subjects", "channels"})


@dataclass(frozen=True, slots=True)
class Revocations:
    """What is revoked; times are seconds since 1970-01-01 UTC."""

    token_ids: frozenset[str] = frozenset()
    all_before: float = -math.inf
    before_by_subject: Mapping[str, float] = field(default_factory=dict)
    before_by_channel: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_toml(cls, text: bytes) -> "Revocations":
        """Read a file. Raises `ValueError` with what is wrong with it: a typo must not let a token live."""
        document = tomllib.loads(text.decode())
        if unknown := sorted(document.keys() - _FIELDS):
            raise ValueError(f"{unknown[0]} is none of {', '.join(sorted(_FIELDS))}")
        token_ids = document.get("tokens", [])
        if not isinstance(token_ids, list) or not all(isinstance(each, str) and each for each in token_ids):
            raise ValueError("tokens is a list of token ids (jti)")
        return cls(
            frozenset(token_ids),
            _seconds("all", document["all"]) if "all" in document else -math.inf,
            _times(document, "subjects"),
            _times(document, "channels"),
        )

    def to_toml(self) -> str:
        """Write the file that says this."""
        lines = [f"all = {_time(self.all_before)}"] if self.all_before > -math.inf else []
        if self.token_ids:
            lines += ["tokens = [", *(f"    {_text(token_id)}," for token_id in sorted(self.token_ids)), "]"]
        for name, before in (("subjects", self.before_by_subject), ("channels", self.before_by_channel)):
            if before:
                lines += [f"[{name}]", *(f"{_text(key)} = {_time(time)}" for key, time in sorted(before.items()))]
        return "".join(f"{line}\n" for line in lines)

    def with_tokens(self, token_ids: Iterable[str]) -> "Revocations":
        """Revoke further tokens by id."""
        return replace(self, token_ids=self.token_ids.union(token_ids))

    def with_issued_before(
        self, before: float, subjects: Iterable[str] = (), channels: Iterable[str] = (), *, everybody: bool = False
    ) -> "Revocations":
        """Revoke what was issued before a time to subjects, channels or everybody; a later time that stands stays."""
        return replace(
            self,
            all_before=max(before, self.all_before) if everybody else self.all_before,
            before_by_subject=_later(self.before_by_subject, dict.fromkeys(subjects, before)),
            before_by_channel=_later(self.before_by_channel, dict.fromkeys(channels, before)),
        )

    def has(self, token_id: object, issued_at: float | None, subject: str, channel: str) -> bool:
        """Tell whether a token is revoked; `issued_at` in seconds since 1970-01-01 UTC, None where it does not say."""
        if token_id is not None and token_id in self.token_ids:
            return True
        before = max(
            self.all_before,
            self.before_by_subject.get(subject, -math.inf),
            self.before_by_channel.get(channel, -math.inf),
        )
        return before > (-math.inf if issued_at is None else issued_at)


def _times(document: Mapping[str, Any], name: str) -> dict[str, float]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{name} is a table of names and times")  # noqa: TRY004
    return {key: _seconds(f"{name}.{key}", value) for key, value in table.items()}


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{name} is a time with its zone, such as 2026-03-01T00:00:00Z")
    return value.timestamp()


def _later(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {**one, **{name: max(before, one.get(name, -math.inf)) for name, before in other.items()}}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _text(text: str) -> str:
    # JSON's strings are TOML's, but for a character that JSON leaves alone.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
