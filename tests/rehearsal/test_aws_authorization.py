"""Whether a role may no more than its policies say, with the controller's own policies."""

import contextlib
import json
import uuid

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.iam.evaluator import Policy
from karpenter_gpu.policies.controller import Names, controller_policies
from karpenter_gpu.versions import Minor
from tests.until import until

ACCOUNT = "123456789012"
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


@pytest.fixture(scope="module", autouse=True)
def aws():
    """One account for all: each controller has a role and a queue of its own."""
    with EmulatedAws(region="us-east-1", authorize=True) as made:
        for name in ("node", "admin"):
            made.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        made.client("sqs").create_queue(QueueName="gpu")
        Controller.aws = made
        yield made


class Controller:
    """The controller's role, with the policies of the template, and clients of the role."""

    aws, roots = None, {}

    def __init__(self, *, without="", boundary=None, controls=(), own=None):
        self.authorization, self._clients = self.aws.authorization, {}
        self._without, self._boundary, self._controls = without, boundary, controls
        self._own = documents(without) if own is None else {"own": {"Version": "2012-10-17", "Statement": own}}

    def __enter__(self):
        self.iam, self.name = self.root("iam"), f"controller-{uuid.uuid4().hex[:8]}"
        self.role = self.iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        for part, document in self._own.items():
            self.iam.put_role_policy(RoleName=self.name, PolicyName=part, PolicyDocument=json.dumps(document))
        if self._boundary:
            made = self.iam.create_policy(PolicyName=self.name, PolicyDocument=json.dumps(self._boundary))
            self.iam.put_role_permissions_boundary(RoleName=self.name, PermissionsBoundary=made["Policy"]["Arn"])
        self.authorization.controls = self._controls
        for counted in (self.authorization.denied, self.authorization.undecided, self.authorization.late):
            counted.clear()
        self.authorization.decided = 0
        return self

    def __exit__(self, *_):
        self.authorization.controls = ()

    def client(self, service, **session):
        if session:
            return self._signed(service, self.aws.extensions.roles.assume(self.role, "pod", **session).credentials)
        if service not in self._clients:
            self._clients[service] = self._signed(
                service, self.aws.extensions.roles.assume(self.role, "pod").credentials
            )
        return self._clients[service]

    @classmethod
    def root(cls, service):
        if service not in cls.roots:
            cls.roots[service] = cls.aws.client(service)
        return cls.roots[service]

    def _signed(self, service, made):
        names = {"AccessKeyId": "aws_access_key_id", "SecretAccessKey": "aws_secret_access_key"}
        keys = {name: made[key] for key, name in names.items()}
        return self.aws.client(service, **keys, aws_session_token=made["SessionToken"])

    def template(self, **changed):
        data = {"InstanceType": "g6.xlarge", **changed.pop("data", {})}
        kinds = [{"ResourceType": "launch-template", "Tags": tags(**changed)}]
        return self.client("ec2").create_launch_template(
            LaunchTemplateName=f"gpu-{uuid.uuid4().hex[:8]}", LaunchTemplateData=data, TagSpecifications=kinds
        )["LaunchTemplate"]

    def denied(self):
        return list(self.authorization.denied)


def profile(controller, role, name=""):
    name = name or f"gpu-{uuid.uuid4().hex[:8]}"
    said = [*tags(), {"Key": "karpenter.k8s.aws/ec2nodeclass", "Value": "gpu"}]
    said.append({"Key": "topology.kubernetes.io/region", "Value": "us-east-1"})
    iam = controller.client("iam")
    iam.create_instance_profile(InstanceProfileName=name, Tags=said)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)


def read(controller):
    url = controller.client("sqs").get_queue_url(QueueName="gpu")["QueueUrl"]
    sqs = controller.client("sqs")
    sqs.receive_message(QueueUrl=url)
    controller.client("ec2").describe_subnets()


