"""Page tokens: where the next page starts, sealed so that only this bank can have written it.

A token is bound to the query it continues and to its caller, but not to the page size, which may
change from page to page (AIP-158). Never here: reading pages.
"""

import base64
import binascii
import hashlib
import hmac
import json
import struct
from typing import Final

from services.domain import errors

_SEAL_BYTES: Final = 16
_BODY: Final = struct.Struct(">B3q16s")
_FORMAT: Final = 2

Position = tuple[int, int, int]
"""Where a page starts: as far as the query needs it, a place, a cut of the books and a shard."""

START: Final[Position] = (0, 0, 0)


class PageTokens:
    """Seals and opens page tokens with a secret that all gateways of a bank share."""

    def __init__(self, secret: bytes) -> None:
        assert len(secret) >= 16
        self._secret = secret

    def seal(self, position: int, *query: str) -> str:
        """Write the token of the page after `position` (an int64) of `query`."""
        return self.seal_at((position, 0, 0), *query)

    def open(self, token: str, *query: str) -> int:
        """Return the position; 0 for the empty token, the first page. Raises as `open_at`."""
        return self.open_at(token, *query)[0]

    def seal_at(self, position: Position, *query: str) -> str:
        """Write the token of the page that starts at three int64 of `query`."""
        body = _BODY.pack(_FORMAT, *position, _digest(query))
        return base64.urlsafe_b64encode(body + self._seal(body)).rstrip(b"=").decode()

    def open_at(self, token: str, *query: str) -> Position:
        """Return the position; `START` for the empty token, the first page.

        Raises `Malformed`: PAGE_TOKEN_INVALID for what this bank never sealed, PAGE_TOKEN_MISMATCH
        for a token of another query or caller.
        """
        if not token:
            return START
        raw = _decoded(token)
        body, seal = raw[: _BODY.size], raw[_BODY.size :]
        if len(body) != _BODY.size or not hmac.compare_digest(seal, self._seal(body)):
            raise errors.Malformed("PAGE_TOKEN_INVALID", "page_token", "not a page token of this bank")
        _, place, cut, shard_id, digest = _BODY.unpack(body)
        if digest != _digest(query):
            raise errors.Malformed("PAGE_TOKEN_MISMATCH", "page_token", "belongs to another query")
        return place, cut, shard_id

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")[:_SEAL_BYTES]


def _digest(query: tuple[str, ...]) -> bytes:
    return hashlib.blake2b(json.dumps(query).encode(), digest_size=16).digest()


def _decoded(token: str) -> bytes:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
