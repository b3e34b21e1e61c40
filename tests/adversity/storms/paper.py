"""The callers' journal on disk: a line before each attempt and one after each answer, read back at the end."""

import json
from collections.abc import Sequence
from pathlib import Path

from crowd import Journal, Wish
from door import Answer


class PaperJournal(Journal):
    """A journal that is also written down, line by line, as it happens."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._path = file
        self._file = file.open("w", encoding="utf-8", buffering=1)

    def asking(self, wishes: Sequence[Wish]) -> None:
        """Write down what is about to be sent."""
        for wish in wishes:
            self._write("ask", wish.transfer.transfer_id, wish.legs)
        super().asking(wishes)

    def answered(self, wish: Wish, answer: Answer) -> None:
        """Write down what was answered."""
        self._write("told", wish.transfer.transfer_id, answer)
        super().answered(wish, answer)

    def expect_same_on_paper(self) -> int:
        """Read the file back and hold it against what is remembered; return how many lines it has."""
        asked: dict[str, object] = {}
        told: dict[str, Answer] = {}
        count = 0
        for line in self._path.read_text(encoding="utf-8").splitlines():
            what, transfer_id, rest = json.loads(line)
            count += 1
            if what == "ask":
                assert asked.setdefault(transfer_id, rest) == rest, f"{transfer_id} was asked for with two bodies"
            elif (answer := Answer(*rest)).outcome:
                assert transfer_id in asked, f"{transfer_id} was answered and never asked for"
                before = told.get(transfer_id, answer)
                assert before == answer or not before.is_definite, f"{transfer_id} was told {before} and {answer}"
                told[transfer_id] = answer
        assert asked.keys() == self.wishes.keys()
        assert told == {each: wish.told for each, wish in self.wishes.items()}
        return count

    def doubted(self) -> int:
        """Count the transfers that some attempt left without an outcome."""
        return sum(bool(wish.problems) for wish in self.wishes.values())

    def _write(self, what: str, transfer_id: str, rest: object) -> None:
        self._file.write(json.dumps([what, transfer_id, rest], separators=(",", ":")) + "\n")
