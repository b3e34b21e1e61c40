"""What runs side by side when a run has two processes (`pytest -n 2`, as `make test` does).

Loud tests, which let faults and load of their own loose on whole banks, all go to one process, one after the other: two
storms at a time would only take the processors from each other. Beside them the other process begins with the files that
use a bank quietly, one after the other too, so that they find one bank open. What needs no bank follows file by file;
whoever is through first takes what is left. Never here: which tests there are.
"""

from typing import Any

from xdist.scheduler import LoadScopeScheduling

LOUD = (
    "tests/adversity/",
    "tests/deploy/",
    "tests/acceptance/test_bench",
    "tests/acceptance/test_load_",
    "tests/acceptance/test_overload",
)
QUIET = "tests/acceptance/"


class Halves(LoadScopeScheduling):
    """Gives out the loud tests as one piece, the quiet banks as another, and everything else by file, in this order."""

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # It would put files with many small tests before the banks.

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith(LOUD):
            return "loud"
        return "quiet banks" if file.startswith(QUIET) else file
