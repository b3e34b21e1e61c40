"""The supervisor with real child processes: small programs that write down what happens to them."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from services.chassis import children
from services.chassis.children import LaunchError
from services.cli import supervisor
from services.cli.supervisor import ProgramPart, Supervisor
from services.cli.topology import Program

PATIENCE_SECONDS = 20

WELL_BEHAVED = textwrap.dedent("""
    import os, signal, sys, threading
    from pathlib import Path

    name, journal, endpoint = sys.argv[1:]

    def write(word):
        with open(journal, "a") as file:
            file.write(f"{word} {name}\\n")

    def stop(*_):
        write("stop")
        os._exit(0)

    def stop_with_parent():
        sys.stdin.read()
        stop()

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=stop_with_parent, daemon=True).start()
    write("start")
    Path(endpoint).write_text("listening")
    while True:
        signal.pause()
""")

STUBBORN = textwrap.dedent("""
    import signal, sys
    from pathlib import Path

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(sys.argv[3]).write_text("listening")
    while True:
        signal.pause()
""")

HOPELESS = "print('I cannot start', flush=True); raise SystemExit(3)"


class Stage:
    """A temporary directory with programs in it, and their journal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal_file = directory / "journal"
        self.journal_file.touch()
        self.said: list[str] = []

    def part(self, name: str, code: str = WELL_BEHAVED) -> ProgramPart:
        endpoint_file = self.directory / f"{name}.json"
        return ProgramPart(
            Program(
                name=name,
                arguments=("-c", code, name, str(self.journal_file), str(endpoint_file)),
                environment={"PATH": os.defpath},
                endpoint_file=endpoint_file,
                log=self.directory / f"{name}.log",
            )
        )

    def supervisor(self, *stages: dict[str, ProgramPart]) -> Supervisor:
        return Supervisor(stages, say=self.said.append)

    def journal(self) -> list[str]:
        return self.journal_file.read_text().splitlines()

    async def listening(self, *names: str) -> None:
        assert await children.until(
            lambda: all((self.directory / f"{name}.json").exists() for name in names), PATIENCE_SECONDS
        )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_parts_start_and_stop_and_the_last_stage_stops_first(stage: Stage) -> None:
    parts = {name: stage.part(name) for name in ("first", "second", "third")}
    running = stage.supervisor(*({name: part} for name, part in parts.items()))
    await running.start()
    await stage.listening(*parts)
    assert all(running.pids.values())
    await running.stop()
    assert stage.journal()[3:] == ["stop third", "stop second", "stop first"]
    assert not any(running.pids.values())
    assert running.deaths == dict.fromkeys(parts, 0)


async def test_a_killed_part_is_started_again_with_what_it_was_told(stage: Stage) -> None:
    running = stage.supervisor({"one": stage.part("one"), "other": stage.part("other")})
    await running.start()
    try:
        await stage.listening("one", "other")
        other = running.pids["other"]
        killed = running.kill("one")
        fresh = await asyncio.wait_for(running.wait_replaced("one", killed), PATIENCE_SECONDS)
        await stage.listening("one")
        assert fresh == running.pids["one"] != killed
        assert running.pids["other"] == other
        assert stage.journal().count("start one") == 2
        assert running.deaths == {"one": 1, "other": 0}
        assert stage.said[0] == "one ended (SIGKILL); starting it again in 0.1 s"
    finally:
        await running.stop()


async def test_a_part_that_cannot_start_is_tried_again_with_growing_pauses(stage: Stage) -> None:
    running = stage.supervisor({"hopeless": stage.part("hopeless", HOPELESS)})
    await running.start()
    try:
        assert await children.until(lambda: running.deaths["hopeless"] >= 3, PATIENCE_SECONDS)
    finally:
        await running.stop()
    ends = [sentence for sentence in stage.said if "ended" in sentence]
    assert ends[:3] == [f"hopeless ended (status 3); starting it again in {pause} s" for pause in ("0.1", "0.2", "0.4")]
    assert (stage.directory / "hopeless.log").read_text().startswith("I cannot start\n" * 3)


async def test_a_part_that_does_not_heed_is_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS_MAX", 0.2)
    part = stage.part("stubborn", STUBBORN)
    running = stage.supervisor({"stubborn": part})
    await running.start()
    await stage.listening("stubborn")
    await asyncio.wait_for(running.stop(), PATIENCE_SECONDS)
    assert part.pid is None


class Unstartable(ProgramPart):
    """A part whose start is refused."""

    async def start(self) -> None:
        raise LaunchError("not today")


async def test_when_one_part_cannot_be_launched_the_others_are_stopped(stage: Stage) -> None:
    first = stage.part("first")
    running = stage.supervisor({"first": first}, {"second": Unstartable(stage.part("second").program)})
    with pytest.raises(LaunchError, match="not today"):
        await running.start()
    assert first.pid is None


async def test_stopping_while_a_part_waits_to_be_started_again_leaves_it_down(stage: Stage) -> None:
    running = stage.supervisor({"one": stage.part("one")})
    await running.start()
    await stage.listening("one")
    running.kill("one")
    assert await children.until(lambda: running.deaths["one"] == 1, PATIENCE_SECONDS)
    await running.stop()
    assert running.pids == {"one": None}
    assert stage.journal() == ["start one"]


async def test_a_part_that_is_down_cannot_be_killed(stage: Stage) -> None:
    with pytest.raises(LookupError):
        stage.supervisor({"one": stage.part("one")}).kill("one")


SUPERVISING = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_supervisor import Stage

    async def main():
        stage = Stage(Path(sys.argv[2]))
        running = stage.supervisor({"one": stage.part("one"), "other": stage.part("other")})
        await running.start()
        await stage.listening("one", "other")
        print(*running.pids.values(), flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
""")


def start_owner(stage: Stage) -> subprocess.Popen[str]:
    """Start another process that supervises two parts and names their processes."""
    command = [sys.executable, "-c", SUPERVISING, str(Path(__file__).parent), str(stage.directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_parts_stop_when_their_supervisor_is_killed(stage: Stage) -> None:
    owner = start_owner(stage)
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert sorted(children.working_in(stage.directory)) == sorted(pids)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert await children.until(lambda: not children.working_in(stage.directory), PATIENCE_SECONDS)
    assert sorted(stage.journal()[2:]) == ["stop one", "stop other"]


async def test_the_terminal_does_not_reach_parts(stage: Stage) -> None:
    part = stage.part("one")
    running = stage.supervisor({"one": part})
    await running.start()
    await stage.listening("one")
    assert os.getsid(part.pid) == part.pid
    await running.stop()
