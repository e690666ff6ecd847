"""A create that fails and is rolled back, with the stack's own functions on the emulated AWS, and no Kubernetes.

What the CDK's functions would do with kubectl and helm is taken for done; a NodePool launches an instance, and when it is deleted
the instance ends a moment later, as Karpenter would have it.
"""

import io
import json
import os
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from eks_rehearsal.account import Account, stacks
from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.certificates import Authority
from eks_rehearsal.cloudformation.resource import Made, ResourceType
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.inventory import differences, inventory
from eks_rehearsal.processes import Processes
from tests.destroys import record
from tests.shapes import ACCOUNT, ROOT, synthesized
from tests.until import until

pytestmark = pytest.mark.rehearsal
FUNCTIONS = ROOT / "karpenter_gpu" / "cdk" / "functions"
OURS = {f"{path.stem}.handler" for path in FUNCTIONS.glob("*.py")}
CHART, MANIFEST = "Custom::AWSCDK-EKS-HelmChart", "Custom::AWSCDK-EKS-KubernetesResource"
REGION = "eu-west-1"
SPEED = 30
IMAGE = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/nvidia/recommended/image_id"
OF_POOL = {"kubernetes.io/cluster/gpu": "owned", "karpenter.sh/nodepool": "inference"}
# What fails, and the beginning of its logical id.
FAILING = {
    "the system nodes": "EksSystemNodes",
    "the chart of the CRDs": "KarpenterChartsCrds",
    "the controller's chart": "KarpenterChartsController",
    "an EC2NodeClass": "KarpenterPoolinferenceNodeClass",
    "a NodePool, when another has a node already": "KarpenterPooltrainingNodePool",
}


def zipped(folder=None):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.glob("*.py")) if folder else ():
            archive.write(path, path.name)
        archive.writestr("nothing.txt", "")
    return packed.getvalue()


