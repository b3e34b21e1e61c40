"""Where the time goes: a flame graph per process of the bank under load, and what PostgreSQL waits for.

How to read it is on the page `loadtest/PROFILING.md`.
"""
