"""Our evaluator of IAM policies against another one that is not ours: `make conformance`."""

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.conformance.cases import cases, verdict
from tests.conformance.other import Other

SETS = 800
AT_LEAST = 20_000


@pytest.mark.conformance
def test_both_evaluators_agree_on_every_request():
    asked = {True: 0, False: 0}

    @seed(20261125)
    @settings(
        max_examples=SETS,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def compare(several):
        for case, allowed in zip(several, other.allows(several), strict=True):
            asked[allowed] += 1
            assert verdict(case) == allowed, case

    with Other() as other:
        compare()
    assert sum(asked.values()) >= AT_LEAST
    # Neither verdict may be a rare one, or agreeing would show little.
    assert min(asked.values()) > AT_LEAST / 10
    print(f"{sum(asked.values())} requests, {asked[True]} of them allowed; 0 disagreements")
