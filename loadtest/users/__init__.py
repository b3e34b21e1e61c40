"""Locust users of the public door: what `locust -f loadtest/locustfile.py` runs.

`kinds.py` has the kinds of users, `group.py` what all users of a kind in one process share, `options.py`
what may be chosen on the command line or in the web UI, `run.py` opens accounts before a run and proves
the books after it, also over several workers.
"""
