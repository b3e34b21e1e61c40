"""What became of the rows of a file, or of anything else that comes in numbers.

Never here: performing (`importing.py`, `paying.py`), printing (`output.py`).
"""

from collections import Counter
from dataclasses import dataclass, field

from services.cli.bulk import Done, No, Undecided
from services.cli.csv_files import RefusedRow
from services.cli.views import View


@dataclass(slots=True)
class Tally:
    """What became of `row_count` rows: done, refused for good, or without a definite outcome."""

    what: str
    row_count: int
    done_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    undecided: list[RefusedRow] = field(default_factory=list)
    seconds: float = 0.0
    """How long the calls took, reading the file not included."""

    @property
    def is_complete(self) -> bool:
        """Tell whether every row was done."""
        return self.done_count == self.row_count

    def record(self, line: int, reference: str, answer: "Done[object] | No | Undecided") -> None:
        """Count one row's answer."""
        if isinstance(answer, Done):
            self.done_count += 1
            return
        place = self.refused if isinstance(answer, No) else self.undecided
        place.append(RefusedRow(line, reference, answer.reason, answer.message))

    def finish(self, seconds: float) -> None:
        """Close the count: every row has its place, and the lists are in the file's order."""
        assert self.done_count + len(self.refused) + len(self.undecided) == self.row_count
        self.refused.sort(key=lambda row: row.line)
        self.undecided.sort(key=lambda row: row.line)
        self.seconds = seconds

    def count_by_reason(self) -> dict[str, int]:
        """Count the rows that were not done, most frequent reason first."""
        return dict(Counter(row.reason for row in (*self.refused, *self.undecided)).most_common())

    def view(self) -> View:
        """Show it as plain values."""
        return {
            "rows": self.row_count,
            "done": self.done_count,
            "refused": len(self.refused),
            "undecided": len(self.undecided),
            "count_by_reason": self.count_by_reason(),
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.done_count / self.seconds) if self.seconds else 0,
            "refused_rows": [row_view(row) for row in self.refused],
            "undecided_rows": [row_view(row) for row in self.undecided],
        }


def row_view(row: RefusedRow) -> View:
    """Show a row that was not done."""
    return {"line": row.line, "reference": row.reference, "reason": row.reason, "message": row.message}
