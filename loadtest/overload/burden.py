"""Uses as much processor time as a generator did: what a bank can do beside one that works as hard.

Never here: how much that is (`loadtest/processor.py`).
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final

STEP_SECONDS: Final = 0.002
"""Of work at a time, and of rest when enough was done."""


@contextmanager
def carried(cores: float) -> Iterator[None]:
    """Keep so many processors busy for the length of the context, as far as the others let it."""
    processes = math.ceil(cores)
    context = get_context("spawn")
    burners = [context.Process(target=_burn, args=(cores / processes,), daemon=True) for _ in range(processes)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


def _burn(share: float) -> None:
    began = time.monotonic()
    while True:
        if time.process_time() < share * (time.monotonic() - began):
            enough = time.process_time() + STEP_SECONDS
            while time.process_time() < enough:
                pass
        else:
            time.sleep(STEP_SECONDS)
