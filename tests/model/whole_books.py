"""Books of a shard in memory with everything that the rules know: what the pure rules are held against the model on.

Never here: rules, a model.
"""

from memory_books import MemoryBooks
from memory_special import SpecialBooks

from services.ledger.draft import Draft


class WholeBooks(SpecialBooks):
    """What is committed of one shard: all of a batch, promises and reversals and changes alike."""

    def commit(self, draft: Draft) -> None:
        """Take a batch in."""
        MemoryBooks.commit(self, draft)
        self.changes.update(draft.changed)
        self.relations += draft.relations
        for number, sequence, peer_id in draft.crossings_out:
            self.crossing_of[sequence] = peer_id, number
        self.take_legs(draft)
