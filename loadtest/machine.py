"""What a figure must be read with: the machine and the Python it was measured on."""

import os
import platform
from importlib.metadata import version
from typing import Any, Final

from loadtest import processor

PACKAGES: Final = ("hivecore", "grpcio", "protobuf", "asyncpg", "uvloop")


def describe() -> dict[str, Any]:
    """Describe the machine and the Python."""
    return {
        "cores": os.cpu_count() or 0,
        "processor": processor.model() or platform.machine(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }
