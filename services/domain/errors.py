"""Circumstances that keep a call from its answer, one class per thing the caller should do next.

An expected no of the books is not here: it is a value (`outcomes.Refusal`). A bug is an assert and
never becomes a polite answer. A new class only if some caller would act differently; otherwise a
new reason. The one table from class to gRPC status is `services/chassis/status.py`.
"""

from collections.abc import Mapping, Sequence


class BankError(Exception):
    """Base of all circumstances; never raised itself.

    `reason` is stable UPPER_SNAKE_CASE for programs, `message` is for people and safe to show,
    `metadata` repeats every variable of the message.
    """

    def __init__(self, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        assert type(self) is not BankError
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})


class Malformed(BankError):
    """The request breaks a rule that its sender could have checked: mend it before sending again.

    `further` lists what else is wrong with the same request, so that its sender mends it once.
    """

    def __init__(self, reason: str, field: str, message: str, further: Sequence["Malformed"] = ()) -> None:
        super().__init__(reason, f"{field}: {message}", {"field": field})
        self.field = field
        self.description = message
        self.further = tuple(further)


class Unauthenticated(BankError):
    """Nobody we know: get a token."""


class Forbidden(BankError):
    """Known, but not allowed to do this."""


class NotFound(BankError):
    """Well formed, but there is no such thing."""


class Conflict(BankError):
    """The name or id already stands for something else: mint a new one."""


class Refused(BankError):
    """Well formed, but the books or the account's state forbid it: a retry cannot succeed."""


class Overloaded(BankError):
    """Nothing was written because a queue is full or an allowance used up: slow down, then send the same again."""

    def __init__(self, reason: str, message: str, retry_after_seconds: float) -> None:
        super().__init__(reason, message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(BankError):
    """Nothing was written; somebody needed does not answer: send the same again a little later."""


class WrongShard(BankError):
    """Nothing was written; the sender's directory is old: refresh it, then send to the right shard."""


class OutcomeUnknown(BankError):
    """It may or may not have been written: send the same ids again, never new ones."""


class DeadlinePassed(BankError):
    """Nothing was written; the deadline came first."""
