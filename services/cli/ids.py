"""Ids under which the command line asks for things: new ones, and those that a file's rows always have.

Never here: account and customer numbers, which the bank gives.
"""

import secrets
import time
from typing import Final
from uuid import UUID, uuid5

_FILES: Final = UUID("5b0c2a34-6d4e-4f0b-9a3e-7c1d2f8e9b60")
"""Namespace of the ids that files give; never changed, or a file that was paid would be paid again."""


def request_id(kind: str, reference: str) -> str:
    """Derive the id of what a row asks for, so that reading the same file again asks for the same."""
    return str(uuid5(_FILES, f"{kind}:{reference}"))


def new_id() -> str:
    """Mint a UUIDv7: the time in milliseconds, then chance."""
    milliseconds = time.time_ns() // 1_000_000
    chance = secrets.randbits(74)
    high = (milliseconds << 16) | (7 << 12) | (chance >> 62)
    low = (0b10 << 62) | (chance & (2**62 - 1))
    return str(UUID(int=(high << 64) | low))
