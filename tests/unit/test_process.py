"""How a process looks after itself."""

import gc

from services.chassis import process


def test_cycles_are_looked_for_as_often_as_asked() -> None:
    before = gc.get_threshold()
    try:
        process.look_for_cycles_every(12_345)
        assert gc.get_threshold() == (12_345, *process.OLDER_THRESHOLDS)
    finally:
        gc.set_threshold(*before)