class WithoutKubernetes(Account):
    """An account whose clusters are a name, in which one resource cannot be created."""

    def __init__(self, processes):
        assembly = SimpleNamespace(region=REGION, account=ACCOUNT, charts=[], folder=None)
        programs = SimpleNamespace(notes=[], node_modules=ROOT / "node_modules")
        super().__init__(assembly, programs, processes, node=Path(os.environ["JSII_NODE"]))
        nothing = Hooks()
        self.hooks.delete_cluster = nothing.delete_cluster
        self.hooks.create_nodegroup = lambda _, group: self.launched(
            {"eks:nodegroup-name": group["nodegroupName"]}, group
        )
        self.hooks.delete_nodegroup = self.nodegroup_ended
        for name in ("instance_launched", "instance_terminated"):
            setattr(self.hooks, name, getattr(nothing, name))
        authority = Authority(processes.folder / "authority", "nobody").base64
        self.hooks.create_cluster = lambda *_: ClusterEndpoint(
            "https://127.0.0.1:9", authority, "https://oidc.test/id/A"
        )
        self.failing = ""

    def _start_registry(self):
        return "http://127.0.0.1:9"

    def types(self):
        known = {kind: ResourceType(kind, None, self.applied, self.gone) for kind in (CHART, MANIFEST)}
        return {name: replace(kind, create=self.failable(kind.create)) for name, kind in (stacks.TYPES | known).items()}

    def failable(self, create):
        def made(context, properties):
            if self.failing and context.logical_id.startswith(self.failing):
                assert "NodePool" not in self.failing or until(lambda: self.ids("karpenter.sh/nodepool"), 60)
                raise RehearsalError("it was to fail")
            return create(context, properties)

        return made

    def ids(self, tag):
        """The running instances with a tag."""
        wanted = [{"Name": "tag-key", "Values": [tag]}, {"Name": "instance-state-name", "Values": ["running"]}]
        found = self.aws.client("ec2").describe_instances(Filters=wanted)["Reservations"]
        return [one["InstanceId"] for reservation in found for one in reservation["Instances"]]

    def launched(self, tags, group=None):
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        made = self.aws.client("ec2").run_instances(
            ImageId=self.aws.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"],
            InstanceType="g5.xlarge",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": pairs}],
            **({"SubnetId": group["subnets"][0]} if group else {}),
        )
        return made["Instances"][0]["InstanceId"]

    def ended(self, *ids):
        if ids:
            self.aws.client("ec2").terminate_instances(InstanceIds=list(ids))

    def nodegroup_ended(self, *_):
        """End the system nodes, which takes longer than all that Karpenter needs."""
        (stack,) = self.cloudformation.alive()
        assert until(lambda: not any(name.startswith("KarpenterSweep") for name in list(stack.resources)), 60)
        self.ended(*self.ids("eks:nodegroup-name"))

    def applied(self, context, _properties):
        is_pool = "NodePool" in context.logical_id
        return Made(self.launched(OF_POOL) if is_pool else context.logical_id)

    def gone(self, _context, id, _properties):
        if id.startswith("i-"):
            threading.Thread(target=self.ended_when_seen, args=(id, time.time()), daemon=True).start()

    def ended_when_seen(self, id, since):
        """End an instance once the drain has seen it."""
        assert until(lambda: any(self.is_look(call) and call.time > since for call in list(self.aws.calls)), 60)
        self.ended(id)

    def is_look(self, call):
        """Whether a gate, a role's function, has asked for the instances of pools."""
        is_ours = call.principal == self.aws.world.root
        return not is_ours and call.action == "DescribeInstances" and "nodepool" in str(call.parameters) and call.status

    def publish(self, template):
        """Every function's and layer's code: our own as it is, the CDK's as nothing."""
        s3, ours, nothing = self.aws.client("s3"), zipped(FUNCTIONS), zipped()
        bucket = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        for resource in template["Resources"].values():
            code = resource["Properties"].get("Code") or resource["Properties"].get("Content") or {}
            if "S3Key" in code:
                body = ours if resource["Properties"].get("Handler") in OURS else nothing
                s3.put_object(Bucket=bucket, Key=code["S3Key"], Body=body)
        self.aws.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")

    def create(self, template, seconds=120):
        """Create the stack, and wait until it is created or rolled back."""
        client = self.aws.client("cloudformation")
        client.create_change_set(
            StackName="gpu",
            ChangeSetName="all",
            ChangeSetType="CREATE",
            TemplateBody=json.dumps(template),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        shown = client.describe_change_set(StackName="gpu", ChangeSetName="all")
        assert shown["Status"] == "CREATE_COMPLETE", shown["StatusReason"]
        client.execute_change_set(StackName="gpu", ChangeSetName="all")
        assert until(lambda: not self.status.endswith("_IN_PROGRESS"), seconds), self.status
        return self.status

    @property
    def status(self):
        return self.aws.client("cloudformation").describe_stacks(StackName="gpu")["Stacks"][0]["StackStatus"]

    def delete(self, seconds=120):
        """Delete the stack; its last status, and why."""
        (stack,) = self.cloudformation.alive()
        self.aws.client("cloudformation").delete_stack(StackName="gpu")
        assert until(lambda: not stack.status.endswith("_IN_PROGRESS"), seconds), stack.status
        return stack.status, [event.reason for event in stack.events if event.status == "DELETE_FAILED"]


@pytest.fixture(scope="module")
def template():
    return synthesized("default").template


@pytest.fixture(scope="module")
def account(tmp_path_factory, template):
    with pytest.MonkeyPatch.context() as patch, Processes(tmp_path_factory.mktemp("run")) as processes:
        made = WithoutKubernetes(processes)
        patch.setattr(stacks, "TYPES", made.types())
        with made:
            made.publish(template)
            made.functions.clock.run(SPEED)
            yield made


def rolled_back(account, template, what):
    """How the create of something fails, as a row."""
    before = inventory(account.aws.client)
    account.failing = FAILING[what]
    began = time.monotonic()
    status = account.create(template)
    seconds = time.monotonic() - began
    assert account.delete() == ("DELETE_COMPLETE", [])
    left = differences(before, inventory(account.aws.client))
    return {"title": what, "outcome": status, "left": list(left), "seconds": round(seconds)}


def test_a_create_that_fails_anywhere_is_rolled_back_and_leaves_nothing(account, template):
    rows = [rolled_back(account, template, what) for what in FAILING]
    assert [(row["outcome"], row["left"]) for row in rows] == [("ROLLBACK_COMPLETE", [])] * len(FAILING)
    assert account.functions.log.read_text().count("waiting for 1 instance(s)") >= 1
    record("rollbacks", rows)


def leave_interface(account):
    """What the VPC CNI leaves of a system node, with the cluster's security group."""
    ec2 = account.aws.client("ec2")
    (id,) = account.ids("eks:nodegroup-name")
    cluster = account.aws.client("eks").describe_cluster(name="gpu")["cluster"]["resourcesVpcConfig"]
    tags = {"cluster.k8s.amazonaws.com/name": "gpu", "node.k8s.amazonaws.com/instance_id": id}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    made = ec2.create_network_interface(
        SubnetId=cluster["subnetIds"][0],
        Groups=[cluster["clusterSecurityGroupId"]],
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": pairs}],
    )
    return made["NetworkInterface"]["NetworkInterfaceId"]


def without_system_sweep(template):
    """The template as it would be if nobody removed what system nodes leave."""
    (gone,) = (name for name, one in template["Resources"].items() if one["Type"] == "Custom::KarpenterGpuSystemSweep")
    changed = json.loads(json.dumps(template))
    del changed["Resources"][gone]
    for one in changed["Resources"].values():
        needed = one.get("DependsOn", [])
        one["DependsOn"] = [name for name in ([needed] if isinstance(needed, str) else needed) if name != gone]
    return changed


def test_an_interface_that_a_system_node_leaves_holds_no_vpc(account, template):
    before, account.failing = inventory(account.aws.client), ""
    assert account.create(without_system_sweep(template)) == "CREATE_COMPLETE"
    interface = leave_interface(account)
    status, reasons = account.delete()
    assert status == "DELETE_FAILED"
    assert any("dependenc" in reason.lower() for reason in reasons), reasons
    account.aws.client("ec2").delete_network_interface(NetworkInterfaceId=interface)
    assert account.delete()[0] == "DELETE_COMPLETE"

    assert account.create(template) == "CREATE_COMPLETE"
    leave_interface(account)
    assert account.delete() == ("DELETE_COMPLETE", [])
    assert differences(before, inventory(account.aws.client)) == ()
