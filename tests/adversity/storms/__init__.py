"""Storms over a whole bank: faults by seed while callers insist, then proof that nothing came of it.

`schedule.py` says which fault strikes when, from a seed and nothing else; `proxy.py`, `disks.py`, `clocks.py` and
`old_directory.py` are what can be broken from outside; `striking.py` breaks it; `__main__.py` is `make storm`.
What must be true afterwards is `crowd.py`'s. Never here: a fault inside the services' own code.
"""