def launch(controller, *, spot=False, image="ami-12c6146b", **data):
    """A fleet, as Karpenter asks for one; its instance's id."""
    kinds = ("network-interface", "spot-instances-request") if spot else ("network-interface",)
    named = [{"ResourceType": kind, "Tags": tags()} for kind in kinds]
    interface = {"DeviceIndex": 0, "Groups": [group(controller)]}
    data = {"ImageId": image, "TagSpecifications": named, "NetworkInterfaces": [interface], **data}
    template = controller.template(data=data)["LaunchTemplateId"]
    subnet = controller.root("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    made = controller.client("ec2").create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Latest"},
                "Overrides": [{"SubnetId": subnet, "InstanceType": kind} for kind in ("g6.xlarge", "g6.2xlarge")],
            }
        ],
        TargetCapacitySpecification={
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot" if spot else "on-demand",
        },
        TagSpecifications=[{"ResourceType": kind, "Tags": tags()} for kind in ("fleet", "instance", "volume")],
    )
    assert made["Errors"] == []
    return made["Instances"][0]["InstanceIds"][0]


def group(controller):
    return controller.root("ec2").describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]


def life(controller):
    """A node's, from its instance profile to its end."""
    name = f"gpu-{uuid.uuid4().hex[:8]}"
    profile(controller, "node", name)
    iam, ec2 = controller.client("iam"), controller.client("ec2")
    iam.get_instance_profile(InstanceProfileName=name)
    iam.list_instance_profiles()
    for spot in (False, True):
        instance = launch(controller, spot=spot, IamInstanceProfile={"Name": name})
        ec2.create_tags(Resources=[instance], Tags=[{"Key": "Name", "Value": "gpu"}])
        ec2.terminate_instances(InstanceIds=[instance])
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName="node")
    iam.delete_instance_profile(InstanceProfileName=name)


def look_around(controller):
    read(controller)
    with contextlib.suppress(controller.root("ssm").exceptions.ParameterNotFound):
        controller.client("ssm").get_parameter(Name="/aws/service/eks/optimized-ami/1.36/recommended")
    controller.client("pricing").get_products(ServiceCode="AmazonEC2")
    with contextlib.suppress(controller.root("eks").exceptions.ResourceNotFoundException):
        controller.client("eks").describe_cluster(name="gpu")


def test_the_controllers_own_policies_are_enough():
    with Controller() as controller:
        life(controller)
        look_around(controller)
        assert (controller.denied(), controller.authorization.undecided) == ([], {})
        assert controller.authorization.decided == 20


@pytest.mark.parametrize(
    ("without", "does", "action"),
    [
        ("AllowScopedEC2InstanceAccessActions", life, "ec2:CreateFleet"),
        ("AllowScopedEC2LaunchTemplateAccessActions", life, "ec2:CreateFleet"),
        ("AllowScopedEC2InstanceActionsWithTags", life, "ec2:CreateLaunchTemplate"),
        ("AllowScopedResourceCreationTagging", life, "ec2:CreateTags"),
        ("AllowScopedResourceTagging", life, "ec2:CreateTags"),
        ("AllowScopedDeletion", life, "ec2:TerminateInstances"),
        ("AllowPassingInstanceRole", life, "iam:PassRole"),
        ("AllowScopedInstanceProfileCreationActions", life, "iam:CreateInstanceProfile"),
        ("AllowScopedInstanceProfileTagActions", life, "iam:TagInstanceProfile"),
        ("AllowScopedInstanceProfileActions", life, "iam:AddRoleToInstanceProfile"),
        ("AllowUnscopedInstanceProfileListAction", life, "iam:ListInstanceProfiles"),
        ("AllowInstanceProfileReadActions", life, "iam:GetInstanceProfile"),
        ("AllowInterruptionQueueActions", look_around, "sqs:GetQueueUrl"),
        ("AllowRegionalReadActions", look_around, "ec2:DescribeSubnets"),
        ("AllowSSMReadActions", look_around, "ssm:GetParameter"),
        ("AllowPricingReadActions", look_around, "pricing:GetProducts"),
        ("AllowAPIServerEndpointDiscovery", look_around, "eks:DescribeCluster"),
    ],
)
def test_a_controller_without_a_statement_is_denied_by_the_name_of_the_action(without, does, action):
    with Controller(without=without) as controller:
        with pytest.raises(ClientError, match=rf"(UnauthorizedOperation|AccessDenied).*not authorized.*{action}"):
            does(controller)
        assert controller.denied()[0].startswith(f"{controller.role} may not {action} on ")


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
    with Controller(boundary=narrow) as controller:
        with pytest.raises(ClientError, match="because no permissions boundary allows the ec2:CreateTags action"):
            controller.template()
        assert controller.denied()[0].endswith("no statement of the permissions boundary allows ec2:CreateTags")
    denying = {"Sid": "NoTemplates", "Effect": "Deny", "Action": "ec2:CreateLaunchTemplate", "Resource": "*"}
    scp = {"Version": "2012-10-17", "Statement": [denying]}
    with Controller(controls=[Policy("the SCP", scp)]) as controller:
        read(controller)
        with pytest.raises(ClientError, match="with an explicit deny in a service control policy"):
            controller.template()
        assert controller.denied()[0].endswith("NoTemplates of the SCP denies it")


