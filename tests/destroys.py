"""What the rehearsals of destroys showed: kept in `docs/destroys.json`, from which `docs/destroy.md` has its tables.

With RECORD_DESTROYS=1 a rehearsal writes what it showed, with the day and the seconds; without, it holds itself against it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent.parent / "docs" / "destroys.json"
# What another run calls otherwise: instances, pods of a Deployment, nodes, interfaces.
NAMES = (
    (re.compile(r"\b(i|eni)-[0-9a-f]{8,}"), r"\1-…"),
    (re.compile(r"-[0-9a-f]{8,10}-[a-z0-9]{5}\b"), "-…"),
    (re.compile(r"\bip-[0-9-]+[a-z0-9.-]*"), "ip-…"),
)
# What may differ from run to run.
MEASURED = ("seconds", "says", "left")


def plain(sentence: str) -> str:
    """A sentence without the names that a run gave."""
    for pattern, shown in NAMES:
        sentence = pattern.sub(shown, sentence)
    return sentence


def record(part: str, rows: Sequence[dict[str, Any]], versions: str = "") -> None:
    """Hold rows against those that are recorded, or record them."""
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if os.environ.get("RECORD_DESTROYS"):
        day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        known[part] = {"dated": day, "versions": versions, "rows": list(rows)}
        RECORD.write_text(json.dumps(known, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
        return
    assert [_lasting(row) for row in rows] == [_lasting(row) for row in known[part]["rows"]]


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in MEASURED}
