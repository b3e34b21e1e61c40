"""The `hivecore` command: opening a bank on this machine, and using any bank through its gateway.

Start at `__main__.py`; `commands/` has one module per kind of command. `csv_files.py` and `amounts.py` are
pure; `session.py` is the only door to the gateway; `importing.py`, `paying.py` and
`demonstration.py` with its `episodes.py` are longer pieces of work over it. `up.py` and `bank.py` start
processes.

Never here: rules about money, SQL. Grpc and rich are imported by the commands that need them, so
that the command itself starts quickly.
"""
