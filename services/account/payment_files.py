"""Payment files: an initiating party's message id stands for one content in the whole bank, for ever.

Like a name, it has one place: the shard of the slot that it hashes to. Never here: what is in a file.
"""

from services.account import placing
from services.account.placing import Kind
from services.account.records import PaymentFile
from services.account.territory import Territory


class PaymentFiles:
    """Registers payment files."""

    def __init__(self, territory: Territory) -> None:
        self._territory = territory

    async def register(self, file: PaymentFile) -> tuple[bool, int]:
        """Claim a file's message id; tell whether it stands for this content, and since when.

        Idempotent; the time is in microseconds since 1970-01-01 UTC. Raises `Unavailable` when the
        shard's database does not answer.
        """
        key = "\0".join((str(file.customer_number), file.initiating_party, file.message_id)).encode()
        slot = placing.home_slot(Kind.PAYMENT_FILE, key)
        records = self._territory.records(self._territory.directory.shard_by_slot[slot])
        digest, create_time_us = await records.register_file(file, slot)
        return digest == file.digest, create_time_us
