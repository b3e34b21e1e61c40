"""Where a bank on this machine keeps its data unless it is told otherwise."""

import os
from pathlib import Path
from typing import Final

import platformdirs

ROOT_DATA: Final = Path("/var/lib/hivecore/bank")


def default_data_directory() -> Path:
    """Give the place of this user's bank; root's is the machine's."""
    if os.geteuid() == 0:
        return ROOT_DATA
    return Path(platformdirs.user_data_dir("hivecore", appauthor=False)) / "bank"
