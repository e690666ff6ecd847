"""From cdk-eks-karpenter to this package on a cluster of `aws_eks`, in the two deployments of the example, under a running pod."""

import json
import os
import subprocess
import sys

import pytest

from eks_rehearsal.account import Account
from eks_rehearsal.assembly import Assembly
from eks_rehearsal.cloudformation import template as language
from eks_rehearsal.cloudformation.custom import CustomResources, find
from eks_rehearsal.cloudformation.nested import NestedStacks
from eks_rehearsal.cloudformation.types import TYPES
from eks_rehearsal.processes import Processes, wait_for
from eks_rehearsal.programs import programs
from eks_rehearsal.rehearse import node
from tests.forms import synthesized
from tests.rehearsal.test_rehearsals import Quiet
from tests.rehearsal.test_takeover_rehearsed import CRDS, OBJECTS, WORK
from tests.shapes import ROOT

STEPS = ("before", "keep", "take")
# The CDK's older OIDC provider asks the issuer itself for its certificate, and a rehearsal reaches no one.
NATIVE = {"@aws-cdk/aws-eks:useNativeOidcProvider": True}
ACCOUNTS = f"{OBJECTS}/karpenter/serviceaccounts/karpenter"
DEPLOYMENT = "/apis/apps/v1/namespaces/karpenter/deployments/karpenter"
ROLE = "eks.amazonaws.com/role-arn"


@pytest.fixture(scope="module")
def apps(tmp_path_factory):
    """The example's cloud assembly at each step."""
    folders = {}
    for step in STEPS:
        folders[step] = tmp_path_factory.mktemp(step) / "cdk.out"
        context = json.dumps({"step": step, **NATIVE})
        env = {**os.environ, "CDK_OUTDIR": str(folders[step]), "CDK_CONTEXT_JSON": context}
        example = ROOT / "examples" / "from_cdk_eks_karpenter.py"
        subprocess.run([sys.executable, example], env={**env, "CDK_VALIDATION": "false"}, check=True)
    return folders


@pytest.mark.parametrize("step", STEPS)
def test_whatever_the_example_is_made_of_the_rehearsal_knows(step):
    nested = NestedStacks(lambda: None).type
    types = find({**TYPES, nested.name: nested}, CustomResources(lambda: None))
    for template in synthesized("from_cdk_eks_karpenter", step=step, **NATIVE):
        language.check(template)
        for name, resource in template["Resources"].items():
            types(resource["Type"]).check(name, resource.get("Properties", {}))


class Team:
    """A pod on a node of the team's own pool."""

    def __init__(self, account):
        self.kube = account.clusters["training"].kube

    def work(self):
        self.kube.create(OBJECTS, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        account = f"{OBJECTS}/team/serviceaccounts/default"
        wait_for("the namespace's service account", lambda: self.kube.find(account), seconds=30)
        document = json.loads(
            json.dumps(WORK).replace('"karpenter.sh/nodepool": "old"', '"karpenter.sh/nodepool": "workers"')
        )
        self.kube.create("/apis/apps/v1/namespaces/team/deployments", document)
        wait_for("the team's pod to run", self.runs, seconds=120)

    def runs(self):
        return [one["status"]["phase"] for one in self.kube.items(f"{OBJECTS}/team/pods")] == ["Running"]

    def standing(self):
        (pod,), (claim,) = (
            self.kube.items(path) for path in (f"{OBJECTS}/team/pods", "/apis/karpenter.sh/v1/nodeclaims")
        )
        found = self.kube.get(f"/api/v1/nodes/{pod['spec']['nodeName']}")
        return [
            *(one["metadata"]["uid"] for one in (pod, claim, found)),
            pod["status"]["phase"],
            found["spec"]["providerID"],
            found["spec"].get("taints"),
            claim["metadata"].get("deletionTimestamp"),
        ]


@pytest.mark.rehearsal
def test_a_pod_stays_where_it_is_from_the_old_construct_to_this_one(apps):
    assembly = Assembly.read(apps["before"])
    with Processes() as processes:
        built = programs(
            kubernetes=assembly.kubernetes, karpenter=assembly.karpenter, progress=Quiet(), run=processes.run
        )
        last = Assembly.read(apps["take"])
        with Account(last, built, processes, node=node(), heard=print) as account:
            account.bootstrap()
            first = account.deploy(app=apps["before"])
            assert first.exit_code == 0, first.output[-4000:]
            team = Team(account)
            team.work()
            there = team.standing()
            their_role = team.kube.get(ACCOUNTS)["metadata"]["annotations"][ROLE]

            kept = account.deploy(app=apps["keep"])
            assert kept.exit_code == 0, kept.output[-4000:]
            assert team.standing() == there

            taken = account.deploy()
            assert taken.exit_code == 0, taken.output[-4000:]
            assert team.standing() == there
            assert team.kube.get(ACCOUNTS)["metadata"]["annotations"][ROLE] != their_role
            owner = team.kube.get(f"{CRDS}/nodepools.karpenter.sh")["metadata"]["annotations"]
            assert owner["meta.helm.sh/release-name"] == "karpenter-crd"
            assert team.kube.get(DEPLOYMENT)["status"]["readyReplicas"] == 2
            pools = {one["metadata"]["name"] for one in team.kube.items("/apis/karpenter.sh/v1/nodepools")}
            assert pools == {"workers", "h100"}
            roles = [one["RoleName"] for one in account.aws.client("iam").list_roles()["Roles"]]
            assert their_role.rpartition("/")[2] not in roles
            auth = team.kube.get(f"{OBJECTS}/kube-system/configmaps/aws-auth")["data"]["mapRoles"]
            assert auth.count("KarpenterNodeRole") == 1

            # The new controller launches and removes nodes of the old pool.
            team.kube.patch("/apis/apps/v1/namespaces/team/deployments/work", {"spec": {"replicas": 0}})
            claims = "/apis/karpenter.sh/v1/nodeclaims"
            wait_for("the old node to go when it is empty", lambda: not team.kube.items(claims), seconds=180)
            team.kube.patch("/apis/apps/v1/namespaces/team/deployments/work", {"spec": {"replicas": 1}})
            wait_for("a new node of the old pool", team.runs, seconds=120)

            gone = account.destroy()
            assert gone.exit_code == 0, gone.output[-4000:]
            assert not account.clusters
