"""What a row cost: read at the edges of its measured seconds, divided by what was transferred between them.

Never here: what is measured (`stage.py`), and what a reading is made of (`processor.py`, `memory.py`, `postgres.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtest import memory
from loadtest.bank import OpenBank
from loadtest.postgres import Server
from loadtest.processor import Reading, Usage

PARTS = ("gateway", "ledger", "account", "postgres", "generator")


@dataclass(frozen=True, slots=True)
class Edge:
    """All counters at one moment."""

    processor: Reading
    wal_bytes: int
    table_bytes: int
    memory_bytes: Mapping[str, int]
    """By part; of the bank's."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one transfer cost, and what was held meanwhile."""

    processor_us: Mapping[str, float] = field(default_factory=dict)
    """Processor time per transfer by part."""
    wal_bytes: float = 0.0
    """Log per transfer."""
    table_bytes: float = 0.0
    """Growth of tables and indexes per transfer in the measured seconds; 0 for pgbench. See `Growth`."""
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    """Held by each part at the end."""
    others_share: float = 0.0
    """Share of the machine's processors that was used by neither the bank nor its load, 0 to 1."""

    @classmethod
    def between(cls, begin: Edge, end: Edge, transfers: float) -> "Costs":
        """Divide by the transfers between two edges."""
        usage = Usage.between(begin.processor, end.processor, transfers)
        return cls(
            usage.us_per_transfer,
            (end.wal_bytes - begin.wal_bytes) / transfers if transfers else 0.0,
            (end.table_bytes - begin.table_bytes) / transfers if transfers else 0.0,
            end.memory_bytes,
            usage.others_share,
        )


@dataclass(slots=True)
class Growth:
    """What the books grew by in many rows together, warm-ups included.

    A row alone tells little: keys that come in at random fill pages that then split at about the same time, so that
    the same transfers take 330 bytes in one row and 600 in another. Over several such waves they take what they take.
    """

    transfers: int = 0
    """Posted, of two accounts of one shard each, drawn evenly."""
    table_bytes: int = 0
    """Of all tables and indexes of the books."""

    def add(self, transfers: int, table_bytes: int) -> None:
        """Count in one row."""
        self.transfers += transfers
        self.table_bytes += table_bytes

    @property
    def bytes_per_transfer(self) -> float:
        """Divide, as far as there were any."""
        return self.table_bytes / self.transfers if self.transfers else 0.0


def edge(open_bank: OpenBank, server: Server) -> Edge:
    """Read everything now; this process and its children are the generator. Raises PostgresFailed."""
    pids = open_bank.pids_by_part
    return Edge(
        Reading.now(pids, "generator"),
        server.wal_bytes(),
        server.table_bytes(),
        memory.bytes_by_part(pids),
    )
