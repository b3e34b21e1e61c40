"""What every service stands on: settings, PostgreSQL, migrations, gRPC both ways, metrics, logs.

A service's `__main__` calls `process.run`, reads its settings, configures `logs`, and gives its
servicers to `server.Server`. `status.py` is the one table from error to gRPC status and
`interceptors.py` the one place that applies it, so servicers only raise. `clients.py` and
`directory_cache.py` are how rooms reach each other.

Never here: business. Nothing in this room knows what a transfer means.
"""
