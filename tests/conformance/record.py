"""Writes the sample of the other evaluator's verdicts that the fast suite replays: `python -m tests.conformance.record`."""

import json
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.conformance.cases import cases
from tests.conformance.other import Other

RECORDED = Path(__file__).parent / "recorded.json"
OF_EACH = 60


def record():
    kept = {True: [], False: []}

    @seed(1)
    @settings(
        max_examples=200, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(cases())
    def note(several):
        said = list(zip(several, other.allows(several), strict=True))
        for allowed in kept:
            # Two of a set are enough: the others are much like them.
            kept[allowed] += [case for case, verdict in said if verdict == allowed and "Condition" in json.dumps(case)][
                :2
            ]

    with Other() as other:
        note()
    lines = [[allowed, case] for allowed, of in kept.items() for case in of[-OF_EACH:]]
    RECORDED.write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")


if __name__ == "__main__":
    record()
