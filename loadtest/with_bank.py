"""Runs a program with a bank of its own: opened before, closed and removed after.

    python -m loadtest.with_bank [--shards 2] PROGRAM ARGUMENT ... @DATA ...

`@DATA` among the arguments stands for the bank's data directory. The exit status is the program's.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loadtest import bank

DATA: Final = "@DATA"


def main(arguments: Sequence[str]) -> int:
    """Open, run, close; return the program's exit status, or 1 when there is no bank."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.with_bank", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("program", nargs=argparse.REMAINDER, help=f"with its arguments; {DATA} is the data directory")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="hivecore-load-") as place:
        # Root's PostgreSQL runs as another account, which must be able to pass through.
        Path(place).chmod(0o755)
        try:
            with bank.opened(Path(place) / "bank", shards=asked.shards) as open_bank:
                command = [argument.replace(DATA, str(open_bank.data)) for argument in asked.program]
                return subprocess.run(command, check=False).returncode  # noqa: S603
        except bank.BankFailed as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
