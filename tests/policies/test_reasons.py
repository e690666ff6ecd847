"""Every permission of our roles has its reason: a recorded call that is denied without it, or a feature and a case of it."""

import json
from copy import deepcopy
from functools import cache

import pytest

from eks_rehearsal.iam.evaluator import Caller, Policies, Policy, Request, decide
from tests import forms
from tests.policies.reasons import REASONS
from tests.policies.recorded import ROOT, Resolved, calls, statements
from tests.shapes import SHAPES, synthesized

RECORDED = calls()
ROWS = [(form, row) for form, one in RECORDED.items() for row in one["calls"]]
OTHER_REGION, OTHER_ACCOUNT = "ap-south-2", "999999999999"


@cache
def templates(form):
    return synthesized(form).with_nested() if form in SHAPES else forms.synthesized(form)


@cache
def documents(form):
    """The statements of each of our roles, as they are in the account of the recording."""
    where = RECORDED[form]
    resolved = Resolved(templates(form), where["region"], where["account"])
    return [(one.role, one.name, resolved(one.elements)) for one in statements(templates(form))]


def decision(form, row, *, without=None, region=None):
    own = [deepcopy(elements) for role, name, elements in documents(form) if (role, name) != (row["role"], without)
           and role == row["role"]]  # fmt: skip
    if without:
        own += [less(elements, row["action"]) for role, name, elements in documents(form)
                if (role, name) == (row["role"], without)]  # fmt: skip
    document = {"Version": "2012-10-17", "Statement": own}
    region = region or RECORDED[form]["region"]
    keys = {**{key: tuple(of) for key, of in row["keys"].items()}, "aws:requestedregion": (region,)}
    caller = Caller({"AWS": frozenset({row["role"]})}, account=RECORDED[form]["account"])
    return decide(Policies(identity=[Policy("own", document)]), Request(row["action"], row["resource"], caller, keys))


def less(elements, action):
    """A statement without an action."""
    actions = elements["Action"] if isinstance(elements["Action"], list) else [elements["Action"]]
    return {**elements, "Action": [one for one in actions if one.lower() != action.lower()]}


def said(row):
    return f"{row['role']} {row['statement']}: {row['action']} on {row['resource']}"


def test_every_recorded_call_is_denied_without_its_statement():
    allowed = [said(row) for form, row in ROWS if not decision(form, row).allowed]
    kept = [said(row) for form, row in ROWS if decision(form, row, without=row["statement"]).allowed]
    assert (allowed, kept) == ([], [])
    assert len(ROWS) > 30


def granted():
    """Every action of every statement of our roles, in every shape and form."""
    shapes = {name: templates(name) for name in SHAPES} | {
        form.example: templates(form.example) for form in forms.FORMS
    }
    return {(one.role, one.name, action) for of in shapes.values() for one in statements(of) for action in one.actions}


def test_no_permission_of_ours_is_without_a_reason():
    recorded = {(row["role"], row["statement"], row["action"]) for _, row in ROWS}
    reasons = {(role, action) for role, action in REASONS}
    without = {one for one in granted() - recorded if (one[0], one[2]) not in reasons}
    assert sorted(without) == []


def test_no_reason_is_of_a_permission_that_is_not_there():
    there = {(role, action) for role, _, action in granted()}
    assert sorted(set(REASONS) - there) == []


@pytest.mark.parametrize("case", sorted({reason.case for reason in REASONS.values() if reason.case}))
def test_the_case_of_a_reason_is_there(case):
    path, _, name = case.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()


def forged():
    """The recorded calls, each made into others that must not be."""
    for form, row in ROWS:
        region, cluster = RECORDED[form]["region"], "kubernetes.io/cluster/"
        text = json.dumps(row)
        # Subnets, groups and images are anybody's by upstream's policy.
        owned = not any(kind in row["resource"] for kind in (":subnet/", ":security-group/", ":image/"))
        if owned and cluster in text:
            strange = text.replace(cluster, f"{cluster}another-").replace(
                'eks:eks-cluster-name": ["', 'eks:eks-cluster-name": ["another-'
            )
            yield "another cluster's tags", form, json.loads(strange), region
        if owned and any(key.startswith("aws:resourcetag/") for key in row["keys"]):
            bare = {key: of for key, of in row["keys"].items() if "resourcetag/" not in key}
            yield "what is not tagged", form, {**row, "keys": bare}, region
        if row["action"] == "iam:PassRole":
            account = RECORDED[form]["account"]
            strange = {**row, "resource": row["resource"].replace(account, OTHER_ACCOUNT)}
            yield "another account's role", form, strange, region
            yield "another role", form, {**row, "resource": f"{row['resource']}-other"}, region
        if f":{region}:" in row["resource"] or row["action"].startswith("ec2:Describe"):
            abroad = json.loads(text.replace(f":{region}:", f":{OTHER_REGION}:"))
            yield "another region", form, abroad, OTHER_REGION


FORGED = list(forged())


@pytest.mark.parametrize("kind", sorted({kind for kind, *_ in FORGED}))
def test_a_forged_call_is_denied(kind):
    mine = [(form, row, region) for of, form, row, region in FORGED if of == kind]
    assert [said(row) for form, row, region in mine if decision(form, row, region=region).allowed] == []


def test_every_kind_of_forgery_was_made():
    assert {kind for kind, *_ in FORGED} == {
        "another account's role",
        "another cluster's tags",
        "another region",
        "another role",
        "what is not tagged",
    }
