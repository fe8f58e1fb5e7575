"""Tables, and where they go in the page."""

import re
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


@dataclass
class Section:
    """What one part of the benchmarks found: rows of text under a heading row, and notes below."""

    heading: list
    rows: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def markdown(self):
        # Everything but the first column is figures.
        lines = [self.heading, ["---", *["--:"] * (len(self.heading) - 1)], *self.rows]
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([text, *self.notes])


def write(sections, page=PAGE):
    """Puts the text of each section between its markers, and leaves the rest as it is."""
    text = page.read_text()
    for name, content in sections.items():
        begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(text):
            raise RuntimeError(f"{page.name} has no {begin}")
        text = pattern.sub(lambda _, block=f"{begin}\n\n{content}\n\n{end}": block, text)
    page.write_text(text)


def count(value):
    """A rate: 3 significant figures from 1,000 on."""
    return f"{value:,.0f}" if value < 10_000 else f"{round(value, -2):,.0f}"


def microseconds(value):
    return f"{value:,.1f}" if value < 20 else f"{value:,.0f}"


def milliseconds(value_us):
    value = value_us / 1000
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def gigabytes(value):
    return f"{value / 1e9:.2f}"


def goal(value, bound, at_least=True):
    """The goal, and whether the value reaches it."""
    met = value >= bound if at_least else value <= bound
    return f"{'≥' if at_least else '≤'} {bound:g} {'met' if met else '**missed**'}"
