"""Whether the evaluator decides as IAM does; `make conformance` holds it against another one."""

import json

import pytest

from eks_rehearsal.iam.evaluator import Caller, Policies, Policy, Request, decide
from tests.conformance.cases import verdict
from tests.conformance.record import RECORDED

ROLE = "arn:aws:iam::123456789012:role/controller"
SESSION = "arn:aws:sts::123456789012:assumed-role/controller/pod"
INSTANCE = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
CALLER = Caller(
    {"AWS": frozenset({ROLE})},
    {"aws:principaltag/team": ("gpu",), "aws:principaltag/whole": ("instance/i-1",)},
    SESSION,
    "123456789012",
)


def policy(effect="Allow", name="own", **elements):
    statement = {"Sid": f"{effect}It", "Effect": effect, "Action": "*", "Resource": "*", **elements}
    return Policy(name, {"Version": "2012-10-17", "Statement": statement})


def asked(action="ec2:TerminateInstances", resource=INSTANCE, **context):
    keys = {"owner": "aws:ResourceTag/owner", "keys": "aws:TagKeys"}
    return Request(action, resource, CALLER, {keys[key].lower(): tuple(values) for key, values in context.items()})


@pytest.mark.parametrize("allowed", [True, False])
def test_the_other_evaluator_says_the_same_of_the_sample(allowed):
    cases = [case for said, case in json.loads(RECORDED.read_text()) if said == allowed]
    assert len(cases) >= 50
    assert [case for case in cases if verdict(case) != allowed] == []


def test_a_denial_names_the_nearest_statement_and_its_unmet_condition():
    own = policy(Action="ec2:*", Condition={"StringEquals": {"aws:ResourceTag/owner": "karpenter"}})
    said = decide(Policies(identity=[own, policy(Action="s3:*")]), asked(owner=["somebody"]))
    assert said.reason == (
        "no policy of the caller allows it; the nearest statement, AllowIt of own, is not met: "
        "StringEquals aws:ResourceTag/owner karpenter does not hold for somebody"
    )


def test_a_denial_anywhere_wins_and_is_named():
    said = decide(Policies(identity=[policy()], controls=[[policy(), policy("Deny", "the SCP")]]), asked())
    assert (said.allowed, said.statement) == (False, "DenyIt of the SCP")


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"boundary": policy(Action="s3:*")}, "no statement of the permissions boundary allows ec2:TerminateInstances"),
        ({"session": [policy(Action="s3:*")]}, "no statement of the session's policy allows ec2:TerminateInstances"),
        ({"controls": [[policy(Action="s3:*")]]}, "no service control policy allows ec2:TerminateInstances"),
    ],
)
def test_each_layer_must_allow(layer, said):
    assert decide(Policies(identity=[policy()], **layer), asked()).reason == said


@pytest.mark.parametrize(
    ("resource", "allowed"),
    [
        # The guide's own example of a default, reference_policies_variables.
        ("arn:aws:ec2:*:*:instance/${aws:PrincipalTag/absent, 'i-1'}", True),
        ("arn:aws:ec2:*:*:instance/${aws:PrincipalTag/absent}", False),
        ("arn:aws:ec2:*:*:instance/${aws:PrincipalTag/team}", False),
        ("arn:aws:ec2:us-east-1:123456789012:${aws:PrincipalTag/whole}", True),
        ("arn:aws:ec2", True),
        ("arn:aws:ec2:*:instance/*", False),
    ],
)
def test_a_resource_is_read_part_by_part_with_its_variables(resource, allowed):
    assert decide(Policies(identity=[policy(Resource=resource)]), asked()).allowed is allowed


def test_a_version_without_variables_reads_them_as_they_stand():
    old = Policy("old", {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "${aws:PrincipalTag/team}"}})
    assert not decide(Policies(identity=[old]), asked()).allowed


@pytest.mark.parametrize(
    ("principal", "own", "allowed"),
    [
        ({"AWS": ROLE}, [], True),
        ({"AWS": "123456789012"}, [], False),
        ({"AWS": "arn:aws:iam::123456789012:root"}, [policy()], True),
        ({"AWS": "arn:aws:iam::210987654321:root"}, [policy()], False),
    ],
)
def test_a_key_leaves_to_policies_what_its_own_policy_gives_the_account(principal, own, allowed):
    key = policy(Principal=principal)
    said = decide(Policies(identity=own, resource=key, resource_decides=True), asked("kms:Decrypt"))
    assert said.allowed is allowed


def test_keys_of_more_than_one_value_are_all_looked_at():
    own = policy(Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["Name", "owner"]}})
    assert decide(Policies(identity=[own]), asked(keys=["Name"])).allowed
    assert not decide(Policies(identity=[own]), asked(keys=["Name", "other"])).allowed


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}, True),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}, True),
        ({"BinaryEquals": {"key": "QmluYXJ5"}}, True),
        ({"BinaryEquals": {"key": "b3RoZXI="}}, False),
        ({"StringNotEquals": {"key": "${aws:PrincipalTag/absent}"}}, False),
        ({"StringEquels": {"key": "QmluYXJ5"}}, False),
    ],
)
def test_a_condition_that_the_comparison_leaves_out_holds_as_the_guide_has_it(condition, allowed):
    request = Request(
        "ec2:TerminateInstances", INSTANCE, CALLER, {"aws:sourceip": ("2001:db8::1",), "key": ("QmluYXJ5",)}
    )
    assert decide(Policies(identity=[policy(Condition=condition)]), request).allowed is allowed


def test_a_statement_about_all_but_a_resource_that_is_not_known_says_nothing():
    own = policy(NotResource="arn:aws:ec2:*:*:instance/${aws:PrincipalTag/absent}")
    del own.document["Statement"]["Resource"]
    assert not decide(Policies(identity=[own]), asked()).allowed
