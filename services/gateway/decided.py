"""What became of the transfers of a call, place by place, put together from the shards' answers. Pure.

Never here: asking the shards (`transfers.py`).
"""

from dataclasses import dataclass, field
from functools import lru_cache

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import errors
from services.gateway import columns, wire
from services.gateway.columns import Outcomes
from services.gateway.routing import Part


@dataclass(slots=True)
class Decided:
    """An outcome or an error for each place."""

    outcomes: list[int]
    refusals: list[int]
    booking_times_us: list[int]
    errors: dict[int, errors.BankError]
    repeats: set[int] = field(default_factory=set)
    """Places that had their outcome before, where there is or was a fee."""
    refused_legs: dict[int, int] = field(default_factory=dict)
    """Which of several legs is to blame."""
    parts: list[Part] = field(default_factory=list)
    """As routed last."""
    unqueued: int = 0
    """Parts that are not in their shards' queues yet."""

    def take(self, part: Part, answer: Outcomes) -> list[int]:
        """Put a shard's answer in its places; return the places that the shard does not have."""
        astray: list[int] = []
        for place, outcome, refusal, booking_time_us in zip(
            part.places, answer.outcomes, answer.refusals, answer.booking_times_us, strict=True
        ):
            self.outcomes[place] = outcome
            self.refusals[place] = refusal
            self.booking_times_us[place] = booking_time_us
        for index, leg in answer.refused_legs.items():
            self.refused_legs[part.places[index]] = leg
        self.repeats.update(part.places[index] for index in answer.repeats)
        for index, error in enumerate(answer.errors):
            if error == ledger_pb2.PLACE_ERROR_WRONG_SHARD:
                astray.append(part.places[index])
            elif error:
                self.errors[part.places[index]] = wire.place_error(error, columns.transfer_id(part.transfers, index))
        return astray


@lru_cache(maxsize=256)
def result(outcome: int, refusal: int) -> bank_pb2.TransferResult:
    """Return the result of a transfer with an outcome; shared, so never changed."""
    return bank_pb2.TransferResult(state=outcome, reason=wire.refusal_name(refusal))  # type: ignore[arg-type]
