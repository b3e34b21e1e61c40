"""How much memory processes hold, read from /proc where there is one.

Shared pages count in parts (PSS), so that the sum over processes is true: PostgreSQL's buffers are not
counted once per connection.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from loadtest.processor import PROC, descendants

KIB: Final = 1024


def bytes_by_part(pids_by_part: Mapping[str, Iterable[int]]) -> dict[str, int]:
    """Add up the memory of each part's processes and all their descendants; empty where nothing tells."""
    found = {part: [_bytes(pid) for pid in descendants(pids)] for part, pids in pids_by_part.items()}
    return {part: sum(each) for part, each in found.items() if any(each)}


def _bytes(pid: int) -> int:
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (PROC / str(pid) / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(key):
                return int(line.split()[1]) * KIB
    return 0
