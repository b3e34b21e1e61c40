"""What a call may open: what each request means, decided without touching anything.

A request id is claimed for a number first, for ever; whoever comes again with the id continues with
that number. Then the record is written, in state OPENING, then its external reference is claimed,
then (accounts) it is put into the books, then it becomes ACTIVE. A reference is claimed after the
record so that no name can ever be held by nothing: whatever claimed it can be finished by the
sweeper, without its caller. What performs the steps is `lifecycle.py`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from hashlib import blake2b
from typing import Generic, NamedTuple, Protocol, TypeVar

from services.domain.products import NONE, Catalogue, Reference


class State(IntEnum):
    """Where a record is in its life. The numbers are stored and travel."""

    OPENING = 1
    ACTIVE = 2
    CLOSED = 3


class Refusal(StrEnum):
    """Why a place has no record, in order of precedence: the first that applies is given."""

    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    CUSTOMER_NOT_FOUND = "CUSTOMER_NOT_FOUND"
    PRODUCT_NOT_FOUND = "PRODUCT_NOT_FOUND"
    PRODUCT_CURRENCY_MISMATCH = "PRODUCT_CURRENCY_MISMATCH"
    EXTERNAL_REFERENCE_TAKEN = "EXTERNAL_REFERENCE_TAKEN"
    BANK_FULL = "BANK_FULL"


MESSAGES = {
    Refusal.REQUEST_ID_REUSED: "this request id opened something else before",
    Refusal.CUSTOMER_NOT_FOUND: "there is no such customer",
    Refusal.PRODUCT_NOT_FOUND: "no such product is published",
    Refusal.PRODUCT_CURRENCY_MISMATCH: "the product is for accounts in another currency",
    Refusal.EXTERNAL_REFERENCE_TAKEN: "this external reference already stands for another one",
    Refusal.BANK_FULL: "no shard has room for another customer",
}
assert MESSAGES.keys() == set(Refusal)


class Claim(NamedTuple):
    """What a claimed request id stands for."""

    number: int
    fingerprint: int


class Opener(NamedTuple):
    """Who asked for an opening, through which channel; both empty when nobody says."""

    channel: str
    subject: str


NOBODY = Opener("", "")


class Customer(NamedTuple):
    """A customer's record."""

    customer_number: int
    external_reference: str
    display_name: str
    state: int
    create_time_us: int
    request_id: bytes = b""
    """Under which it was opened; empty for what was opened before that was kept."""
    opener: Opener = NOBODY

    @property
    def number(self) -> int:
        """The number that its names are claimed for."""
        return self.customer_number


class Account(NamedTuple):
    """An account's record; `currency` is ISO 4217 numeric."""

    account_number: int
    customer_number: int
    currency: int
    external_reference: str
    state: int
    create_time_us: int
    product: Reference = NONE
    """The version that it keeps until it is moved."""
    request_id: bytes = b""
    """Under which it was opened; empty for what was opened before that was kept."""
    opener: Opener = NOBODY

    @property
    def number(self) -> int:
        """The number that its names are claimed for."""
        return self.account_number


class CustomerWanted(NamedTuple):
    """A customer to open; `request_id` is 16 bytes, texts may be empty."""

    request_id: bytes
    external_reference: str
    display_name: str
    opener: Opener = NOBODY

    @property
    def fingerprint(self) -> int:
        """The body as a number, without the id and who asks."""
        return _fingerprint(self.external_reference, self.display_name)


class AccountWanted(NamedTuple):
    """An account to open; `request_id` is 16 bytes, `currency` is ISO 4217 numeric."""

    request_id: bytes
    customer_number: int
    currency: int
    external_reference: str
    product_code: str = ""
    """As asked for; empty for the default."""
    product: Reference | None = NONE
    """What that means now; None when there is no such product."""
    opener: Opener = NOBODY

    @property
    def fingerprint(self) -> int:
        """The body as a number, without the id, who asks and what the product means now."""
        return _fingerprint(
            self.external_reference, f"{self.customer_number:014d}{self.currency:03d}{self.product_code}"
        )

    def with_product(self, catalogue: Catalogue) -> "AccountWanted":
        """Find the version that an account gets which is opened now."""
        code = self.product_code or catalogue.defaults.get(self.currency, "")
        newest = catalogue.newest(code) if code else None
        return self._replace(product=newest.reference if newest is not None else None if code else NONE)


def _fingerprint(external_reference: str, rest: str) -> int:
    body = f"{len(external_reference)}:{external_reference}{rest}".encode()
    return int.from_bytes(blake2b(body, digest_size=8).digest(), signed=True)


