"""A rehearsal as one HTML file, for a person: no script, nothing fetched, and the same bytes for the same result."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eks_rehearsal import prices
from eks_rehearsal.report import units
from eks_rehearsal.report.chapters import chapters
from eks_rehearsal.report.picture import picture
from eks_rehearsal.report.verdict import verdict
from eks_rehearsal.result import Result

# A terminal's colours, and characters that no HTML may have: other people's messages bring both.
UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]|[\ud800-\udfff]")


def write(result: Result, path: Path) -> None:
    """Write the report of a rehearsal, over an older one, making its folder where there is none."""
    page = _environment().get_template("report.html.jinja")
    text = page.render(
        result=result,
        verdict=verdict(result),
        chapters=chapters(result),
        picture=picture(result),
        prices=f"{prices.REGION}'s on-demand prices of {prices.DATED}",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    made.filters.update(
        seconds=units.seconds,
        duration=units.duration,
        dollars=units.dollars,
        price=units.price,
        count_of=units.count,
    )
    return made


def _printable(value: object) -> object:
    return UNPRINTABLE.sub("", value) if isinstance(value, str) and not isinstance(value, Markup) else value
