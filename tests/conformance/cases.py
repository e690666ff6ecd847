"""Policies and requests that hypothesis makes, in the words of the other evaluator, and what ours says of them."""

from hypothesis import strategies as st

from eks_rehearsal.iam.evaluator import Caller, Policies, Policy, Request, decide

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/controller"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/controller/pod"
USER = f"arn:aws:iam::{ACCOUNT}:user/person"
EC2 = f"arn:aws:ec2:us-east-1:{ACCOUNT}:"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:karpenter"

# What is asked, and on what; the last of each service is the name of another's.
ASKED = {
    "ec2:TerminateInstances": (f"{EC2}instance/i-1", f"{EC2}instance/i-2"),
    "ec2:RunInstances": (f"{EC2}instance/i-9", "arn:aws:ec2:us-east-1::image/ami-1"),
    "sqs:SendMessage": (QUEUE, f"{QUEUE}-other"),
    "sqs:ReceiveMessage": (QUEUE,),
}
ACTIONS = (*ASKED, "*", "ec2:*", "EC2:Run*", "sqs:?endMessage", "sqs:Receive*", "ec2:Describe*", "s3:*")
RESOURCES = (
    *(one for of in ASKED.values() for one in of),
    "*",
    f"{EC2}instance/i-?",
    f"{EC2}*",
    "arn:aws:ec2:*:*:instance/*",
    "arn:aws:ec2:*::image/*",
    "arn:*:sqs:*:*:karpenter*",
    "arn:aws:ec2:us-east-1:*:instance/${aws:PrincipalTag/name}",
    "arn:aws:ec2:us-east-1:*:instance/${aws:PrincipalTag/absent, 'i-1'}",
    "arn:aws:sqs:us-east-1:*:kar${*}",
)
# Values by condition key; what is made of them may be absent in a request.
TEXTS = ("owned", "Owned", "other", "own*", "", "${aws:PrincipalTag/name}", "karpenter", "own${?}d")
SINGLE = {
    "aws:ResourceTag/a": TEXTS,
    "aws:RequestTag/b": TEXTS,
    "aws:PrincipalTag/name": ("karpenter", "i-1"),
}
KINDS = {
    "String": ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase", "Like", "NotLike"),
    "Numeric": ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"),
}
KINDS["Date"] = KINDS["Numeric"]
NUMBERS, KEY_OF_NUMBER = ("1", "1.0", "2.5", "-3", "10"), "s3:max-keys"
DATES, KEY_OF_DATE = ("2026-01-01T00:00:00Z", "2025-06-01T12:00:00Z", "2027-01-01T00:00:00Z"), "aws:CurrentTime"
ADDRESSES, KEY_OF_ADDRESS = ("10.0.0.1", "10.0.1.9", "192.168.0.1", "172.16.0.9"), "aws:SourceIp"
NETWORKS = ("10.0.0.0/24", "10.0.0.0/8", "192.168.0.1", "172.16.0.0/12", "0.0.0.0/1")
ARNS = (ROLE, "arn:aws:iam::*:role/*", "arn:aws:iam::123456789012:role/c?ntroller", QUEUE, "arn:aws:*:*:*:*")
TAG_KEYS = ("Name", "eks:cluster", "karpenter.sh/nodeclaim", "nodeclaim")


def _operators(kind):
    return st.sampled_from([f"{kind}{one}" for one in KINDS[kind]])


def _some(values, most=3):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


def _if_exists(operators):
    return st.tuples(operators, st.sampled_from(("", "IfExists"))).map("".join)


def _conditions():
    plain = st.one_of(
        st.tuples(_if_exists(_operators("String")), st.sampled_from(list(SINGLE)), _some(TEXTS)),
        st.tuples(_if_exists(_operators("Numeric")), st.just(KEY_OF_NUMBER), _some(NUMBERS)),
        st.tuples(_if_exists(_operators("Date")), st.just(KEY_OF_DATE), _some(DATES)),
        st.tuples(_if_exists(st.sampled_from(("IpAddress", "NotIpAddress"))), st.just(KEY_OF_ADDRESS), _some(NETWORKS)),
        st.tuples(
            _if_exists(st.sampled_from(("ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"))),
            st.sampled_from(("aws:PrincipalArn", "aws:SourceArn")),
            _some(ARNS),
        ),
        st.tuples(_if_exists(st.just("Bool")), st.just("aws:SecureTransport"), _some(("true", "false", "True"), 1)),
        st.tuples(st.just("Null"), st.sampled_from([*SINGLE, "aws:TagKeys"]), _some(("true", "false"), 1)),
    )
    quantified = st.tuples(
        st.tuples(st.sampled_from(("ForAllValues:", "ForAnyValue:")), _operators("String")).map("".join),
        st.just("aws:TagKeys"),
        _some((*TAG_KEYS, "N*", "karpenter.sh/*")),
    )
    found = st.lists(st.one_of(plain, quantified), max_size=2)
    return found.map(lambda several: {operator: {key: values} for operator, key, values in several})


