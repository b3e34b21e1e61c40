"""The benchmark: the bank beside pgbench on one machine, in one run, with figures only of books that proved sound.

Start at `scenarios.py`: what is measured, in which order. `stage.py` measures it, `costs.py` tells what it
cost, `goals.py` what was to be reached; `report.py` and `chart.py` show it.
"""
