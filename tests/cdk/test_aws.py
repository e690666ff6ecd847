"""How patient the functions are with AWS."""

from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from tests.cdk.lifecycle import FUNCTIONS, Refusals, load

SHOWN = '{"cluster":{"name":"there"}}'
PASSING = [("AccessDeniedException", 403), ("ThrottlingException", 400), ("ServerException", 500), ("X", 503)]


@pytest.mark.parametrize(("code", "status"), PASSING)
@pytest.mark.parametrize(("times", "seconds"), [(3, 15), (1000, 90)])
def test_what_passes_is_asked_again_for_ninety_seconds(monkeypatch, code, status, times, seconds):
    (module,) = load(monkeypatch, "aws")
    world = Refusals(monkeypatch, code, status, times, then=SHOWN)
    client = module.client("eks", world)
    if times < 100:
        assert client.describe_cluster(name="there")["cluster"] == {"name": "there"}
    else:
        with pytest.raises(ClientError, match=code):
            client.describe_cluster(name="there")
    assert world.now == seconds


def test_what_does_not_pass_is_asked_once(monkeypatch):
    (module,) = load(monkeypatch, "aws")
    world = Refusals(monkeypatch, "ResourceNotFoundException", 404, 1000, then=SHOWN)
    with pytest.raises(ClientError, match="NotFound"):
        module.client("eks", world).describe_cluster(name="there")
    assert world.now == 0


NO_INSTANCES = "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"


@pytest.mark.parametrize(
    ("code", "status"), [("RequestLimitExceeded", 503), ("Unavailable", 503), ("InternalError", 500)]
)
@pytest.mark.parametrize(("minutes", "left"), [(1, ""), (2, "looking for instances failed")])
def test_a_drain_does_not_fail_of_a_minute_in_which_ec2_answers_nobody(monkeypatch, code, status, minutes, left):
    aws, drain = load(monkeypatch, "aws", "drain")
    world = Refusals(monkeypatch, code, status, 12 * minutes, then=NO_INSTANCES)
    patient = aws.client
    monkeypatch.setattr(aws, "client", lambda service, **how: patient(service, world, **how))
    # The time is up at the first look.
    properties = {"ClusterName": "gpu", "TimeoutSeconds": "0", "OnTimeout": "fail"}
    monkeypatch.setattr(drain, "release", lambda _: None)
    said = drain.wait({"ResourceProperties": properties}, SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000))
    assert said.startswith(left)
    assert bool(said) == bool(left)


def test_every_function_asks_aws_through_the_patient_client():
    assert [path.stem for path in FUNCTIONS.glob("*.py") if "boto3.client(" in path.read_text()] == []
