"""What is wrong with many places of one call, said in a message that still fits.

Never here: which error is which status (`services/chassis/status.py`).
"""

from typing import Final

from google.rpc import status_pb2

from services.chassis import status
from services.domain import errors

FURTHER_VIOLATIONS_MAX: Final = 5_000
"""Told in the answer to one call of thousands, besides each place's first: the answer must fit a message."""


class Statuses:
    """Says the errors of one call's places; places that share an error share the work."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[errors.BankError, status_pb2.Status]] = {}
        self._further_left = FURTHER_VIOLATIONS_MAX

    def of(self, error: errors.BankError) -> status_pb2.Status:
        """Say one error."""
        known = self._known.get(id(error))
        if known is None:
            known = self._known[id(error)] = (error, status.to_status(self._shortened(error)))
        return known[1]

    def _shortened(self, error: errors.BankError) -> errors.BankError:
        if not isinstance(error, errors.Malformed) or not error.further:
            return error
        self._further_left -= len(error.further)
        if self._further_left >= 0:
            return error
        return errors.Malformed(error.reason, error.field, error.description)
