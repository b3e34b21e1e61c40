"""The bank's only public door: authenticate, validate, route, hand on, answer.

Start at `service.py`: one method for each call of the public API, and which room does its work.
`authentication.py` and `scopes.py` say who may; `fields.py`, `validation.py`, `commands.py`,
`columns.py` and `routing.py` are pure and turn messages into columns and commands for shards;
`coalescing.py` lets concurrent calls share one call to a ledger; `transfers.py`, `holding.py`,
`reversing.py`, `managing.py`, `customers.py` and `reading.py` join these rooms; `wire.py` speaks with the other services and words the answers. `__main__.py` puts all of it together.

Never here: a balance, a rule about money, a table, anything that must survive a restart.
"""
