"""Whether a role may no more than its policies say, with the controller's own policies."""

import json

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.iam.evaluator import Policy
from karpenter_gpu.policies.controller import Names, controller_policies
from karpenter_gpu.versions import Minor

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/controller"
NODE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/node"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:gpu"
TRUST = json.dumps(
    {"Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}}
)
OWNED = {"kubernetes.io/cluster/gpu": "owned", "eks:eks-cluster-name": "gpu", "karpenter.sh/nodepool": "l4"}


def tags(**changed):
    return [{"Key": key, "Value": value} for key, value in {**OWNED, **changed}.items()]


def documents(without=""):
    names = Names("gpu", "aws", "us-east-1", ACCOUNT, NODE_ROLE, QUEUE)
    made = controller_policies(Minor(1, 14), names)
    for document in made.values():
        document["Statement"] = [one for one in document["Statement"] if one["Sid"] != without]
    return {part: document for part, document in made.items() if document["Statement"]}


class Controller:
    """An account with the controller's role, and clients of the role."""

    def __init__(self, *, without="", boundary=None, controls=()):
        self._aws = EmulatedAws(region="us-east-1", authorize=True, controls=controls)
        self._without, self._boundary = without, boundary

    def __enter__(self):
        aws = self._aws.__enter__()
        self.iam = aws.client("iam")
        for name in ("controller", "node", "admin"):
            self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        for part, document in documents(self._without).items():
            self.iam.put_role_policy(RoleName="controller", PolicyName=part, PolicyDocument=json.dumps(document))
        if self._boundary:
            made = self.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(self._boundary))
            self.iam.put_role_permissions_boundary(RoleName="controller", PermissionsBoundary=made["Policy"]["Arn"])
        aws.client("sqs").create_queue(QueueName="gpu")
        self.root, self.authorization = aws.client, aws.authorization
        return self

    def __exit__(self, *error):
        self._aws.__exit__(*error)

    def client(self, service):
        keys = self._aws.credentials_for(ROLE, "pod")
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return self._aws.client(service, **{name.lower(): keys[name] for name in names})

    def template(self, **changed):
        data = {"InstanceType": "g6.xlarge"}
        kinds = [{"ResourceType": "launch-template", "Tags": tags(**changed)}]
        return self.client("ec2").create_launch_template(
            LaunchTemplateName="gpu-l4", LaunchTemplateData=data, TagSpecifications=kinds
        )

    def denied(self):
        return list(self.authorization.denied)


def profile(controller, role):
    said = [*tags(), {"Key": "karpenter.k8s.aws/ec2nodeclass", "Value": "gpu"}]
    said.append({"Key": "topology.kubernetes.io/region", "Value": "us-east-1"})
    iam = controller.client("iam")
    iam.create_instance_profile(InstanceProfileName="gpu", Tags=said)
    iam.add_role_to_instance_profile(InstanceProfileName="gpu", RoleName=role)


def read(controller):
    url = controller.client("sqs").get_queue_url(QueueName="gpu")["QueueUrl"]
    controller.client("sqs").receive_message(QueueUrl=url)
    controller.client("ec2").describe_subnets()


def test_the_controllers_own_policies_are_enough():
    with Controller() as controller:
        controller.template()
        controller.client("ec2").delete_launch_template(LaunchTemplateName="gpu-l4")
        profile(controller, "node")
        read(controller)
        assert controller.denied() == []
        assert controller.authorization.decided == 7


@pytest.mark.parametrize(
    ("without", "does", "action"),
    [
        ("AllowScopedEC2InstanceActionsWithTags", Controller.template, "ec2:CreateLaunchTemplate"),
        ("AllowScopedResourceCreationTagging", Controller.template, "ec2:CreateTags"),
        ("AllowPassingInstanceRole", lambda one: profile(one, "node"), "iam:PassRole"),
        ("AllowScopedInstanceProfileTagActions", lambda one: profile(one, "node"), "iam:TagInstanceProfile"),
        ("AllowInterruptionQueueActions", read, "sqs:GetQueueUrl"),
        ("AllowRegionalReadActions", read, "ec2:DescribeSubnets"),
    ],
)
def test_a_controller_without_a_statement_is_denied_by_the_name_of_the_action(without, does, action):
    with Controller(without=without) as controller:
        with pytest.raises(ClientError, match=rf"(UnauthorizedOperation|AccessDenied).*not authorized.*{action}"):
            does(controller)
        assert controller.denied()[0].startswith(f"{ROLE} may not {action} on ")


def test_another_clusters_tag_is_denied_with_the_statement_and_its_condition():
    with Controller() as controller:
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            controller.template(**{"eks:eks-cluster-name": "other"})
        (said,) = controller.denied()
        assert "AllowScopedResourceCreationTagging of NodeLifecycle, is not met" in said
        assert said.endswith("StringEquals aws:RequestTag/eks:eks-cluster-name gpu does not hold for other")


def test_an_instance_of_somebody_else_is_not_terminated():
    with Controller() as controller:
        (made,) = controller.root("ec2").run_instances(
            MinCount=1, MaxCount=1, ImageId="ami-12c6146b", InstanceType="g6.xlarge"
        )["Instances"]
        with pytest.raises(ClientError, match="UnauthorizedOperation.*TerminateInstances"):
            controller.client("ec2").terminate_instances(InstanceIds=[made["InstanceId"]])


def test_another_role_is_not_passed():
    with Controller() as controller, pytest.raises(ClientError, match="AccessDenied.*PassRole.*role/admin"):
        profile(controller, "admin")


def test_a_boundary_and_a_service_control_policy_that_are_too_narrow_are_named():
    narrow = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}}
    with Controller(boundary=narrow) as controller, pytest.raises(ClientError, match="the permissions boundary"):
        controller.template()
    denying = {"Sid": "NoTemplates", "Effect": "Deny", "Action": "ec2:CreateLaunchTemplate", "Resource": "*"}
    scp = {"Version": "2012-10-17", "Statement": [denying]}
    denied = pytest.raises(ClientError, match="NoTemplates of the SCP denies it")
    with Controller(controls=[Policy("the SCP", scp)]) as controller:
        read(controller)
        with denied:
            controller.template()


def test_a_call_that_nobody_wrote_down_passes_and_is_counted():
    with Controller() as controller:
        controller.client("kms").list_keys()
        assert controller.authorization.undecided == {"kms:ListKeys": 1}
