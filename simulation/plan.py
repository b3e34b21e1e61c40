"""What one seed simulates: which faults and operations there are, how often, on how large a bank.

Swarm testing: most seeds lack most kinds of fault, so that those they have meet each other in every mixture and
none of them hides another. Never here: doing any of it.
"""

from dataclasses import dataclass, field
from random import Random

OPERATIONS = ("transfer", "crossing", "legs", "fee", "hold", "increase", "capture", "release", "reverse", "limits",
              "cap", "state", "reuse", "batch", "open",
              "span")  # fmt: skip
PRODUCT_OPERATIONS = ("move",)
"""Those of a bank that has products."""
SPAN_OPERATIONS = ("undo",)
"""Those of a bank in which transfers have legs on several shards."""
OPENING_OPERATIONS = ("customer", "account", "customers", "accounts")
"""Those of a bank whose callers open customers and accounts, one by one or several by one call."""

FAULTS = ("kill ledger", "pause ledger", "stop ledger", "kill gateway", "kill caller", "crash postgres",
          "pause postgres", "partition", "half partition", "clock jump", "disk full", "lossy", "resets", "doubles",
          "slow network", "cuts", "slow disk", "account service away", "move slots")  # fmt: skip

CONTROL_FAULTS = ("crash control", "pause control", "cut control", "slow control disk")
"""Those of the control database, which strike the directory, the catalogue and what needs them."""

OPENING_FAULTS = ("crash midway", "pause account service", "second account service away")
"""Those of the account services of a bank whose callers open customers and accounts."""


@dataclass
class Plan:
    """One simulation."""

    seed: int
    shards: int = 2
    standbys: int = 1
    gateways: int = 2
    callers: int = 4
    intentions: int = 150
    weights: dict[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    fault_seconds: float = 1.0
    """Mean time between two faults."""
    start_us: int = 0
    """When it begins, after midnight."""
    lease_seconds: float = 3.0
    ids_max: int = 100_000
    accounts_max: int = 500_000
    small_batch_max: int = 64
    """Transfers of a batch that is written with one statement."""
    call_seconds: tuple[float, float] = (0.5, 5.0)
    think_seconds: float = 0.2
    is_tight: bool = False
    """Whether accounts hold little, so that most transfers meet a floor or a limit."""
    has_products: bool = False
    """Whether accounts have products, which set limits and fees."""
    seal_seconds: float = 0.0
    """How often the journal is sealed; 0 for never."""
    seal_block_max: int = 4_096
    """Sequences of one block."""
    writers_stay_silent: bool = False
    """Whether the writers that have standbys stand still for good, and PostgreSQL's clocks jump, when all else heals."""
    customer_quota: int = 100
    """How many customers a shard takes from callers."""

    @property
    def has_openings(self) -> bool:
        """Whether callers open customers and accounts; there are two account services then."""
        return not self.weights.keys().isdisjoint(OPENING_OPERATIONS)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.shards} shards, {self.standbys} standbys, {self.gateways} gateways, "
            f"{self.intentions} intentions of {', '.join(self.weights)}{', with products' if self.has_products else ''}"
            f"{f', sealed every {self.seal_seconds} s' if self.seal_seconds else ''}; "
            f"faults: {', '.join(self.faults) or 'none'}{', silent writers' if self.writers_stay_silent else ''}"
        )


def draw(seed: int) -> Plan:
    """Draw a plan."""
    chance = Random(f"plan {seed}")
    weights = {name: chance.uniform(0.2, 2.0) for name in OPERATIONS if chance.random() < 0.6}
    if not weights.keys() & {"transfer", "crossing"}:
        weights["crossing"] = 1.0
    if weights.keys() & {"increase", "capture", "release"}:
        weights["hold"] = max(weights.get("hold", 0), 1.5)
    if "span" in weights:
        weights["span"] += 1.0  # Most of them are refused: so many accounts have to agree.
    faults = tuple(name for name in FAULTS if chance.random() < 0.3)
    if chance.random() < 0.05:
        faults = ()
    # What came later is drawn apart, so that it left all other plans as they were.
    later = Random(f"later {seed}")
    has_products = later.random() < 0.4
    if has_products:
        weights |= {name: later.uniform(0.2, 1.0) for name in PRODUCT_OPERATIONS if later.random() < 0.7}
    shards = chance.choice((1, 2, 2, 3))
    seal_seconds, seal_block_max = later.choice((0.0, 0.0, 0.1, 1.0)), later.choice((7, 4_096))
    if shards > 1 and weights.keys() & {"span", "fee"}:
        weights |= {name: later.uniform(0.5, 1.5) for name in SPAN_OPERATIONS if later.random() < 0.7}
    if faults:
        faults += tuple(name for name in CONTROL_FAULTS if later.random() < 0.3)
    writers_stay_silent = later.random() < 0.3
    customer_quota = 100
    if later.random() < 0.4:
        weights |= {"customer": later.uniform(0.3, 1.0), "account": later.uniform(0.5, 2.0)}
        customer_quota = later.choice((3, 100, 100, 100))
        if faults:
            faults += tuple(name for name in OPENING_FAULTS if later.random() < 0.5)
        several = Random(f"several {seed}")
        weights |= {name: several.uniform(0.2, 0.8) for name in ("customers", "accounts") if several.random() < 0.6}
    return Plan(
        seed,
        shards=shards,
        standbys=chance.choice((0, 1, 1)),
        gateways=chance.choice((1, 2)),
        callers=chance.randint(2, 6),
        intentions=chance.randint(80, 300),
        weights=weights,
        faults=faults,
        fault_seconds=chance.choice((0.05, 0.2, 0.5, 1.0)),
        start_us=chance.choice((0, 12 * 3_600_000_000, 86_395_000_000)),
        lease_seconds=chance.choice((0.5, 1.0, 3.0)),
        ids_max=chance.choice((4, 100, 100_000)),
        accounts_max=chance.choice((8, 500_000)),
        small_batch_max=chance.choice((0, 3, 64)),
        call_seconds=chance.choice(((0.05, 0.5), (0.5, 5.0), (2.0, 15.0))),
        think_seconds=chance.choice((0.0, 0.1, 0.3, 1.0)),
        is_tight=chance.random() < 0.5,
        has_products=has_products,
        seal_seconds=seal_seconds,
        seal_block_max=seal_block_max,
        writers_stay_silent=writers_stay_silent,
        customer_quota=customer_quota,
    )
