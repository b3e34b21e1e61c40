"""ISO 20022 payment files: pain.001 in, pain.002 out.

Start at `orders.py`: what a file asks for, as values. `hostile.py` reads XML that nobody trusts,
`checking.py` tells what is wrong with a file by itself, `reasons.py` is the one table from our
reasons to ISO's, `report.py` writes the status report, `filing.py` puts them to work on a bank.
Never here: printing, other formats.
"""