def test_a_denial_of_ec2_has_a_message_that_sts_decodes():
    with Controller(without="AllowScopedEC2InstanceActionsWithTags") as controller:
        with pytest.raises(ClientError) as denied:
            controller.template()
        message = str(denied.value).rpartition("failure message: ")[2]
        decoded = controller.root("sts").decode_authorization_message(EncodedMessage=message)["DecodedMessage"]
        context = json.loads(decoded)["context"]
        assert (context["action"], context["principal"]["arn"]) == (
            "ec2:CreateLaunchTemplate",
            f"arn:aws:sts::{ACCOUNT}:assumed-role/{controller.name}/pod",
        )


ANY = {"Effect": "Allow", "Action": "sns:ListTopics", "Resource": "*"}
OTHER = {**ANY, "Action": "logs:*"}
ONE = {**ANY, "Action": "sns:*", "Resource": "arn:aws:sns:*:*:mine"}
TAGGED = {**ANY, "Action": "*", "Condition": {"StringEquals": {"aws:ResourceTag/team": "gpu"}}}
HOME = {**ANY, "Action": "*", "Condition": {"StringEquals": {"aws:RequestedRegion": "us-east-1"}}}
ABROAD = {**HOME, "Effect": "Deny", "Condition": {"StringNotEquals": {"aws:RequestedRegion": "us-east-1"}}}


@pytest.mark.parametrize(
    ("statements", "counted"),
    [
        ([ANY], "decided"),
        ([HOME], "decided"),
        ([HOME, ABROAD], "decided"),
        ([{**ANY, "Effect": "Deny"}, HOME], "denied"),
        ([OTHER], "denied"),
        ([ONE], "undecided"),
        ([TAGGED], "undecided"),
        ([HOME, {**TAGGED, "Effect": "Deny"}], "undecided"),
    ],
)
def test_a_call_that_nobody_wrote_down_is_decided_where_its_resource_and_keys_do_not_matter(statements, counted):
    with Controller(own=statements) as controller:
        with pytest.raises(ClientError) if counted == "denied" else contextlib.nullcontext():
            controller.client("sns").list_topics()
        seen = controller.authorization
        assert (sum(seen.undecided.values()), len(seen.denied)) == (counted == "undecided", counted == "denied")


def test_what_is_not_decided_passes_and_is_named():
    with Controller(own=[TAGGED]) as controller:
        controller.client("sns").list_topics()
        assert controller.authorization.undecided == {"sns:ListTopics": 1}


G6_ONLY = {
    "Sid": "SmallOnes",
    "Effect": "Deny",
    "Action": "ec2:RunInstances",
    "Resource": "arn:aws:ec2:*:*:instance/*",
    "Condition": {"StringNotEquals": {"ec2:InstanceType": ["g6.xlarge"]}},
}


def test_a_control_on_instance_types_denies_a_fleet_that_may_take_no_other():
    with Controller(controls=[Policy("the SCP", {"Version": "2012-10-17", "Statement": [G6_ONLY]})]) as controller:
        assert launch(controller).startswith("i-")
    none = {**G6_ONLY, "Condition": {"StringNotEquals": {"ec2:InstanceType": ["p5.48xlarge"]}}}
    with Controller(controls=[Policy("the SCP", {"Version": "2012-10-17", "Statement": [none]})]) as controller:
        with pytest.raises(ClientError, match="with an explicit deny in a service control policy"):
            launch(controller)
        assert controller.denied()[0].endswith("SmallOnes of the SCP denies it")


