"""Overload: ten times more than a bank can do, and storms of other kinds, by an open loop.

`__main__.py` says what is offered when and proves the books, `offering.py` offers it, `sending.py` sends each call, `inside.py` reads what the gateways saw of it,
`burden.py` weighs on the machine as a generator does, `report.py` keeps the figures, judges the goals and draws the curve.
"""
