"""Every form of cluster that Karpenter can be put on, a row each: its example, what that must synthesize, and the story it is rehearsed with.

`test_examples.py` holds each row against the example's templates, `rehearsal/test_forms_rehearsed.py` plays its story, and
`docs/clusters.md` is made from it.
"""

from __future__ import annotations

import json
import runpy
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent.parent / "examples"

ENTRY = "an access entry"
CDKS_MAP = "aws-auth, which the CDK writes"
ONE_IN_THE_MAP = "one entry in aws-auth, beside the existing ones"
TAGS_MADE = "tags in the template"
TAGS_PUT = "tags put at deployment"
IDS = "ids"
PROVIDER_MADE = "IRSA, with a provider of its own"
PROVIDER_FOUND = "IRSA, with the account's provider, or a new one"
AGENT = "Pod Identity"


@dataclass(frozen=True)
class Form:
    """A form of cluster.

    Args:
        words: What a person would call it.

        example: The file in `examples/`, without `.py`.

        access: How GPU nodes are let in.

        network: How Karpenter finds their subnets and security groups.

        identity: How the controller comes by its role.

        story: The story that its rehearsal plays; empty when it is not rehearsed.
    """

    words: str
    example: str
    access: str
    network: str
    identity: str
    story: str = "pools"

    @property
    def synthesized(self) -> tuple[str, str, str]:
        """What its templates must show."""
        return self.access, self.network, self.identity


FORMS = (
    Form("`NewCluster`", "new_cluster", ENTRY, TAGS_MADE, PROVIDER_MADE),
    Form("`NewCluster` in an existing VPC without a way out", "private_cluster", ENTRY, IDS, AGENT),
    Form("`aws_eks_v2.Cluster` of the same app", "own_cluster", ENTRY, TAGS_MADE, PROVIDER_MADE),
    Form("`aws_eks_v2.Cluster` of another stack of the app", "two_stacks", ENTRY, TAGS_MADE, PROVIDER_MADE),
    Form("`aws_eks.Cluster` of the same app", "own_cluster_v1", CDKS_MAP, TAGS_MADE, PROVIDER_MADE),
    Form(
        "`aws_eks.Cluster` without nodes, the controller on Fargate",
        "fargate_cluster_v1",
        CDKS_MAP,
        TAGS_MADE,
        PROVIDER_MADE,
    ),
    Form("`aws_eks_v2` import", "imported_cluster", ENTRY, TAGS_PUT, AGENT),
    Form("`aws_eks` import", "imported_cluster_v1", ONE_IN_THE_MAP, IDS, PROVIDER_FOUND),
    Form("`ExistingCluster`, all of it given", "aws_auth_cluster", ONE_IN_THE_MAP, TAGS_PUT, PROVIDER_FOUND, "scale"),
    Form("`ExistingCluster`, by its name", "existing_cluster", ENTRY, TAGS_PUT, PROVIDER_FOUND, "scale"),
)


@cache
def synthesized(example: str, **context: Any) -> list[dict[str, Any]]:
    """The templates of an example, those of stacks in stacks among them."""
    import pytest
    from aws_cdk import App

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        context["aws:cdk:disable-asset-staging"] = True
        patch.setattr("aws_cdk.App", partial(App, outdir=folder, context=context))
        # As the command line says whose credentials it has.
        patch.setenv("CDK_DEFAULT_ACCOUNT", "111122223333")
        patch.setenv("CDK_DEFAULT_REGION", "us-west-2")
        runpy.run_path(str(EXAMPLES / f"{example}.py"), run_name="__main__")
        assert (Path(folder) / "manifest.json").exists()
        return [json.loads(path.read_text()) for path in Path(folder).glob("*.template.json")]


def shown(templates: Iterable[Mapping[str, Any]]) -> tuple[str, str, str]:
    """What templates show of access, network and identity."""
    resources = [one for template in templates for one in template["Resources"].values()]
    kinds = {one["Type"] for one in resources}
    texts = [json.dumps(one) for one in resources]
    is_node = [
        one["Type"] == "AWS::EKS::AccessEntry" and one["Properties"].get("Type") == "EC2_LINUX" for one in resources
    ]
    access = ENTRY if any(is_node) else ONE_IN_THE_MAP if "Custom::KarpenterGpuAwsAuth" in kinds else CDKS_MAP
    attachments = [one["Properties"] for one in resources if one["Type"] == "Custom::KarpenterGpuAttachment"]
    by_tag = any("EC2NodeClass" in text and "karpenter.sh/discovery" in text for text in texts)
    by_id = any("EC2NodeClass" in text and '\\"id\\"' in text for text in texts)
    put = any(one["Discovery"] == "tags" for one in attachments)
    network = IDS if by_id else TAGS_PUT if put else TAGS_MADE if by_tag else "nothing"
    found = any("OidcProviderArn" in one for one in attachments)
    agent = "AWS::EKS::PodIdentityAssociation" in kinds
    return access, network, AGENT if agent else PROVIDER_FOUND if found else PROVIDER_MADE
