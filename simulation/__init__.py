"""The whole bank in one process, one thread and one seed: time, chance, network and PostgreSQL are simulated.

The protocols are not: ledgers, gateways and callers run the code that ships, on the interfaces that it
already has: an event loop, gRPC channels, asyncpg connections. Start at `bank.py`, which puts a bank
together; `loop.py` is time, `network.py` and `database.py` are what may fail, `faults.py` makes it fail,
`callers.py` asks for transfers and remembers what it was told, `checker.py` proves the books after every
commit. `planted/` proves the checker: bugs, armed one at a time, that it has to find.

Never here: rules about money, other than those that check them.
"""
