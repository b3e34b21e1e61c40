"""Couriers take up what was sent, and nothing that a later writer of the same shard has sent meanwhile."""

from services.ledger.crossings import Courier, Couriers
from services.ledger.traffic import Crossing, Watermarks


def _nobody(_peer_id: int) -> None:
    raise AssertionError("nobody is called while couriers only take crossings up")


async def test_a_writer_that_was_overtaken_takes_up_no_more_than_its_own_marks_say() -> None:
    sent = [Crossing(number, number.to_bytes(16), 1, 2, 5, 203, "", 20_000) for number in range(1, 6)]
    started: list[Courier] = []
    couriers = Couriers(1, {2: Watermarks(sent_through=3, acknowledged_through=1)}, _nobody, started.append)  # type: ignore[arg-type]

    async def load(peer_id: int, after: int, limit: int) -> list[Crossing]:
        assert peer_id == 2
        return [crossing for crossing in sent if crossing.number > after][:limit]

    await couriers.recover(load)
    assert [courier.pending_count for courier in started] == [2]
