"""The double-entry books of shards: one writer each, append-only, permanent outcomes.

Start at `posting.py`: what may be written, decided without touching anything, on the values of
`books.py`. `batching.py` decides
how many decisions share a transaction and `store.py` commits it; `crossings.py` carries money to
other shards; `shard.py` is who writes when. `service.py` is only the door, `audit.py` the proof.

Never here: customers, products, tokens, or another shard's tables.
"""