@pytest.mark.parametrize("lets_in", [True, False])
def test_volumes_under_a_key_need_the_keys_policy_and_the_controllers(lets_in):
    with Controller() as controller:
        kms = controller.root("kms")
        who = f"arn:aws:iam::{ACCOUNT}:root" if lets_in else f"arn:aws:iam::{ACCOUNT}:role/admin"
        key = {"Sid": "Iam", "Effect": "Allow", "Principal": {"AWS": who}, "Action": "kms:*", "Resource": "*"}
        made = kms.create_key(Policy=json.dumps({"Version": "2012-10-17", "Statement": [key]}))["KeyMetadata"]["Arn"]
        uses = ["kms:CreateGrant", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"]
        through = {"StringLike": {"kms:ViaService": "ec2.us-east-1.amazonaws.com*"}}
        own = [{"Effect": "Allow", "Action": uses, "Resource": made, "Condition": through}]
        document = json.dumps({"Version": "2012-10-17", "Statement": own})
        blocks = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 80, "Encrypted": True, "KmsKeyId": made}}]
        with pytest.raises(ClientError, match="kms:DescribeKey"):
            launch(controller, BlockDeviceMappings=blocks)
        controller.iam.put_role_policy(RoleName=controller.name, PolicyName="key", PolicyDocument=document)
        if lets_in:
            assert launch(controller, BlockDeviceMappings=blocks)
            return
        with pytest.raises(ClientError, match="because no resource-based policy allows the kms:DescribeKey action"):
            launch(controller, BlockDeviceMappings=blocks)


def test_a_bucket_is_written_to_by_whom_its_policy_lets_and_the_role_allows():
    def statement(effect, principal, action, **more):
        where = ["arn:aws:s3:::assets", "arn:aws:s3:::assets/*"]
        return {"Effect": effect, "Principal": principal, "Action": action, "Resource": where, **more}

    plain = {"Bool": {"aws:SecureTransport": "false"}}
    own = [{"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetBucketLocation"], "Resource": "arn:aws:s3:::assets*"}]
    with Controller(own=own) as controller:
        root = controller.root("s3")
        root.create_bucket(Bucket="assets")
        said = [statement("Deny", "*", "s3:*", Condition=plain)]
        root.put_bucket_policy(Bucket="assets", Policy=json.dumps({"Version": "2012-10-17", "Statement": said}))
        client = controller.client("s3")
        client.get_bucket_location(Bucket="assets")
        client.put_object(Bucket="assets", Key="one", Body=b"1")
        upload = client.create_multipart_upload(Bucket="assets", Key="two")["UploadId"]
        part = client.upload_part(Bucket="assets", Key="two", UploadId=upload, PartNumber=1, Body=b"2")["ETag"]
        parts = {"Parts": [{"ETag": part, "PartNumber": 1}]}
        client.complete_multipart_upload(Bucket="assets", Key="two", UploadId=upload, MultipartUpload=parts)
        with pytest.raises(ClientError, match="s3:ListBucket on resource: arn:aws:s3:::assets because"):
            client.list_objects_v2(Bucket="assets")
        with pytest.raises(ClientError, match="s3:GetEncryptionConfiguration"):
            client.get_bucket_encryption(Bucket="assets")
        said += [statement("Deny", {"AWS": controller.role}, "s3:PutObject")]
        root.put_bucket_policy(Bucket="assets", Policy=json.dumps({"Version": "2012-10-17", "Statement": said}))
        with pytest.raises(ClientError, match="with an explicit deny in a resource-based policy"):
            client.put_object(Bucket="assets", Key="one", Body=b"1")


def test_an_oidc_provider_is_made_by_its_url_and_goes_by_its_mark():
    own = [
        {"Effect": "Allow", "Action": ["iam:CreateOpenIDConnectProvider", "iam:TagOpenIDConnectProvider"],
         "Resource": f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example/id/A*"},
        {"Effect": "Allow", "Action": "iam:DeleteOpenIDConnectProvider", "Resource": "*",
         "Condition": {"StringEquals": {"aws:ResourceTag/mark": "mine"}}},
    ]  # fmt: skip
    with Controller(own=own) as controller:
        iam = controller.client("iam")
        for url, tag, gone in (("A1", "mine", True), ("A2", "other", False)):
            told = {"Url": f"https://oidc.example/id/{url}", "ThumbprintList": ["0" * 40]}
            made = iam.create_open_id_connect_provider(**told, Tags=[{"Key": "mark", "Value": tag}])
            denied = pytest.raises(ClientError, match="no identity-based policy allows")
            with contextlib.nullcontext() if gone else denied:
                iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=made["OpenIDConnectProviderArn"])
        with pytest.raises(
            ClientError, match="iam:CreateOpenIDConnectProvider on resource: .*oidc-provider/oidc.example/id/B"
        ):
            iam.create_open_id_connect_provider(Url="https://oidc.example/id/B", ThumbprintList=["0" * 40])
        assert controller.authorization.undecided == {}


EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def test_a_role_that_trusts_the_account_is_assumed_by_whose_own_policies_allow_it():
    trusts = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    own = [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]
    for policies, allowed in ((own, True), ([{**own[0], "Action": "sns:*"}], False)):
        with Controller(own=policies) as controller:
            name = f"trusting-{uuid.uuid4().hex[:8]}"
            made = controller.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": trusts}))
            wanted = {"RoleArn": made["Role"]["Arn"], "RoleSessionName": "me"}
            denied = pytest.raises(ClientError, match="no identity-based policy allows the sts:AssumeRole action")
            with contextlib.nullcontext() if allowed else denied:
                assert controller.client("sts").assume_role(**wanted)


def test_a_sessions_policy_limits_it_and_its_tags_are_the_principals():
    tagged = {**EVERYTHING, "Condition": {"StringEquals": {"aws:PrincipalTag/team": "gpu"}}}
    narrow = json.dumps({"Version": "2012-10-17", "Statement": [{**EVERYTHING, "Action": "sqs:*"}]})
    with Controller(own=[tagged]) as controller:
        controller.client("sns", tags={"team": "gpu"}).list_topics()
        with pytest.raises(ClientError, match="AuthorizationError|AccessDenied"):
            controller.client("sns").list_topics()
        with pytest.raises(ClientError, match="no session policy allows"):
            controller.client("sns", tags={"team": "gpu"}, policies=[narrow]).list_topics()


def test_a_users_policies_and_its_groups_count(aws):
    iam = aws.client("iam")
    iam.create_user(UserName="eve")
    key = iam.create_access_key(UserName="eve")["AccessKey"]
    keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    with pytest.raises(ClientError, match="user/eve is not authorized to perform: ec2:DescribeVpcs"):
        aws.client("ec2", **keys).describe_vpcs()
    iam.create_group(GroupName="lookers")
    document = json.dumps({"Version": "2012-10-17", "Statement": [{**EVERYTHING, "Action": "ec2:Describe*"}]})
    iam.put_group_policy(GroupName="lookers", PolicyName="look", PolicyDocument=document)
    iam.add_user_to_group(GroupName="lookers", UserName="eve")
    assert aws.client("ec2", **keys).describe_vpcs()["Vpcs"]


def test_what_a_front_answers_is_decided_too(aws):
    seen = []

    class Front:
        def matches(self, environ, service, action):
            return (service, action) == ("lambda", "Invoke")

        def __call__(self, environ, start_response):
            seen.append(environ["PATH_INFO"])
            start_response("200 OK", [])
            return [b"{}"]

    aws.fronts.append(Front())
    mine = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "arn:aws:lambda:*:*:function:mine"}
    with Controller(own=[mine]) as controller:
        controller.client("lambda").invoke(FunctionName="mine")
        with pytest.raises(ClientError, match="lambda:InvokeFunction on resource: .*:function:other because"):
            controller.client("lambda").invoke(FunctionName="other")
    aws.fronts.clear()
    assert len(seen) == 1


def test_what_changes_counts_after_it_has_spread():
    with Controller(own=[{**EVERYTHING, "Action": "sqs:*"}]) as controller:
        controller.authorization.spread = 60.0
        try:
            document = json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]})
            controller.iam.put_role_policy(RoleName=controller.name, PolicyName="more", PolicyDocument=document)
            client = controller.client("ec2")
            with pytest.raises(ClientError, match="UnauthorizedOperation"):
                client.describe_vpcs()
            assert (controller.denied(), sum(controller.authorization.late.values())) == ([], 1)
            controller.authorization.spread = 0.1
            assert until(lambda: succeeds(client.describe_vpcs), seconds=5)
        finally:
            controller.authorization.spread = 0.0


def succeeds(call):
    try:
        return bool(call())
    except ClientError:
        return False
