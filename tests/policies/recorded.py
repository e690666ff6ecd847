"""Calls that rehearsals recorded, and the policies of the roles that made them.

Record anew with: python -m tests.policies.recorded FORM...   (`default`, or an example of docs/clusters.md; minutes each)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).with_suffix(".json")
# Roles that this package makes; what is the CDK's own is the CDK's to say.
OURS = re.compile(r"^Karpenter\w*Role$")
HASH = re.compile(r"[0-9A-F]{8}$")
# What is another one in every rehearsal.
RANDOM = (
    (re.compile(r"\b(i|lt|subnet|sg|ami|vol|eni|fleet)-[0-9a-f]{8,17}\b"), r"\1-0"),
    (re.compile(r"-[0-9A-Z]{12}\b"), "-X"),
    (re.compile(r"\b[0-9A-F]{32}\b"), "0"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "0"),
)
ARNS = {
    "AWS::IAM::Role": "arn:aws:iam::{account}:role{name}",
    "AWS::EKS::Cluster": "arn:aws:eks:{region}:{account}:cluster/*",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:*",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:*",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:*",
}


@dataclass(frozen=True)
class Statement:
    """A statement of a role's policies, by its own name or its policy's."""

    role: str
    name: str
    elements: Mapping[str, Any]

    @property
    def actions(self) -> list[str]:
        said = self.elements["Action"]
        return said if isinstance(said, list) else [said]


def statements(templates: Iterable[Mapping[str, Any]]) -> list[Statement]:
    """Every statement of our roles that stands in templates."""
    return [
        Statement(role, str(elements.get("Sid") or HASH.sub("", policy)), elements)
        for template in templates
        for policy, one in template["Resources"].items()
        if one["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
        for role in _roles(one["Properties"])
        for elements in one["Properties"]["PolicyDocument"]["Statement"]
        if OURS.match(role)
    ]


def _roles(properties: Mapping[str, Any]) -> Iterator[str]:
    for role in properties.get("Roles", ()):
        yield HASH.sub("", role["Ref"]) if isinstance(role, dict) and "Ref" in role else str(role)


class Resolved:
    """A template's policies as they are in an account, with `*` for what only a deployment gives."""

    def __init__(self, templates: Iterable[Mapping[str, Any]], region: str, account: str) -> None:
        self._resources = {name: one for template in templates for name, one in template["Resources"].items()}
        self._pseudo = {
            "AWS::Region": region,
            "AWS::AccountId": account,
            "AWS::Partition": "aws",
            "AWS::StackId": f"arn:aws:cloudformation:{region}:{account}:stack/*",
        }
        self._where = {"region": region, "account": account}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self(one) for one in value]
        if not isinstance(value, dict):
            return value
        (key, of), *more = value.items() or [("", "")]
        if more or not (key == "Ref" or key.startswith("Fn::")):
            return {name: self(one) for name, one in value.items()}
        return self._function(key, of)

    def _function(self, name: str, of: Any) -> str:
        if name == "Fn::Join":
            separator, parts = of
            return str(separator.join(str(self(part)) for part in parts))
        if name == "Ref":
            return self._pseudo.get(of, "*")
        return self._attribute(*of) if name == "Fn::GetAtt" else "*"

    def _attribute(self, name: str, attribute: str) -> str:
        made = self._resources.get(name, {"Type": ""})
        pattern = ARNS.get(made["Type"], "*") if attribute == "Arn" else "*"
        own = made.get("Properties", {}).get("RoleName")
        return pattern.format(**self._where, name=f"/{own}" if isinstance(own, str) else "/*")


def calls() -> dict[str, dict[str, Any]]:
    """What was recorded, by the form of cluster."""
    return dict(json.loads(RECORDED.read_text())) if RECORDED.exists() else {}


