"""Overload: ten times more than a bank can do, and storms of other kinds, by an open loop.

`__main__.py` offers them and proves the books, `report.py` keeps the figures and draws the curve.
"""
