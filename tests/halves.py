"""What runs side by side when a run has two processes (`pytest -n 2`, as `make test` does).

Tests that open a whole bank, each with processes, storms and load of its own, all go to one process, one after the
other: two banks at a time would only take the processors from each other. The rest goes to the other process, file
by file, and whoever is through first takes what is left. Never here: which tests there are.
"""

from xdist.scheduler import LoadScopeScheduling

WHOLE_BANKS = ("tests/acceptance/", "tests/adversity/", "tests/deploy/")


class Halves(LoadScopeScheduling):
    """Gives out the whole banks as one piece, which comes first, and everything else by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "whole banks" if file.startswith(WHOLE_BANKS) else file
