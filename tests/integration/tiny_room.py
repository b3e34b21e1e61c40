"""A whole service process around one servicer, for tests that stop processes.

`GetShardStatus` answers at once, except for shard 2: there it touches a file when it has begun and
answers once the process has been told to stop.
"""

import asyncio
import os
from pathlib import Path

from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from services.chassis import logs, process, settings
from services.chassis.server import Server


class Room(ledger_pb2_grpc.LedgerServicer):
    """Answers with its process id, and for shard 2 not before the server has begun to stop."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping

    async def GetShardStatus(self, request, context):
        if request.shard_id == 2:
            _say_that_it_has_begun()
            await self._stopping.wait()
        return ledger_pb2.ShardStatus(last_sequence=os.getpid())


def _say_that_it_has_begun() -> None:
    Path(os.environ["SLOW_CALL_FILE"]).touch()


class TellingServer(Server):
    """A server whose stopping can be waited for."""

    def __init__(self, options: settings.ServiceSettings) -> None:
        super().__init__(options)
        self.told = asyncio.Event()

    def stop(self) -> None:
        self.told.set()
        super().stop()


async def main() -> None:
    options = settings.read(settings.ServiceSettings, os.environ)
    logs.configure(options.log_level, "tiny", options.instance)
    server = TellingServer(options)
    ledger_pb2_grpc.add_LedgerServicer_to_server(Room(server.told), server.server)
    await server.serve(["hivecore.ledger.v1.Ledger"])


if __name__ == "__main__":
    process.run(main)
