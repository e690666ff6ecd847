"""What a template says of an existing cluster: a versioned contract, whose schema stands in `existing_cluster.schema.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, cast

from jsonschema import Draft202012Validator
from typing_extensions import Required

from eks_rehearsal.errors import RehearsalError

KEY: Final = "eks-rehearsal:existing-cluster"
SCHEMA: Final = Path(__file__).with_name("existing_cluster.schema.json")


class ExistingCluster(TypedDict, total=False):
    """The facts; the schema says what each is, and its default."""

    Version: Required[Literal[1]]
    Name: Required[str]
    KubernetesVersion: Required[str]
    AuthenticationMode: Required[str]
    IpFamily: str
    OidcIssuer: str
    OidcProvider: bool
    VpcId: str
    SubnetIds: list[str]
    ClusterSecurityGroupId: str
    SecurityGroupIds: list[str]
    NodeGroup: str
    KubectlRoleArn: str
    PodIdentityAgent: bool


def read(template: Mapping[str, Any], where: str) -> ExistingCluster | None:
    """The facts in a template, or None where it has none.

    Args:
        template: As CloudFormation takes it.

        where: Names the template in an error.

    Raises:
        RehearsalError: They are not of the contract, or of another version of it.
    """
    facts = template.get("Metadata", {}).get(KEY)
    if facts is None:
        return None
    if faults := sorted(f"{fault.json_path} {fault.message}" for fault in _validator().iter_errors(facts)):
        raise RehearsalError(f"the metadata {KEY} of {where} is not of version 1 of its schema: {'; '.join(faults)}")
    return cast("ExistingCluster", facts)


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
