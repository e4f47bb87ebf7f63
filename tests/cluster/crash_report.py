# SPDX-License-Identifier: Apache-2.0
"""The table of the crash test: step, moment, fault, and what became of the host. Only a run writes it."""

import collections
import os
import pathlib

from . import paths

FILE = pathlib.Path("docs/reliability.md")
BEGIN, END = "<!-- the table: begin -->\n", "<!-- the table: end -->\n"
NOT_RUN = "not run"
TABLE = {}  # what the run has to say at its end (conftest.py): report, steps, faults


class Report:
    def __init__(self):
        self.cells = {}  # (step, moment, fault): result

    def add(self, step, moment, fault, result):
        self.cells[step, moment, fault] = result

    def table(self, steps, faults) -> str:
        """In Markdown, with every cell that there could be."""
        lines = [f"| step | moment | {' | '.join(faults)} |", "|---|---|" + "---|" * len(faults)]
        for step in steps:
            for moment in ("before", "after"):
                cells = [self.cells.get((step, moment, fault), NOT_RUN) for fault in faults]
                lines.append(f"| `{step}` | {moment} | {' | '.join(cells)} |")
        counted = collections.Counter(result.split(":")[0] for result in self.cells.values())
        missing = 2 * len(steps) * len(faults) - len(self.cells)
        words = [f"{count} {result}" for result, count in sorted(counted.items())] + [f"{missing} {NOT_RUN}"]
        return "\n".join([*lines, "", f"{len(self.cells)} cells run: {', '.join(words)}."]) + "\n"

    def keep(self, table):
        """Into the documentation, between its markers."""
        path = paths.REPOSITORY / FILE
        before, _, rest = path.read_text().partition(BEGIN)
        path.write_text(before + BEGIN + table + END + rest.partition(END)[2])


def all_wanted() -> bool:
    """`./dev test --all`."""
    return os.environ.get("KUA_TEST_ALL") == "1"
