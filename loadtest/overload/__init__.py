"""Overload: ten times more than a bank can do, and storms of other kinds, by an open loop.

`__main__.py` offers them and proves the books, `burden.py` weighs on the machine as a generator does, `report.py`
keeps the figures and draws the curve.
"""
