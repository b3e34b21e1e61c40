"""Clients that insist: of one shard's ledger, finding the writer, and of others.

Retrying is safe only because every request carries its caller's ids, minted before the first
attempt. Doubt is sticky: once an attempt may have been carried out, only an answer clears it.
Never here: which shard a request belongs to.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from random import SystemRandom
from typing import Any, Final, NoReturn

from hivecore.ledger.v1 import ledger_pb2_grpc

from services.chassis import requests, status
from services.chassis.identity import Identity
from services.domain import errors, limits
from services.domain.errors import BankError
from services.transport.channel import CallError, Channel, Patience

KEEPALIVE_SECONDS: Final = 5.0
"""A silent connection is pinged this often; servers allow it (`bounds.PING_SECONDS_MIN`)."""

KEEPALIVE_ANSWER_SECONDS: Final = 3.0
"""A peer that leaves a ping unanswered this long is gone."""

METADATA_BYTES_MAX: Final = 64 * 1024
"""Of one answer: a status may name many fields."""

CONNECT_SECONDS_MAX: Final = 1.0

PATIENCE: Final = Patience(
    connect_seconds_max=CONNECT_SECONDS_MAX,
    retry_seconds_min=0.05,
    retry_seconds_max=1.0,
    silent_seconds_max=KEEPALIVE_SECONDS,
    answer_seconds_max=KEEPALIVE_ANSWER_SECONDS,
    message_bytes_max=limits.MESSAGE_BYTES_MAX,
    metadata_bytes_max=METADATA_BYTES_MAX,
)

PAUSE_SECONDS_MIN: Final = 0.020
PAUSE_SECONDS_MAX: Final = 0.500

WRITING_METHODS: Final = frozenset(
    {"PostTransfers", "OpenAccounts", "LandCrossings", "CommandHolds", "ChangeAccount", "BuryTransfer"}
)
"""Methods of the ledger whose lost answer leaves doubt."""

_chance = SystemRandom()


class Line:
    """A channel to one address: opened when first needed, and anew when this process's certificate changes."""

    def __init__(self, address: str, make_stub: Callable[[Any], Any], identity: Identity | None = None) -> None:
        self.address = address
        self._make_stub = make_stub
        self._identity = identity
        self._version = 0
        self._channel: Channel | None = None
        self._stub: Any = None

    @property
    def channel(self) -> Channel:
        """The channel to use for the next call; one that was replaced closes when its last call has ended."""
        version = self._identity.look() if self._identity is not None else 0
        if self._channel is None or version != self._version:
            try:
                context = self._identity.client_context() if self._identity is not None else None
            except OSError:
                if self._channel is None:
                    raise
                return self._channel  # The files are being replaced once more.
            self._version = version
            self.retire()
            self._channel = Channel(self.address, PATIENCE, context)
            self._stub = self._make_stub(self._channel)
        return self._channel

    @property
    def stub(self) -> Any:
        """The stub on `channel`."""
        assert self.channel is not None
        return self._stub

    def retire(self) -> None:
        """Close the channel once the calls under way have ended."""
        if self._channel is not None:
            self._channel.retire()

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        if self._channel is not None:
            await self._channel.close()