def rows(templates: Iterable[Mapping[str, Any]], recorded: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The calls of our roles as they are kept."""
    templates = list(templates)
    stated = {(one.role, one.name) for one in statements(templates)}
    names = {
        name: str(one["Properties"].get("RoleName") or "")
        for template in templates
        for name, one in template["Resources"].items()
        if one["Type"] == "AWS::IAM::Role" and OURS.match(HASH.sub("", name))
    }
    for one in recorded:
        physical = one.role.rpartition("/")[2]
        for logical, own in names.items():
            if physical == own or (not own and f"-{logical}-" in physical):
                row = _row(HASH.sub("", logical), one)
                # What stands in a policy of AWS's own is AWS's to say.
                if (row["role"], row["statement"]) in stated:
                    yield row


def _row(role: str, one: Any) -> dict[str, Any]:
    said, _, policy = one.statement.partition(" of ")
    name = HASH.sub("", policy) if re.fullmatch(r"statement \d+", said) else said
    keys = {key: list(of) for key, of in one.asked.context.items()}
    row = {"role": role, "statement": name, "action": one.asked.action, "resource": one.asked.resource, "keys": keys}
    text = json.dumps(row, sort_keys=True)
    for pattern, instead in RANDOM:
        text = pattern.sub(instead, text)
    return dict(json.loads(text))


def templates_of(folder: Path) -> list[dict[str, Any]]:
    """The templates of a cloud assembly."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.template.json"))]


def keep(form: str, folder: Path, result: Any) -> None:
    """Put what a rehearsal recorded beside what is there."""
    templates = templates_of(folder)
    # What the default stack was seen to do need not be kept again.
    known = [] if form == "default" else [_grant(row) for row in calls().get("default", {}).get("calls", ())]
    found = {
        json.dumps(row, sort_keys=True): row
        for row in rows(templates, result.permissions.recorded)
        if _grant(row) not in known
    }
    allowed = result.permissions.recorded
    one = {
        "region": result.region,
        "account": _account(result),
        # What CloudFormation's own role was asked for: who bootstraps with a narrower one reads it.
        "execution": sorted({of.asked.action for of in allowed if "-cfn-exec-role-" in of.role}),
        "calls": [found[key] for key in sorted(found)],
    }
    RECORDED.write_text(_written({**calls(), form: one}))


def _grant(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["role"], row["statement"], row["action"]


def _written(forms: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each call, so that a change can be read."""
    shown = [
        f"{json.dumps(form)}: "
        + json.dumps({**one, "calls": "CALLS"}).replace(
            '"CALLS"', "[\n" + ",\n".join(json.dumps(row, sort_keys=True) for row in one["calls"]) + "\n]"
        )
        for form, one in sorted(forms.items())
    ]
    return "{\n" + ",\n".join(shown) + "\n}\n"


def _account(result: Any) -> str:
    return next(one.role.split(":")[4] for one in result.permissions.recorded)


def main(forms: list[str]) -> None:
    """Rehearse each form with every story, and keep what was recorded."""
    from eks_rehearsal.rehearse import Options, rehearse
    from tests.rehearsal.test_rehearsals import Quiet

    caller = {"CDK_DEFAULT_ACCOUNT": "111122223333", "CDK_DEFAULT_REGION": "us-west-2", "CDK_VALIDATION": "false"}
    for form in forms:
        with tempfile.TemporaryDirectory() as folder:
            app = ROOT / ("app.py" if form == "default" else f"examples/{form}.py")
            env = {**os.environ, **({} if form == "default" else caller), "CDK_OUTDIR": folder}
            profile = {"CDK_CONTEXT_JSON": json.dumps({"profile": form})} if form == "default" else {}
            where = ROOT if form == "default" else folder
            subprocess.run([sys.executable, app], cwd=where, env={**env, **profile}, check=True)
            result = rehearse(Path(folder), Quiet(), Options())
            assert result.passed, result.outcomes
            keep(form, Path(folder), result)


if __name__ == "__main__":
    main(sys.argv[1:])
