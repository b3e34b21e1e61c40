"""Open-loop load: calls come when they are due, whether the bank answers or not, as those of customers do.

A latency begins when the call was due, not when a busy generator came round to sending it, so that a
stall of the bank is seen by every call that fell into it. `arrivals.py` says when calls are due,
`callers.py` sends them, `record.py` keeps what was seen, `report.py` shows it.
"""