class InsistentClient:
    """Calls a service that is at any of several addresses, until a deadline. Channels open when first needed.

    A process that stops or starts is waited for, so a restart costs a caller time and no error.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        stub: Callable[[Any], Any],
        writing_methods: Collection[str],
        away: Callable[[], errors.Unavailable],
        identity: Identity | None = None,
    ) -> None:
        """Call through a `stub`; `away` makes what is raised when no address answers in time."""
        self._identity = identity
        self._stub = stub
        self._writing_methods = writing_methods
        self._away = away
        self._peers: tuple[_Peer, ...] = ()
        """The one that answered last stands first."""
        self.move_to(addresses)

    @property
    def addresses(self) -> frozenset[str]:
        """Where the service is."""
        return frozenset(peer.address for peer in self._peers)

    def move_to(self, addresses: Sequence[str]) -> None:
        """Use these addresses from now on; calls under way end where they are."""
        assert addresses, "a service is somewhere"
        kept = tuple(peer for peer in self._peers if peer.address in addresses)
        known = {peer.address for peer in kept}
        for dropped in self._peers:
            if dropped not in kept:
                dropped.retire()
        self._peers = kept + tuple(
            _Peer(address, self._stub, self._identity) for address in addresses if address not in known
        )

    async def call(self, method: str, request: Any, *, deadline_seconds: float) -> Any:
        """Call a method by name and return its answer.

        Starts at the address that answered last, and last at one that let a call's time pass; while none can serve, asks all addresses in turn,
        pausing 20 to 500 ms between rounds, until the deadline. Raises `BankError`: what the service
        raised, `away` or `DeadlinePassed` when the deadline came first, `OutcomeUnknown` instead of
        any of these when a writing request may have been carried out by an attempt whose answer got lost.
        """
        attempts = _Attempts(self._away, deadline_seconds, writes=method in self._writing_methods)
        while True:
            for peer in self._peers:
                attempts.begin()
                if await peer.is_connected(attempts.remaining()):
                    try:
                        answer = await peer.method(method)(
                            request, timeout=attempts.remaining(), metadata=requests.outgoing()
                        )
                    except CallError as failure:
                        self._ask_later(peer, attempts)
                        attempts.judge(failure)
                    else:
                        self._prefer(peer)
                        return answer
                if attempts.remaining() <= 0:
                    self._ask_later(peer, attempts)
                    attempts.give_up()
            await attempts.pause()

    async def close(self) -> None:
        """Close all channels; calls under way are cancelled."""
        for peer in self._peers:
            await peer.close()

    def _ask_later(self, peer: "_Peer", attempts: "_Attempts") -> None:
        """Let the next call begin elsewhere when this one's time went by here: whoever let it pass may be silent for good."""
        if attempts.has_taken_long() and peer in self._peers:
            self._peers = (*(other for other in self._peers if other is not peer), peer)

    def _prefer(self, peer: "_Peer") -> None:
        if self._peers[0] is not peer and peer in self._peers:
            self._peers = (peer, *(other for other in self._peers if other is not peer))


class LedgerClient(InsistentClient):
    """Calls the ledger of one shard, wherever its writer is."""

    def __init__(self, shard_id: int, addresses: Sequence[str], identity: Identity | None = None) -> None:
        self.shard_id = shard_id
        super().__init__(addresses, ledger_pb2_grpc.LedgerStub, WRITING_METHODS, self._does_not_answer, identity)

    def _does_not_answer(self) -> errors.Unavailable:
        shard = str(self.shard_id)
        return errors.Unavailable("SHARD_UNAVAILABLE", f"shard {shard} does not answer", {"shard": shard})


class _Peer(Line):
    """One address of a service."""

    def method(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._stub, name)
        return method

    async def is_connected(self, seconds: float) -> bool:
        """Tell whether a call can be sent, waiting a little for a connection under way.

        What is not sent leaves no doubt, so this is asked before each attempt.
        """
        return await self.channel.is_ready(min(seconds, CONNECT_SECONDS_MAX))


class _Attempts:
    """What is known after the attempts so far at one call."""

    def __init__(self, away: Callable[[], errors.Unavailable], deadline_seconds: float, *, writes: bool) -> None:
        self._away = away
        self._writes = writes
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._deadline = self._began + deadline_seconds
        self._long_seconds = deadline_seconds / 2
        self._pause_seconds = PAUSE_SECONDS_MIN
        self._in_doubt = False

    def remaining(self) -> float:
        """Tell the seconds left."""
        return self._deadline - self._loop.time()

    def begin(self) -> None:
        """Begin another attempt."""
        self._began = self._loop.time()

    def has_taken_long(self) -> bool:
        """Tell whether this attempt has used up half of the call's time: a server may end it a moment before that is up."""
        return self._loop.time() - self._began >= self._long_seconds

    def judge(self, failure: CallError) -> None:
        """Return when another attempt is in order; raise otherwise."""
        error = status.from_rpc_error(failure)
        # Sticky: a clean failure later does not clear an earlier doubt.
        self._in_doubt |= (
            self._writes
            and failure.was_taken
            and (not status.is_described(failure) or isinstance(error, errors.OutcomeUnknown))
        )
        if isinstance(error, errors.Unavailable | errors.OutcomeUnknown) and error.reason != "PEER_FAILED":
            return
        if self._in_doubt and isinstance(error, errors.Overloaded):
            return
        raise self._doubt() if self._in_doubt else error

    async def pause(self) -> None:
        """Wait a little before the next round; raise when the deadline leaves no room for one."""
        seconds = self._pause_seconds * _chance.uniform(0.5, 1.0)
        self._pause_seconds = min(self._pause_seconds * 2, PAUSE_SECONDS_MAX)
        if self.remaining() <= seconds:
            self.give_up()
        await asyncio.sleep(seconds)

    def give_up(self) -> NoReturn:
        """Raise what a deadline after these attempts means."""
        if self._in_doubt:
            raise self._doubt()
        raise self._away()

    def _doubt(self) -> BankError:
        return errors.OutcomeUnknown(
            status.DOUBT_REASON, "the answer got lost: it may have been carried out; send the same ids again"
        )
