"""Karpenter is on the cluster already, with a node that works: it is found, and taken over under that node."""

import json
import os
import shutil
import zipfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import pytest
import yaml

from eks_rehearsal import premade
from eks_rehearsal.account import Account
from eks_rehearsal.assembly import Assembly
from eks_rehearsal.inventory import differences, settled
from eks_rehearsal.observer import Observer
from eks_rehearsal.processes import Processes, wait_for
from eks_rehearsal.programs import programs
from eks_rehearsal.programs.toolchain import node
from eks_rehearsal.scene import NAMESPACE, Scene
from eks_rehearsal.stories.scale import STORY as SCALE
from eks_rehearsal.timeline import Timeline
from karpenter_gpu import AmiAlias, AmiParameter, EksGpuStack, GpuPool, KarpenterSettings
from tests.rehearsal.test_rehearsals import Quiet
from tests.shapes import ACCOUNT, CONTEXT, EXISTING_CLUSTER

# isort: split
import aws_cdk as cdk

pytestmark = pytest.mark.rehearsal


class Versions(NamedTuple):
    """Kubernetes, the stack's Karpenter, one before that, and the image of the stack's pool."""

    kubernetes: str
    karpenter: str
    older: str
    ami: AmiAlias | AmiParameter


NEWEST = Versions("1.36", "1.14.3", "1.14.1", AmiAlias(alias="al2023@v20260714"))
# With these Helm is 3, and with the newest 4.
AL2 = "/aws/service/eks/optimized-ami/1.30/amazon-linux-2-gpu/recommended/image_id"
WALKTHROUGH = Versions("1.30", "1.0.1", "1.0.0", AmiParameter(ssm_parameter=AL2, family="AL2"))
THERE = replace(EXISTING_CLUSTER, kubectl_in_vpc=False)
# Of what the emulated EC2 has in that region.
POOL = GpuPool(name="inference", gpu_names=("t4",), gpu_limit=4)
OLD_NODES = f"arn:aws:iam::{ACCOUNT}:role/KarpenterNodeRole-there"
OLD_CONTROLLER = f"arn:aws:iam::{ACCOUNT}:role/KarpenterControllerRole-there"
# The controller's name is taken by the role of the Karpenter that is there.
OURS = KarpenterSettings(controller_role_name="karpenter-gpu-there", drain_timeout=timedelta(minutes=1))
ADOPTING = replace(OURS, adopt=True, node_role_arn=OLD_NODES)
OBJECTS = "/api/v1/namespaces"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICE_ACCOUNT = f"{OBJECTS}/kube-system/serviceaccounts/karpenter"
DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/karpenter"
NODE_CLASS = {
    "apiVersion": "karpenter.k8s.aws/v1",
    "kind": "EC2NodeClass",
    "metadata": {"name": "old"},
    "spec": {
        "role": "KarpenterNodeRole-there",
        "amiSelectorTerms": [{"alias": "al2023@v20260714"}],
        "subnetSelectorTerms": [{"id": id} for id in THERE.subnet_ids],
        "securityGroupSelectorTerms": [{"id": THERE.cluster_security_group_id}],
    },
}
NODE_POOL = {
    "apiVersion": "karpenter.sh/v1",
    "kind": "NodePool",
    "metadata": {"name": "old"},
    "spec": {
        "template": {
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "old"},
                "requirements": [
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m6i.large"]}
                ],
            }
        }
    },
}
WORK = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "work"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "work"}},
        "template": {
            "metadata": {"labels": {"app": "work"}},
            "spec": {
                "containers": [{"name": "work", "image": "busybox"}],
                "nodeSelector": {"karpenter.sh/nodepool": "old"},
                "terminationGracePeriodSeconds": 1,
            },
        },
    },
}


def synthesized(folder, karpenter, versions=NEWEST):
    app = cdk.App(outdir=str(folder), context=CONTEXT)
    env = cdk.Environment(account=ACCOUNT, region="eu-west-1")
    cluster = replace(THERE, kubernetes_version=versions.kubernetes)
    karpenter = replace(karpenter, version=versions.karpenter)
    EksGpuStack(app, "Platform", cluster=cluster, pools=[replace(POOL, ami=versions.ami)], karpenter=karpenter, env=env)
    app.synth()
    return folder