@st.composite
def _statements(draw, principals=None):
    no, no_resource = (draw(st.sampled_from(("", "", "", "Not"))) for _ in range(2))
    resources = [one for one in RESOURCES if not (no_resource and "${aws" in one)]
    statement = {
        "Effect": draw(st.sampled_from(("Allow", "Allow", "Allow", "Deny"))),
        f"{no}Action": draw(st.one_of(st.just(["*"]), _some(ACTIONS))),
        f"{no_resource}Resource": draw(st.one_of(st.just(["*"]), _some(resources))),
    }
    if condition := draw(_conditions()):
        statement["Condition"] = condition
    if principals:
        statement["Principal"] = draw(st.sampled_from(principals))
    return statement


def _documents(principals=None):
    statements = st.lists(_statements(principals), min_size=1, max_size=3)
    return statements.map(lambda several: {"Version": "2012-10-17", "Statement": several})


@st.composite
def _contexts(draw):
    keys = {"aws:PrincipalAccount": ACCOUNT}
    choices = {
        **dict.fromkeys(SINGLE, ("owned", "Owned", "other", "karpenter", "")),
        KEY_OF_NUMBER: NUMBERS,
        KEY_OF_DATE: DATES,
        KEY_OF_ADDRESS: ADDRESSES,
        "aws:SecureTransport": ("true", "false"),
        "aws:SourceArn": (ROLE, QUEUE),
    }
    for key, values in choices.items():
        if draw(st.booleans()):
            keys[key] = draw(st.sampled_from(values))
    if draw(st.booleans()):
        keys["aws:TagKeys"] = draw(_some(TAG_KEYS))
    return keys


@st.composite
def cases(draw):
    """Policies, and every request of `ASKED` under them, as the other evaluator reads them."""
    named = (
        "*",
        {"AWS": ACCOUNT},
        {"AWS": [ROLE]},
        {"AWS": [SESSION]},
        {"AWS": USER},
        {"Service": "events.amazonaws.com"},
    )
    policies = {
        "identityPolicies": [{"name": "identity", "policy": one} for one in draw(st.lists(_documents(), max_size=2))],
        "serviceControlPolicies": [
            {"orgIdentifier": f"level{at}", "policies": [{"name": "scp", "policy": one}]}
            for at, one in enumerate(draw(st.lists(_documents(), max_size=1)))
        ],
        "resourceControlPolicies": [],
    }
    if draw(st.integers(0, 3)) == 0:
        policies["permissionBoundaryPolicies"] = [{"name": "boundary", "policy": draw(_documents())}]
    of_queue = {"resourcePolicy": draw(_documents(named))} if draw(st.booleans()) else {}
    contexts = draw(st.lists(_contexts(), min_size=2, max_size=2))
    return [
        {
            "request": {
                "principal": principal,
                "action": action,
                "resource": {"resource": resource, "accountId": ACCOUNT},
                "contextVariables": {**keys, "aws:PrincipalArn": ROLE if principal == SESSION else USER},
            },
            **policies,
            **(of_queue if action.startswith("sqs:") else {}),
        }
        for keys in contexts
        for principal in (SESSION, USER)
        for action, resources in ASKED.items()
        for resource in resources
    ]


def verdict(case):
    """Whether our evaluator allows it."""
    asked = case["request"]
    keys = {
        key.lower(): tuple(value) if isinstance(value, list) else (value,)
        for key, value in asked["contextVariables"].items()
    }
    session = asked["principal"] if asked["principal"] == SESSION else ""
    caller = Caller({"AWS": frozenset({ROLE if session else USER})}, {}, session, ACCOUNT)
    boundary = case.get("permissionBoundaryPolicies")
    policies = Policies(
        identity=[Policy(one["name"], one["policy"]) for one in case["identityPolicies"]],
        boundary=Policy("boundary", boundary[0]["policy"]) if boundary else None,
        resource=Policy("queue", case["resourcePolicy"]) if "resourcePolicy" in case else None,
        controls=[
            [Policy(one["name"], one["policy"]) for one in level["policies"]]
            for level in case["serviceControlPolicies"]
        ],
    )
    return decide(policies, Request(asked["action"], asked["resource"]["resource"], caller, keys)).allowed
