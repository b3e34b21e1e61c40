"""Metadata: what callers keep with a transfer for themselves, as keys and values. Pure.

Bounded, because it is stored, indexed and carried to the payee's shard. The bank gives no key a meaning,
but for `end_to_end_id`, which statements in ISO 20022 show as such. Never here: where it is stored.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias

from services.domain import errors

Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""Keys with their values, in the order of the keys, each key once."""

KEYS_MAX: Final = 16
KEY_CHARACTERS_MAX: Final = 40
VALUE_CHARACTERS_MAX: Final = 256
BYTES_MAX: Final = 1_024
"""Of all keys and values together, in UTF-8: as much again as the rest of a transfer, three times."""

END_TO_END_ID: Final = "end_to_end_id"
"""The payer's own identification of a payment, in the words of ISO 20022."""

_BYTES_PER_CHARACTER_MAX: Final = 4
_KEY: Final = re.compile(f"[A-Za-z0-9][A-Za-z0-9_.:-]{{0,{KEY_CHARACTERS_MAX - 1}}}")
_CONTROL_CHARACTERS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def read(given: Mapping[str, str], field: str = "metadata") -> Metadata:
    """Read metadata into the order of its keys. Raises `Malformed`, naming the first key that breaks a rule.

    METADATA_TOO_MANY_KEYS, METADATA_KEY_INVALID, METADATA_VALUE_INVALID, METADATA_TOO_LARGE.
    """
    if len(given) > KEYS_MAX:
        raise errors.Malformed("METADATA_TOO_MANY_KEYS", field, f"at most {KEYS_MAX} keys")
    # Of a message's map, whose `items` is slower than this.
    pairs = tuple([(key, given[key]) for key in sorted(given)])
    characters = 0
    for key, value in pairs:
        # What most pairs are; `check_pair` judges the others.
        if (
            len(key) > KEY_CHARACTERS_MAX
            or not _is_key(key)
            or not value.isprintable()
            or not 1 <= len(value) <= VALUE_CHARACTERS_MAX
        ):
            check_pair(key, value, field)
        characters += len(key) + len(value)
    if characters * _BYTES_PER_CHARACTER_MAX > BYTES_MAX:
        size = sum(len(text.encode()) for pair in pairs for text in pair)
        if size > BYTES_MAX:
            raise errors.Malformed("METADATA_TOO_LARGE", field, f"{size} bytes in all, at most {BYTES_MAX}")
    return pairs


@lru_cache(maxsize=1024)
def _is_key(text: str) -> bool:
    """Tell whether a text, not too long to be kept, may be a key: callers have few, and send them again and again."""
    return _KEY.fullmatch(text) is not None


def check_pair(key: str, value: str, field: str) -> None:
    """Raise `Malformed` (METADATA_KEY_INVALID, METADATA_VALUE_INVALID) unless a key may have a value."""
    if _KEY.fullmatch(key) is None:
        text = f"1 to {KEY_CHARACTERS_MAX} letters, digits or `_.:-`, a letter or a digit first"
        raise errors.Malformed("METADATA_KEY_INVALID", f"{field}[{key[: KEY_CHARACTERS_MAX + 1]!r}]", text)
    if not 1 <= len(value) <= VALUE_CHARACTERS_MAX or _CONTROL_CHARACTERS.search(value):
        text = f"from 1 to {VALUE_CHARACTERS_MAX} characters, no control characters or line breaks"
        raise errors.Malformed("METADATA_VALUE_INVALID", f"{field}[{key!r}]", text)


def body(pairs: Metadata) -> bytes:
    """Write metadata for a digest: no two write the same."""
    written = "".join([f"{len(key)}:{key}{len(value)}:{value}" for key, value in pairs])
    if written.isascii():
        return written.encode()
    return b"".join(b"%d:%b" % (len(raw), raw) for pair in pairs for raw in (text.encode() for text in pair))