class Before:
    """The cluster as a team has it: a Karpenter of its own, a pool, and a pod on a node of it."""

    def __init__(self, account, folder):
        self.account = account
        self.plane = account.clusters["there"]
        self.kube = self.plane.kube
        self.folder = folder
        self.layer = self._layer()

    def _layer(self):
        """The kubectl layer of the stack: the Helm that a deployment will use."""
        for zipped in self.account.assembly.folder.glob("asset.*.zip"):
            if "helm/helm" in zipfile.ZipFile(zipped).namelist():
                return self.account.functions.layer(zipped.read_bytes())
        raise AssertionError("no kubectl layer")

    def run(self, *command, **more):
        tools = os.pathsep.join(str(self.layer / name) for name in ("kubectl", "helm"))
        env = {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.plane.kubeconfig),
            **self.account.environment,
        }
        done = self.account.processes.run(command, cwd=self.folder, env=env, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def roles(self):
        iam, issuer = self.account.aws.client("iam"), THERE.oidc_issuer.removeprefix("https://")
        iam.create_open_id_connect_provider(Url=THERE.oidc_issuer, ClientIDList=["sts.amazonaws.com"])
        for arn, who, action in (
            (OLD_NODES, {"Service": "ec2.amazonaws.com"}, "sts:AssumeRole"),
            (
                OLD_CONTROLLER,
                {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"},
                "sts:AssumeRoleWithWebIdentity",
            ),
        ):
            statement = {"Effect": "Allow", "Principal": who, "Action": action}
            trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            iam.create_role(RoleName=arn.rpartition("/")[2], AssumeRolePolicyDocument=trust)
        self.account.aws.client("eks").create_access_entry(
            clusterName="there", principalArn=OLD_NODES, type="EC2_LINUX", tags={"team": "platform"}
        )

    def helm(self, verb, chart, *more):
        values = [
            "--set=settings.clusterName=there",
            "--set=controller.resources.requests.cpu=1",
            f"--set=serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn={OLD_CONTROLLER}",
        ]
        return self.run("helm", verb, "karpenter", chart, "--namespace=kube-system", *values, *more)

    def by_hand(self, versions):
        """As the walk-through does it, with a chart that is a little older than ours."""
        chart = self.folder / "karpenter"
        shutil.copytree(self.account.programs.charts / "karpenter", chart)
        about = chart / "Chart.yaml"
        about.write_text(about.read_text().replace(versions.karpenter, versions.older))
        old = chart / "crds/karpenter.sh_nodepools.yaml"
        document = yaml.safe_load(old.read_text())
        document["spec"]["names"].update(categories=["old"], shortNames=["oldnp"])
        old.write_text(yaml.safe_dump(document))
        (self.folder / "karpenter.yaml").write_text(self.helm("template", str(chart), "--set=logLevel=debug"))
        self.run("kubectl", "create", *(f"--filename={crd}" for crd in sorted((chart / "crds").iterdir())))
        self.run("kubectl", "apply", "--filename=karpenter.yaml")

    def work(self):
        """A pool, and a pod on a node of it."""
        self.kube.create("/apis/karpenter.k8s.aws/v1/ec2nodeclasses", NODE_CLASS)
        self.kube.create("/apis/karpenter.sh/v1/nodepools", NODE_POOL)
        self.kube.create(OBJECTS, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        account = f"{OBJECTS}/team/serviceaccounts/default"
        wait_for("the namespace's service account", lambda: self.kube.find(account), seconds=30)
        self.kube.create("/apis/apps/v1/namespaces/team/deployments", WORK)
        wait_for("the team's pod to run", lambda: self.pods()[0]["status"]["phase"] == "Running", seconds=120)

    def pods(self):
        return self.kube.items(f"{OBJECTS}/team/pods") or [{"status": {"phase": ""}}]

    def standing(self):
        """The pod, its node, its NodeClaim and its instance, by what only these very ones have."""
        (pod,) = self.pods()
        # One of another pool may still be on its way out.
        (claim,) = self.kube.items("/apis/karpenter.sh/v1/nodeclaims", labelSelector="karpenter.sh/nodepool=old")
        found = self.kube.get(f"/api/v1/nodes/{pod['spec']['nodeName']}")
        names = [one["metadata"]["uid"] for one in (pod, claim, found)]
        return [*names, pod["status"]["phase"], found["spec"]["providerID"], found["spec"].get("taints")]

    def leave(self):
        """The team takes its pool away."""
        self.kube.delete("/apis/apps/v1/namespaces/team/deployments/work")
        self.kube.delete("/apis/karpenter.sh/v1/nodepools/old")
        claims = "/apis/karpenter.sh/v1/nodeclaims"
        wait_for("the team's node to go", lambda: not self.kube.items(claims), seconds=120)
        old = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses/old"
        self.kube.delete(old)
        wait_for("the team's EC2NodeClass to go", lambda: self.kube.find(old) is None, seconds=60)
        self.kube.delete(f"{OBJECTS}/team")
        wait_for("the team's namespace to go", lambda: self.kube.find(f"{OBJECTS}/team") is None, seconds=60)


@pytest.fixture
def versions():
    return NEWEST


@pytest.fixture
def before(tmp_path, versions):
    """A cluster that was there, with nothing of Karpenter yet."""
    folder = synthesized(tmp_path / "adopting", ADOPTING, versions)
    assembly = Assembly.read(folder)
    with ExitStack() as ends:
        processes = ends.enter_context(Processes())
        built = programs(
            kubernetes=assembly.kubernetes, karpenter=assembly.karpenter, progress=Quiet(), run=processes.run
        )
        account = ends.enter_context(Account(assembly, built, processes, node=node(), heard=print))
        account.bootstrap()
        premade.make(account, assembly.existing[0])
        before = Before(account, tmp_path)
        before.roles()
        yield before


def play(before, story):
    timeline = Timeline(print)
    observer = Observer(before.kube, before.account.aws.instances, timeline, NAMESPACE)
    observer.start()
    scene = Scene(before.account, before.plane, timeline, observer)
    try:
        story.play(scene)
        scene.delete_namespace()
    finally:
        observer.stop()


def test_a_karpenter_of_helms_is_found_and_then_taken_over_under_a_running_pod(before, tmp_path):
    account, kube = before.account, before.kube
    plain = settled(account.aws.client, [kube])
    before.helm("install", "oci://public.ecr.aws/karpenter/karpenter", "--version=1.14.3", "--wait")
    before.work()
    there = before.standing()

    refused = account.deploy(app=synthesized(tmp_path / "plain", replace(OURS, node_role_arn=OLD_NODES)))
    assert refused.exit_code != 0
    assert (
        "cluster there has a Karpenter already: the Helm release karpenter in namespace kube-system" in refused.output
    )
    assert "set karpenter.adopt to true (docs/existing-karpenter.md" in refused.output
    assert before.standing() == there
    assert kube.get(SERVICE_ACCOUNT)["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == OLD_CONTROLLER

    taken = account.deploy()
    assert taken.exit_code == 0, taken.output[-4000:]
    assert before.standing() == there
    role = kube.get(SERVICE_ACCOUNT)["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == f"arn:aws:iam::{ACCOUNT}:role/karpenter-gpu-there"
    releases = json.loads(before.run("helm", "list", "--namespace=kube-system", "--output=json"))
    assert {one["name"]: (one["revision"], one["status"]) for one in releases} == {
        "karpenter": ("2", "deployed"),
        "karpenter-crd": ("1", "deployed"),
    }
    play(before, SCALE)
    assert before.standing() == there

    held = account.destroy()
    assert held.exit_code != 0
    assert "still run and bill" in held.output
    assert "pool old" in held.output
    assert before.standing() == there

    before.leave()
    gone = account.destroy()
    assert gone.exit_code == 0, gone.output[-4000:]
    kept = (
        "CustomResourceDefinition ",
        "APIService ",
        "Secret kube-system/sh.helm.release.v1.karpenter-crd.",
        "Lease kube-system/karpenter-leader-election",
    )

    def others(now):
        return [one for one in differences(plain, now) if not one.startswith(kept)]

    after = settled(account.aws.client, [kube], lambda now: not others(now))
    left = differences(plain, after)
    assert others(after) == []
    assert "CustomResourceDefinition nodepools.karpenter.sh" in left


@pytest.mark.parametrize("versions", [NEWEST, WALKTHROUGH], ids=["newest", "walkthrough"])
def test_a_karpenter_applied_by_hand_becomes_helms_and_its_crds_are_upgraded(before, versions):
    account, kube = before.account, before.kube
    before.by_hand(versions)
    before.work()
    there = before.standing()
    assert kube.get(f"{CRDS}/nodepools.karpenter.sh")["spec"]["names"]["categories"] == ["old"]

    taken = account.deploy()
    assert taken.exit_code == 0, taken.output[-4000:]
    assert before.standing() == there
    names = kube.get(f"{CRDS}/nodepools.karpenter.sh")["spec"]["names"]
    # Helm 3 changes what the chart has, and takes nothing away that only the old one had.
    assert (names["categories"], "shortNames" in names) == (["karpenter"], versions is WALKTHROUGH)
    deployment = kube.get(DEPLOYMENT)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert versions.karpenter in container["image"]
    assert {env["name"]: env.get("value") for env in container["env"]}["LOG_LEVEL"] == "info"
    assert deployment["metadata"]["annotations"]["meta.helm.sh/release-name"] == "karpenter"
    before.leave()
    assert account.destroy().exit_code == 0