class Wanted(Protocol):
    """What customers and accounts to open have in common."""

    @property
    def request_id(self) -> bytes:
        """16 bytes, minted by the caller once per intention."""

    @property
    def external_reference(self) -> str:
        """A name of the caller's own, unique in the bank; may be empty."""

    @property
    def opener(self) -> Opener:
        """Who asks."""

    @property
    def fingerprint(self) -> int:
        """The body as a number, without the id."""


W = TypeVar("W", bound=Wanted)
R = TypeVar("R")


@dataclass(slots=True)
class Sheet(Generic[W]):
    """What has become so far of each place of one call.

    Every place ends with a number or a refusal. A place that repeats an earlier one's request shares
    its end and takes no part in between.
    """

    wants: Sequence[W]
    numbers: dict[int, int] = field(init=False, default_factory=dict)
    """Place -> number claimed for it."""
    refusals: dict[int, Refusal] = field(init=False, default_factory=dict)
    """Place -> why it has none."""
    repeats: dict[int, int] = field(init=False, default_factory=dict)
    """Place -> earlier place with the same request."""
    fingerprints: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.fingerprints = [want.fingerprint for want in self.wants]
        first_place: dict[tuple[bytes, int], int] = {}
        for place, want in enumerate(self.wants):
            first = first_place.setdefault((want.request_id, self.fingerprints[place]), place)
            if first != place:
                self.repeats[place] = first

    def open_places(self) -> list[int]:
        """List the places that are still to get a record."""
        return [p for p in range(len(self.wants)) if p not in self.refusals and p not in self.repeats]

    def places_without_number(self) -> list[int]:
        """List the places whose request id stands for nothing yet."""
        return [place for place in self.open_places() if place not in self.numbers]

    def read_requests(self, claims: Mapping[bytes, Claim]) -> None:
        """Take over what request ids stand for; it wins over any number given out here.

        An id that stands for nothing yet belongs to its first place in this call.
        """
        first_place: dict[bytes, int] = {}
        for place in self.open_places():
            request_id = self.wants[place].request_id
            claim = claims.get(request_id)
            if claim is not None and claim.fingerprint == self.fingerprints[place]:
                self.numbers[place] = claim.number
            elif claim is not None or first_place.setdefault(request_id, place) != place:
                self.numbers.pop(place, None)
                self.refusals[place] = Refusal.REQUEST_ID_REUSED

    def refuse_unless(self, is_known: Callable[[W], bool], refusal: Refusal) -> None:
        """Refuse the places without a number whose want is not known."""
        for place in self.places_without_number():
            if not is_known(self.wants[place]):
                self.refusals[place] = refusal

    def read_references(self, owners: Mapping[str, int]) -> None:
        """Refuse the places whose external reference is another's, in the bank or earlier in this call."""
        wanted_by: dict[str, int] = {}
        for place in self.open_places():
            reference = self.wants[place].external_reference
            if not reference:
                continue
            owner = owners.get(reference)
            is_mine = (
                wanted_by.setdefault(reference, place) == place if owner is None else owner == self.numbers.get(place)
            )
            if not is_mine:
                self.refusals[place] = Refusal.EXTERNAL_REFERENCE_TAKEN

    def give(self, places: Sequence[int], numbers: Sequence[int], otherwise: Refusal = Refusal.BANK_FULL) -> None:
        """Give numbers to `places` in order; places beyond the last number are refused."""
        self.numbers.update(zip(places, numbers, strict=False))
        self.refusals.update(dict.fromkeys(places[len(numbers) :], otherwise))

    def refuse_numbers(self, losers: Collection[int]) -> None:
        """Refuse the places whose number lost its external reference to another."""
        for place in [place for place in self.open_places() if self.numbers[place] in losers]:
            self.refusals[place] = Refusal.EXTERNAL_REFERENCE_TAKEN

    def results(self, records: Mapping[int, R]) -> list[R | Refusal]:
        """Return each place's record, by its number, or refusal."""
        return [self._result(self.repeats.get(place, place), records) for place in range(len(self.wants))]

    def _result(self, place: int, records: Mapping[int, R]) -> R | Refusal:
        refusal = self.refusals.get(place)
        return records[self.numbers[place]] if refusal is None else refusal


def references(wants: Iterable[Wanted]) -> list[str]:
    """List the distinct external references asked for, in order."""
    return list(dict.fromkeys(want.external_reference for want in wants if want.external_reference))
