"""Every resource type against moto, in process: what the emulated service holds after each step is what counts.

moto has no EKS add-ons, access entries, Pod Identity associations or updates: those are held against a recorder of requests.
"""

import importlib.util
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from moto import mock_aws

from eks_rehearsal.cloudformation.nested import NestedStacks
from eks_rehearsal.cloudformation.resource import Context, HalfMade, Made
from eks_rehearsal.cloudformation.types import TYPES, calls
from eks_rehearsal.cloudformation.types.eks import LOGS
from eks_rehearsal.errors import NotEmulated, RehearsalError
from tests.shapes import ROOT, SHAPES, synthesized

ACCOUNT = "123456789012"
REGION = "eu-west-1"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]}
DENY = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "ec2:Describe*", "Resource": "*"}]}
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"})


def session():
    return boto3.Session("access", "secret", region_name=REGION)


# Reading the services' models takes longer than the calls do.
SESSION = session()


class Body(io.BytesIO):
    def stream(self, **_):
        yield self.getvalue()


@dataclass
class Stack:
    """What the engine does with a type, without the engine."""

    session: boto3.Session
    properties: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def client(self, service):
        return self.context("").client(service)

    def context(self, name):
        return Context(self.session, None, ACCOUNT, "aws", "Stack", "arn:stack", name)

    def make(self, kind, name=None, **properties):
        name = name or kind.rsplit("::", 1)[1]
        TYPES[kind].check(name, properties)
        self.made[name] = TYPES[kind].create(self.context(name), properties)
        self.kinds[name], self.properties[name] = kind, properties
        return self.made[name]

    def change(self, name, **properties):
        """To these properties, None being those that go."""
        new = {key: value for key, value in {**self.properties[name], **properties}.items() if value is not None}
        kind = TYPES[self.kinds[name]]
        assert not kind.replaces(self.properties[name], new)
        self.made[name] = kind.update(self.context(name), self.made[name].id, self.properties[name], new)
        self.properties[name] = new
        return self.made[name]

    def delete(self, name):
        TYPES[self.kinds[name]].delete(self.context(name), self.made[name].id, self.properties[name])

    def delete_all(self):
        for name in reversed(self.made):
            self.delete(name)
            # Again: what is gone is no error.
            self.delete(name)


@pytest.fixture
def stack(monkeypatch):
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    monkeypatch.setattr(calls, "PATIENCE", 2.0)
    monkeypatch.setattr(calls, "POLL", 0.001)
    with mock_aws():
        yield Stack(SESSION)


def vpc(stack):
    return stack.make("AWS::EC2::VPC", CidrBlock="10.0.0.0/16").id


def subnet(stack, **properties):
    made = {"VpcId": vpc(stack), "CidrBlock": "10.0.0.0/24", "AvailabilityZone": f"{REGION}a"}
    return stack.make("AWS::EC2::Subnet", **(made | properties)).id


def security_group(stack, name="Group", **properties):
    where = stack.made["VPC"].id if "VPC" in stack.made else vpc(stack)
    return stack.make("AWS::EC2::SecurityGroup", name, VpcId=where, GroupDescription="nodes", **properties).id


def instance(stack, **network):
    ec2 = stack.client("ec2")
    image = ec2.register_image(Name="al2023")["ImageId"]
    launched = ec2.run_instances(MinCount=1, MaxCount=1, ImageId=image, **network)
    return launched["Instances"][0]["InstanceId"]


def role(stack, name="Role", **properties):
    return stack.make("AWS::IAM::Role", name, AssumeRolePolicyDocument=TRUST, **properties)


def code(stack, key="code.zip", text="x = 1"):
    """A program in a bucket, as the CDK publishes it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", text)
    s3 = stack.client("s3")
    if not s3.list_buckets()["Buckets"]:
        s3.create_bucket(Bucket="assets", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="assets", Key=key, Body=packed.getvalue())
    return {"S3Bucket": "assets", "S3Key": key}


def tags(listed):
    return {tag["Key"]: tag["Value"] for tag in listed}


STACK_TAGS = {"aws:cloudformation:stack-name": "Stack", "aws:cloudformation:stack-id": "arn:stack"}


# The network


def test_a_vpc_has_its_dns_its_tags_and_those_of_the_stack(stack):
    made = stack.make(
        "AWS::EC2::VPC", CidrBlock="10.0.0.0/16", EnableDnsHostnames="true", Tags=[{"Key": "a", "Value": "b"}]
    )
    ec2 = stack.client("ec2")
    (found,) = ec2.describe_vpcs(VpcIds=[made.id])["Vpcs"]
    assert found["CidrBlock"] == "10.0.0.0/16" == made.attributes["CidrBlock"]
    assert tags(found["Tags"]) == {"a": "b", "aws:cloudformation:logical-id": "VPC", **STACK_TAGS}

    def hostnames():
        return ec2.describe_vpc_attribute(VpcId=made.id, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]

    assert hostnames()
    stack.change("VPC", EnableDnsHostnames=None, Tags=[{"Key": "c", "Value": 1}])
    assert not hostnames()
    (found,) = ec2.describe_vpcs(VpcIds=[made.id])["Vpcs"]
    assert tags(found["Tags"]) == {"c": "1", "aws:cloudformation:logical-id": "VPC", **STACK_TAGS}
    stack.delete_all()
    assert made.id not in [left["VpcId"] for left in ec2.describe_vpcs()["Vpcs"]]


def test_a_vpcs_ipv6_blocks_are_those_it_has_when_asked(stack):
    made = stack.make("AWS::EC2::VPC", CidrBlock="10.0.0.0/16")
    assert made.attributes["Ipv6CidrBlocks"] == []
    stack.make("AWS::EC2::VPCCidrBlock", VpcId=made.id, AmazonProvidedIpv6CidrBlock=True)
    (block,) = made.attributes["Ipv6CidrBlocks"]
    assert block.endswith("/56")
    stack.delete("VPCCidrBlock")
    assert made.attributes["Ipv6CidrBlocks"] == []


def test_what_a_vpc_answers_stands_in_ec2(stack):
    made = stack.make("AWS::EC2::VPC", CidrBlock="10.0.0.0/16")
    ec2 = stack.client("ec2")
    (group,) = ec2.describe_security_groups(GroupIds=[made.attributes["DefaultSecurityGroup"]])["SecurityGroups"]
    (acl,) = ec2.describe_network_acls(NetworkAclIds=[made.attributes["DefaultNetworkAcl"]])["NetworkAcls"]
    assert (group["VpcId"], group["GroupName"], acl["VpcId"]) == (made.id, "default", made.id)


def test_a_public_subnet_routes_to_the_internet_and_a_private_one_through_nat(stack):
    public = subnet(stack, MapPublicIpOnLaunch="true")
    where = stack.made["VPC"].id
    internet = stack.make("AWS::EC2::InternetGateway").id
    stack.make("AWS::EC2::VPCGatewayAttachment", VpcId=where, InternetGatewayId=internet)
    table = stack.make("AWS::EC2::RouteTable", VpcId=where).id
    stack.make("AWS::EC2::SubnetRouteTableAssociation", SubnetId=public, RouteTableId=table)
    route = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    stack.make("AWS::EC2::Route", **route, GatewayId=internet)
    address = stack.make("AWS::EC2::EIP", Domain="vpc")
    gateway = stack.make("AWS::EC2::NatGateway", SubnetId=public, AllocationId=address.attributes["AllocationId"])
    ec2 = stack.client("ec2")
    assert ec2.describe_addresses()["Addresses"][0]["PublicIp"] == address.id
    (found,) = ec2.describe_nat_gateways()["NatGateways"]
    assert (found["NatGatewayId"], found["SubnetId"], found["State"]) == (gateway.id, public, "available")
    assert ec2.describe_subnets(SubnetIds=[public])["Subnets"][0]["MapPublicIpOnLaunch"]

    def routed():
        (shown,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        assert [part["SubnetId"] for part in shown["Associations"]] == [public]
        return next(route for route in shown["Routes"] if route["DestinationCidrBlock"] == "0.0.0.0/0")

    assert routed()["GatewayId"] == internet
    stack.properties["Route"] = route
    stack.change("Route", NatGatewayId=gateway.id)
    assert routed()["NatGatewayId"] == gateway.id

    with pytest.raises(RehearsalError, match=f"Network {where} has some mapped public address.*{gateway.id}"):
        stack.delete("VPCGatewayAttachment")
    with pytest.raises(RehearsalError, match=f"InvalidIPAddress.InUse.*{address.id}.*{gateway.id}"):
        stack.delete("EIP")
    with pytest.raises(RehearsalError, match=f"DependencyViolation.*subnet '{public}'.*{gateway.id}"):
        stack.delete("Subnet")
    with pytest.raises(RehearsalError, match=f"DependencyViolation.*vpc '{where}'.*{internet}"):
        stack.delete("VPC")
    stack.delete_all()
    assert ec2.describe_addresses()["Addresses"] == ec2.describe_network_interfaces()["NetworkInterfaces"] == []


def test_ipv6_leaves_through_an_egress_only_gateway(stack):
    where = vpc(stack)
    gateway = stack.make("AWS::EC2::EgressOnlyInternetGateway", VpcId=where)
    table = stack.make("AWS::EC2::RouteTable", VpcId=where).id
    made = stack.make(
        "AWS::EC2::Route",
        RouteTableId=table,
        DestinationIpv6CidrBlock="::/0",
        EgressOnlyInternetGatewayId=gateway.attributes["Id"],
    )
    (shown,) = stack.client("ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"]
    assert gateway.id in [route.get("EgressOnlyInternetGatewayId") for route in shown["Routes"]]
    assert (made.id, made.attributes) == (f"{table}|::/0", {"CidrBlock": "::/0"})
    stack.delete_all()


def test_aws_is_reached_through_endpoints_which_hold_their_vpc(stack):
    within = subnet(stack)
    where, group = stack.made["VPC"].id, security_group(stack)
    stack.change("VPC", EnableDnsHostnames="true")
    service = {"VpcId": where, "ServiceName": "com.amazonaws.eu-west-1.sts", "VpcEndpointType": "Interface"}
    how = {"SubnetIds": [within], "SecurityGroupIds": [group], "PrivateDnsEnabled": "true"}
    interface = stack.make("AWS::EC2::VPCEndpoint", "Sts", **service, **how)
    assert len(interface.attributes["NetworkInterfaceIds"]) == 1
    table = stack.make("AWS::EC2::RouteTable", VpcId=where).id
    s3 = {"VpcId": where, "ServiceName": "com.amazonaws.eu-west-1.s3", "RouteTableIds": [table]}
    gateway = stack.make("AWS::EC2::VPCEndpoint", "S3", **s3)
    for name in ("VPC", "Group", "Subnet"):
        with pytest.raises(RehearsalError, match="DependencyViolation"):
            stack.delete(name)
    with pytest.raises(RehearsalError, match="already a conflicting DNS domain for com.amazonaws.eu-west-1.sts"):
        stack.make("AWS::EC2::VPCEndpoint", "Again", **service, **how)
    stack.change("S3", PolicyDocument={"Statement": []}, Tags=[{"Key": "a", "Value": "b"}])
    shown = stack.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[gateway.id])["VpcEndpoints"][0]
    assert (json.loads(shown["PolicyDocument"]), tags(shown["Tags"])["a"]) == ({"Statement": []}, "b")
    stack.delete_all()


def test_an_endpoint_with_private_dns_needs_a_vpc_that_names_hosts(stack):
    within = subnet(stack)
    with pytest.raises(RehearsalError, match="requires both enableDnsSupport and enableDnsHostnames"):
        stack.make(
            "AWS::EC2::VPCEndpoint",
            VpcId=stack.made["VPC"].id,
            ServiceName="com.amazonaws.eu-west-1.sts",
            VpcEndpointType="Interface",
            SubnetIds=[within],
            PrivateDnsEnabled="true",
        )


def test_a_security_group_lets_out_what_the_template_says_and_no_more(stack):
    id = security_group(
        stack, SecurityGroupEgress=[{"IpProtocol": "tcp", "FromPort": 443, "ToPort": "443", "CidrIp": "10.0.0.0/8"}]
    )
    ec2 = stack.client("ec2")

    def egress():
        (group,) = ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"]
        return {
            (rule["IpProtocol"], part["CidrIp"]) for rule in group["IpPermissionsEgress"] for part in rule["IpRanges"]
        }

    assert egress() == {("tcp", "10.0.0.0/8")}
    stack.change("Group", SecurityGroupEgress=[{"IpProtocol": "-1", "CidrIp": "10.1.0.0/16", "Description": "all"}])
    assert egress() == {("-1", "10.1.0.0/16")}
    stack.change("Group", SecurityGroupEgress=None)
    assert egress() == {("-1", "0.0.0.0/0")}
    assert TYPES["AWS::EC2::SecurityGroup"].replaces({"GroupDescription": "a"}, {"GroupDescription": "b"})


def test_a_group_keeps_the_rules_of_other_resources_when_its_own_change(stack):
    id = security_group(stack)
    rule = stack.make(
        "AWS::EC2::SecurityGroupIngress",
        GroupId=id,
        IpProtocol="-1",
        SourceSecurityGroupId=id,
        Description="each other",
    )
    assert rule.id.startswith("sgr-")
    stack.change(
        "Group", SecurityGroupIngress=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "10.0.0.0/8"}]
    )
    ec2 = stack.client("ec2")

    def ingress():
        return {
            rule["IpProtocol"]
            for rule in ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"][0]["IpPermissions"]
        }

    assert ingress() == {"-1", "tcp"}
    stack.delete("SecurityGroupIngress")
    assert ingress() == {"tcp"}
    stack.delete_all()


def test_a_group_that_another_ones_rule_names_stays(stack):
    one = security_group(stack, "One")
    two = security_group(stack, "Two")
    stack.make("AWS::EC2::SecurityGroupIngress", GroupId=two, IpProtocol="-1", SourceSecurityGroupId=one)
    with pytest.raises(RehearsalError, match=f"DependencyViolation.*resource {one} has a dependent object.*{two}"):
        stack.delete("One")
    stack.delete_all()


def test_what_an_instance_is_in_stays_until_it_is_terminated(stack):
    where = subnet(stack)
    group = security_group(stack)
    running = instance(stack, SubnetId=where, SecurityGroupIds=[group])
    for name in ("Subnet", "Group", "VPC"):
        with pytest.raises(RehearsalError, match=rf"DependencyViolation.*{running}"):
            stack.delete(name)
    stack.client("ec2").terminate_instances(InstanceIds=[running])
    stack.delete_all()


def test_a_public_instance_holds_the_internet_gateway(stack):
    where = subnet(stack, MapPublicIpOnLaunch=True)
    internet = stack.make("AWS::EC2::InternetGateway").id
    stack.make("AWS::EC2::VPCGatewayAttachment", VpcId=stack.made["VPC"].id, InternetGatewayId=internet)
    running = instance(stack, SubnetId=where)
    with pytest.raises(RehearsalError, match=f"mapped public address.*{running}"):
        stack.delete("VPCGatewayAttachment")
    stack.client("ec2").terminate_instances(InstanceIds=[running])
    stack.delete_all()


def test_a_changed_launch_template_is_a_new_version(stack):
    def data(size):
        return {
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": "1"},
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": size, "Encrypted": "true"}}],
        }

    made = stack.make("AWS::EC2::LaunchTemplate", LaunchTemplateData=data("50"))
    assert made.attributes["LatestVersionNumber"] == "1"
    changed = stack.change("LaunchTemplate", LaunchTemplateData=data(80))
    assert (changed.id, changed.attributes["LatestVersionNumber"]) == (made.id, "2")
    assert changed.attributes["DefaultVersionNumber"] == "1"
    versions = stack.client("ec2").describe_launch_template_versions(LaunchTemplateId=made.id)["LaunchTemplateVersions"]
    sizes = {
        version["VersionNumber"]: version["LaunchTemplateData"]["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]
        for version in versions
    }
    assert sizes == {1: 50, 2: 80}
    stack.delete_all()
    assert stack.client("ec2").describe_launch_templates()["LaunchTemplates"] == []


def test_a_flow_log_writes_to_its_group(stack):
    arn = role(stack).attributes["Arn"]
    group = stack.make("AWS::Logs::LogGroup").id
    stack.make(
        "AWS::EC2::FlowLog",
        ResourceId=vpc(stack),
        ResourceType="VPC",
        TrafficType="REJECT",
        LogDestinationType="cloud-watch-logs",
        LogGroupName=group,
        DeliverLogsPermissionArn=arn,
        Tags=[{"Key": "a", "Value": "b"}],
    )
    ec2 = stack.client("ec2")
    (found,) = ec2.describe_flow_logs()["FlowLogs"]
    assert (found["ResourceId"], found["LogGroupName"], found["TrafficType"]) == (stack.made["VPC"].id, group, "REJECT")
    assert tags(found["Tags"])["a"] == "b"
    stack.delete_all()
    assert ec2.describe_flow_logs()["FlowLogs"] == []


# IAM


@pytest.mark.parametrize("trust", [TRUST, json.dumps(TRUST)], ids=["object", "text"])
def test_a_role_is_what_its_properties_say_through_its_whole_life(stack, trust):
    boundary, one, other = (
        stack.make("AWS::IAM::ManagedPolicy", name, PolicyDocument=ALLOW).id for name in ("Boundary", "One", "Other")
    )
    made = stack.make(
        "AWS::IAM::Role",
        RoleName="nodes",
        Path="/platform/",
        AssumeRolePolicyDocument=trust,
        Description="of nodes",
        ManagedPolicyArns=[one],
        Policies=[{"PolicyName": "own", "PolicyDocument": ALLOW}],
        PermissionsBoundary=boundary,
        Tags=[{"Key": "a", "Value": "b"}],
    )
    assert (made.id, made.attributes["Arn"]) == ("nodes", f"arn:aws:iam::{ACCOUNT}:role/platform/nodes")
    iam = stack.client("iam")

    def held():
        shown = iam.get_role(RoleName="nodes")["Role"]
        attached = iam.list_attached_role_policies(RoleName="nodes")["AttachedPolicies"]
        own = {key: value for key, value in tags(shown["Tags"]).items() if not key.startswith("aws:")}
        assert shown["AssumeRolePolicyDocument"] == TRUST
        return (
            [policy["PolicyArn"] for policy in attached],
            iam.list_role_policies(RoleName="nodes")["PolicyNames"],
            shown.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
            shown["Description"],
            own,
        )

    assert held() == ([one], ["own"], boundary, "of nodes", {"a": "b"})
    stack.change(
        "Role",
        ManagedPolicyArns=[other],
        Policies=[{"PolicyName": "other", "PolicyDocument": ALLOW}],
        PermissionsBoundary=None,
        Description="other",
        Tags=None,
    )
    assert held() == ([other], ["other"], None, "other", {})
    stack.delete_all()
    with pytest.raises(ClientError, match="NoSuchEntity"):
        iam.get_role(RoleName="nodes")


def test_a_role_that_others_gave_a_policy_to_or_put_in_a_profile_stays(stack):
    role(stack, RoleName="nodes")
    policy = stack.make("AWS::IAM::ManagedPolicy", PolicyDocument=ALLOW).id
    iam = stack.client("iam")
    iam.attach_role_policy(RoleName="nodes", PolicyArn=policy)
    with pytest.raises(ClientError, match=r"DeleteConflict.*must detach all policies first"):
        stack.delete("Role")
    iam.detach_role_policy(RoleName="nodes", PolicyArn=policy)
    iam.create_instance_profile(InstanceProfileName="karpenter")
    iam.add_role_to_instance_profile(InstanceProfileName="karpenter", RoleName="nodes")
    with pytest.raises(ClientError, match=r"DeleteConflict.*must remove roles from instance profile first"):
        stack.delete("Role")


def test_a_policy_lies_in_the_roles_it_is_for(stack):
    one, two = role(stack, "One").id, role(stack, "Two").id
    stack.make("AWS::IAM::Policy", PolicyName="queue", PolicyDocument=ALLOW, Roles=[one])
    iam = stack.client("iam")

    def documents():
        return {
            (name, policy): iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            for name in (one, two)
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
        }

    assert documents() == {(one, "queue"): ALLOW}
    stack.change("Policy", PolicyDocument=DENY, Roles=[two])
    assert documents() == {(two, "queue"): DENY}
    stack.change("Policy", PolicyName="other")
    assert documents() == {(two, "other"): DENY}
    stack.delete("Policy")
    assert documents() == {}
    stack.delete_all()


def test_an_instance_profile_carries_its_role_and_then_another(stack):
    one, two = role(stack, "One").id, role(stack, "Two").id
    made = stack.make("AWS::IAM::InstanceProfile", Roles=[one])
    iam = stack.client("iam")

    def carried():
        profile = iam.get_instance_profile(InstanceProfileName=made.id)["InstanceProfile"]
        assert profile["Arn"] == made.attributes["Arn"]
        return [each["RoleName"] for each in profile["Roles"]]

    assert carried() == [one]
    stack.change("InstanceProfile", Roles=[two])
    assert carried() == [two]
    stack.delete_all()
    with pytest.raises(ClientError, match="NoSuchEntity"):
        carried()


def test_a_managed_policy_is_attached_changed_and_let_go_with_its_versions(stack):
    one, two = role(stack, "One").id, role(stack, "Two").id
    arn = stack.make("AWS::IAM::ManagedPolicy", PolicyDocument=ALLOW, Roles=[one], Description="x").id
    iam = stack.client("iam")

    def held():
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        version = iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
        holders = iam.list_entities_for_policy(PolicyArn=arn)["PolicyRoles"]
        return version["Document"], {holder["RoleName"] for holder in holders}

    assert held() == (ALLOW, {one})
    for document in (DENY, ALLOW, DENY, ALLOW, DENY, ALLOW, DENY):
        stack.change("ManagedPolicy", PolicyDocument=document, Roles=[two])
        assert held() == (document, {two})
    iam.attach_role_policy(RoleName=one, PolicyArn=arn)
    with pytest.raises(RehearsalError, match=f"DeleteConflict.*Cannot delete a policy attached to entities.*{one}"):
        stack.delete("ManagedPolicy")
    iam.detach_role_policy(RoleName=one, PolicyArn=arn)
    stack.delete_all()


def test_the_identity_provider_of_a_cluster(stack):
    arn = stack.make("AWS::IAM::OIDCProvider", Url="https://oidc.example/id/A", ClientIdList=["sts.amazonaws.com"]).id
    iam = stack.client("iam")

    def held():
        return iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)

    assert (held()["Url"], held()["ClientIDList"]) == ("oidc.example/id/A", ["sts.amazonaws.com"])
    # moto cannot change the clients of one, and says so.
    stack.change("OIDCProvider", ThumbprintList=["0" * 40], Tags=[{"Key": "a", "Value": "b"}])
    assert held()["ThumbprintList"] == ["0" * 40]
    assert tags(held()["Tags"])["a"] == "b"
    stack.delete_all()
    with pytest.raises(ClientError, match="NoSuchEntity"):
        held()


# Queues, events, logs, keys, parameters, repositories and buckets


def test_a_queue_takes_its_attributes_as_text_and_its_policy_with_it(stack):
    other = stack.make("AWS::SQS::Queue", "Dead")
    made = stack.make(
        "AWS::SQS::Queue",
        MessageRetentionPeriod=300,
        SqsManagedSseEnabled=True,
        RedrivePolicy={"deadLetterTargetArn": other.attributes["Arn"], "maxReceiveCount": 3},
    )
    statement = ALLOW["Statement"][0] | {"Principal": "*", "Action": "sqs:SendMessage"}
    stack.make("AWS::SQS::QueuePolicy", Queues=[made.id], PolicyDocument=ALLOW | {"Statement": [statement]})
    sqs = stack.client("sqs")

    def attributes():
        return sqs.get_queue_attributes(QueueUrl=made.id, AttributeNames=["All"])["Attributes"]

    held = attributes()
    assert (held["QueueArn"], held["MessageRetentionPeriod"]) == (made.attributes["Arn"], "300")
    assert json.loads(held["RedrivePolicy"])["maxReceiveCount"] == 3
    assert json.loads(held["Policy"])["Statement"] == [statement]
    assert sqs.list_queue_tags(QueueUrl=made.id)["Tags"].items() >= STACK_TAGS.items()
    stack.change("Queue", MessageRetentionPeriod=None, VisibilityTimeout="60")
    assert (attributes()["MessageRetentionPeriod"], attributes()["VisibilityTimeout"]) == ("345600", "60")
    stack.delete("QueuePolicy")
    assert "Policy" not in attributes()
    stack.delete_all()
    assert "QueueUrls" not in sqs.list_queues()


def test_a_rule_sends_to_its_targets(stack):
    def targets(*ids):
        return [{"Id": id, "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{id}"} for id in ids]

    pattern = {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]}
    made = stack.make("AWS::Events::Rule", EventPattern=pattern, State="ENABLED", Targets=targets("a", "b"))
    events = stack.client("events")
    (rule,) = events.list_rules()["Rules"]
    assert (rule["Name"], rule["Arn"], rule["State"]) == (made.id, made.attributes["Arn"], "ENABLED")
    assert json.loads(rule["EventPattern"]) == pattern
    stack.change("Rule", Targets=targets("b", "c"), State="DISABLED")
    assert {target["Id"] for target in events.list_targets_by_rule(Rule=made.id)["Targets"]} == {"b", "c"}
    assert events.list_rules()["Rules"][0]["State"] == "DISABLED"
    stack.delete_all()
    assert events.list_rules()["Rules"] == []


def test_a_log_group_keeps_as_long_as_it_is_told(stack):
    made = stack.make("AWS::Logs::LogGroup", LogGroupName="/aws/eks/a/cluster", RetentionInDays="7")
    logs = stack.client("logs")

    def held():
        return logs.describe_log_groups()["logGroups"][0]

    assert (held()["retentionInDays"], held()["arn"]) == (7, made.attributes["Arn"])
    stack.change("LogGroup", RetentionInDays=30, Tags=[{"Key": "a", "Value": "b"}])
    assert held()["retentionInDays"] == 30
    assert logs.list_tags_for_resource(resourceArn=made.attributes["Arn"].removesuffix(":*"))["tags"]["a"] == "b"
    stack.change("LogGroup", RetentionInDays=None)
    assert "retentionInDays" not in held()
    with pytest.raises(ClientError, match="ResourceAlreadyExists"):
        stack.make("AWS::Logs::LogGroup", "Other", LogGroupName="/aws/eks/a/cluster")
    stack.delete_all()
    assert logs.describe_log_groups()["logGroups"] == []


def test_a_key_is_rotated_aliased_and_scheduled_for_deletion(stack):
    made = stack.make("AWS::KMS::Key", KeyPolicy=ALLOW, EnableKeyRotation=True, PendingWindowInDays="7")
    other = stack.make("AWS::KMS::Key", "Other")
    stack.make("AWS::KMS::Alias", AliasName="alias/a", TargetKeyId=made.id)
    kms = stack.client("kms")
    assert kms.describe_key(KeyId="alias/a")["KeyMetadata"]["Arn"] == made.attributes["Arn"]
    assert kms.get_key_rotation_status(KeyId=made.id)["KeyRotationEnabled"]
    assert json.loads(kms.get_key_policy(KeyId=made.id, PolicyName="default")["Policy"]) == ALLOW
    stack.change("Key", KeyPolicy=DENY, EnableKeyRotation="false", Description="secrets")
    assert not kms.get_key_rotation_status(KeyId=made.id)["KeyRotationEnabled"]
    assert json.loads(kms.get_key_policy(KeyId=made.id, PolicyName="default")["Policy"]) == DENY
    stack.change("Alias", TargetKeyId=other.id)
    assert kms.describe_key(KeyId="alias/a")["KeyMetadata"]["KeyId"] == other.id
    stack.delete_all()
    assert kms.describe_key(KeyId=made.id)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_a_parameter_has_its_value(stack):
    stack.make("AWS::SSM::Parameter", Name="/cdk-bootstrap/q/version", Type="String", Value=32, Tags={"a": "b"})
    ssm = stack.client("ssm")
    assert ssm.get_parameter(Name="/cdk-bootstrap/q/version")["Parameter"]["Value"] == "32"
    stack.change("Parameter", Value="33", Tags={"c": "d"})
    assert ssm.get_parameter(Name="/cdk-bootstrap/q/version")["Parameter"]["Value"] == "33"
    listed = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/cdk-bootstrap/q/version")["TagList"]
    assert (tags(listed).get("a"), tags(listed)["c"]) == (None, "d")
    stack.delete_all()
    with pytest.raises(ClientError, match="ParameterNotFound"):
        ssm.get_parameter(Name="/cdk-bootstrap/q/version")


def test_a_repository_has_its_policies_and_stays_while_it_has_images(stack):
    lifecycle = '{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]}'
    made = stack.make(
        "AWS::ECR::Repository",
        ImageTagMutability="IMMUTABLE",
        LifecyclePolicy={"LifecyclePolicyText": lifecycle},
        RepositoryPolicyText=ALLOW,
    )
    ecr = stack.client("ecr")
    (found,) = ecr.describe_repositories()["repositories"]
    assert (found["repositoryName"], found["imageTagMutability"]) == (made.id, "IMMUTABLE")
    assert (made.id, found["repositoryUri"]) == (made.id.lower(), made.attributes["RepositoryUri"])
    assert json.loads(ecr.get_lifecycle_policy(repositoryName=made.id)["lifecyclePolicyText"]) == json.loads(lifecycle)
    assert (
        json.loads(ecr.get_repository_policy(repositoryName=made.id)["policyText"])["Statement"] == ALLOW["Statement"]
    )
    stack.change("Repository", ImageTagMutability=None, RepositoryPolicyText=None)
    assert ecr.describe_repositories()["repositories"][0]["imageTagMutability"] == "MUTABLE"
    with pytest.raises(ClientError, match="RepositoryPolicyNotFound"):
        ecr.get_repository_policy(repositoryName=made.id)
    ecr.put_image(repositoryName=made.id, imageManifest=MANIFEST, imageTag="a")
    with pytest.raises(ClientError, match="RepositoryNotEmpty"):
        stack.delete("Repository")
    stack.change("Repository", EmptyOnDelete=True)
    stack.delete_all()
    assert ecr.describe_repositories()["repositories"] == []


def test_a_bucket_is_configured_and_stays_while_it_holds_a_version(stack):
    made = stack.make(
        "AWS::S3::Bucket",
        AccessControl="Private",
        VersioningConfiguration={"Status": "Enabled"},
        BucketEncryption={
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]
        },
        PublicAccessBlockConfiguration={"BlockPublicAcls": "true", "BlockPublicPolicy": True},
        LifecycleConfiguration={
            "Rules": [{"Id": "old", "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": "30"}}]
        },
        Tags=[{"Key": "a", "Value": "b"}],
    )
    stack.make("AWS::S3::BucketPolicy", Bucket=made.id, PolicyDocument=DENY)
    s3 = stack.client("s3")
    assert s3.get_bucket_versioning(Bucket=made.id)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=made.id)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert s3.get_public_access_block(Bucket=made.id)["PublicAccessBlockConfiguration"]["BlockPublicAcls"] is True
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=made.id)["Rules"]
    assert (rule["ID"], rule["NoncurrentVersionExpiration"]) == ("old", {"NoncurrentDays": 30})
    assert tags(s3.get_bucket_tagging(Bucket=made.id)["TagSet"]) == {"a": "b"}
    assert json.loads(s3.get_bucket_policy(Bucket=made.id)["Policy"]) == DENY
    s3.put_object(Bucket=made.id, Key="a", Body=b"a")
    s3.delete_object(Bucket=made.id, Key="a")
    with pytest.raises(RehearsalError, match=r"BucketNotEmpty.*You must delete all versions in the bucket\."):
        stack.delete("Bucket")
    for kind in ("Versions", "DeleteMarkers"):
        for version in s3.list_object_versions(Bucket=made.id).get(kind, []):
            s3.delete_object(Bucket=made.id, Key="a", VersionId=version["VersionId"])
    stack.change("Bucket", VersioningConfiguration=None, LifecycleConfiguration=None)
    assert s3.get_bucket_versioning(Bucket=made.id)["Status"] == "Suspended"
    stack.delete_all()
    assert s3.list_buckets()["Buckets"] == []


# Functions


def test_a_function_and_its_layer_come_from_s3(stack):
    trust = TRUST | {"Statement": [TRUST["Statement"][0] | {"Principal": {"Service": "lambda.amazonaws.com"}}]}
    arn = stack.make("AWS::IAM::Role", AssumeRolePolicyDocument=trust).attributes["Arn"]
    layer = stack.make(
        "AWS::Lambda::LayerVersion", Content=code(stack), Description="kubectl", LicenseInfo="Apache-2.0"
    )
    made = stack.make(
        "AWS::Lambda::Function",
        Code=code(stack),
        Role=arn,
        Handler="index.handler",
        Runtime="python3.13",
        Timeout="900",
        MemorySize=1024,
        Layers=[layer.id],
        Environment={"Variables": {"LEVEL": 3}},
        VpcConfig={"SubnetIds": [subnet(stack)], "SecurityGroupIds": [security_group(stack)]},
    )
    function = stack.client("lambda")

    def held():
        return function.get_function_configuration(FunctionName=made.id)

    assert (held()["FunctionArn"], held()["Timeout"], held()["MemorySize"]) == (made.attributes["Arn"], 900, 1024)
    assert held()["Environment"]["Variables"] == {"LEVEL": "3"}
    assert [part["Arn"] for part in held()["Layers"]] == [layer.id]
    assert held()["VpcConfig"]["SubnetIds"] == [stack.made["Subnet"].id]
    before = held()["CodeSha256"]
    stack.change("Function", Code=code(stack, "new.zip", "x = 2"), Timeout=None, Handler="index.other")
    assert (held()["Timeout"], held()["Handler"], held()["MemorySize"]) == (3, "index.other", 1024)
    assert held()["CodeSha256"] != before
    assert function.list_tags(Resource=made.attributes["Arn"])["Tags"].items() >= STACK_TAGS.items()
    stack.delete("Function")
    stack.delete_all()
    assert function.list_functions()["Functions"] == function.list_layers()["Layers"] == []
    assert TYPES["AWS::Lambda::LayerVersion"].replaces({"Description": "a"}, {"Description": "b"})


def test_a_program_inside_the_template_is_refused(stack):
    with pytest.raises(NotEmulated, match=r"Function\.Code: the rehearsal does not know ZipFile; it knows S3Bucket"):
        stack.make("AWS::Lambda::Function", Code={"ZipFile": "x"}, Role="r", Handler="h", Runtime="r")


# State machines


def test_a_state_machine_has_its_definition_its_role_and_its_tags(stack):
    one, two = ({"StartAt": "a", "States": {"a": {"Type": kind, "End": True}}} for kind in ("Pass", "Succeed"))
    asked = {"DefinitionString": json.dumps(one), "RoleArn": role(stack).attributes["Arn"]}
    made = stack.make("AWS::StepFunctions::StateMachine", **asked, Tags=[{"Key": "a", "Value": "b"}])
    name = made.attributes["Name"]
    assert made.id == made.attributes["Arn"] == f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}"
    states = stack.client("stepfunctions")

    def held():
        shown = states.describe_state_machine(stateMachineArn=made.id)
        listed = states.list_tags_for_resource(resourceArn=made.id)["tags"]
        return json.loads(shown["definition"]), shown["roleArn"], {tag["key"]: tag["value"] for tag in listed}

    own = {"aws:cloudformation:logical-id": "StateMachine", **STACK_TAGS}
    assert held() == (one, asked["RoleArn"], {"a": "b", **own})
    other = role(stack, "Other").attributes["Arn"]
    stack.change("StateMachine", DefinitionString=json.dumps(two), RoleArn=other, Tags=[{"Key": "c", "Value": "d"}])
    assert held() == (two, other, {"c": "d", **own})
    stack.delete_all()
    assert states.list_state_machines()["stateMachines"] == []


# EKS, as far as moto has it


def cluster(stack, **properties):
    return stack.make(
        "AWS::EKS::Cluster",
        Name="a",
        RoleArn=role(stack).attributes["Arn"],
        ResourcesVpcConfig={"SubnetIds": [subnet(stack)], "EndpointPrivateAccess": "true"},
        **properties,
    )


def test_a_cluster_and_its_nodes_are_made_in_the_apis_own_words(stack):
    made = cluster(
        stack,
        Version="1.34",
        Logging={"ClusterLogging": {"EnabledTypes": [{"Type": "api"}]}},
        KubernetesNetworkConfig={"IpFamily": "ipv4", "ElasticLoadBalancing": {"Enabled": False}},
        Tags=[{"Key": "a", "Value": "b"}],
    )
    eks = stack.client("eks")
    held = eks.describe_cluster(name="a")["cluster"]
    assert (made.id, made.attributes["Arn"], made.attributes["Endpoint"]) == ("a", held["arn"], held["endpoint"])
    assert made.attributes["OpenIdConnectIssuerUrl"] == held["identity"]["oidc"]["issuer"]
    assert held["resourcesVpcConfig"]["endpointPrivateAccess"] is True
    assert held["logging"]["clusterLogging"] == [
        {"types": ["api"], "enabled": True},
        {"types": ["audit", "authenticator", "controllerManager", "scheduler"], "enabled": False},
    ]
    assert held["tags"].items() >= ({"a": "b"} | STACK_TAGS).items()
    nodes = stack.make(
        "AWS::EKS::Nodegroup",
        ClusterName="a",
        NodeRole=stack.made["Role"].attributes["Arn"],
        Subnets=[stack.made["Subnet"].id],
        ScalingConfig={"MinSize": "2", "MaxSize": 2, "DesiredSize": 2},
        Labels={"karpenter.sh/controller": "true"},
        ForceUpdateEnabled=True,
    )
    name = nodes.attributes["NodegroupName"]
    assert nodes.id == nodes.attributes["Id"] == f"a/{name}"
    held = eks.describe_nodegroup(clusterName="a", nodegroupName=name)["nodegroup"]
    assert held["scalingConfig"] == {"minSize": 2, "maxSize": 2, "desiredSize": 2}
    assert (held["labels"], held["nodegroupArn"]) == ({"karpenter.sh/controller": "true"}, nodes.attributes["Arn"])
    with pytest.raises(ClientError, match=r"ResourceInUse.*nodegroups"):
        stack.delete("Cluster")
    stack.delete_all()
    assert eks.list_clusters()["clusters"] == []


class FakeEks:
    """Answers by request line, and remembers what was asked."""

    def __init__(self, stack, answers):
        self.answers = answers
        self.asked = []
        stack.session = session()
        # Before moto's own, which does not know most of it.
        stack.session.events.register_first("before-send.eks", self)

    def __call__(self, request, **_):
        line = f"{request.method} {re.sub('https://[^/]*', '', request.url)}"
        self.asked.append((line, json.loads(request.body) if request.body else {}))
        answer = next((answer for pattern, answer in self.answers.items() if re.fullmatch(pattern, line)), None)
        if callable(answer):
            answer = answer()
        status = 200 if answer is not None else 404
        headers = {} if answer is not None else {"x-amzn-errortype": "ResourceNotFoundException"}
        return AWSResponse(request.url, status, headers, Body(json.dumps(answer or {}).encode()))

    def writes(self):
        return [
            (line, {k: v for k, v in body.items() if k != "clientRequestToken"})
            for line, body in self.asked
            if not line.startswith("GET")
        ]


DONE = {"update": {"id": "u", "status": "Successful"}}
UPDATES = {
    r"POST .*/(update-config|updates|update-version|update)": {"update": {"id": "u"}},
    r"GET .*/updates/u.*": DONE,
}


def test_an_addon_is_waited_for_and_kept_in_the_cluster_if_asked(stack):
    states = iter(["CREATING", "CREATING", "ACTIVE", "ACTIVE"])
    shown = {"clusterName": "a", "addonName": "vpc-cni", "addonArn": "arn:addon"}
    answers = {
        r"POST /clusters/a/addons": {"addon": shown},
        r"GET /clusters/a/addons/vpc-cni": lambda: {"addon": shown | {"status": next(states)}},
        r"DELETE /clusters/a/addons/vpc-cni.*": {},
    }
    eks = FakeEks(stack, answers)
    made = stack.make("AWS::EKS::Addon", ClusterName="a", AddonName="vpc-cni", PreserveOnDelete="true")
    assert (made.id, made.attributes, next(states, None)) == ("a|vpc-cni", {"Arn": "arn:addon"}, None)
    answers[r"GET /clusters/a/addons/vpc-cni"] = None
    stack.delete("Addon")
    create, delete = eks.writes()
    assert (create[0], create[1]["addonName"]) == ("POST /clusters/a/addons", "vpc-cni")
    assert "preserveOnDelete" not in create[1]
    assert delete == ("DELETE /clusters/a/addons/vpc-cni?preserve=true", {})


def test_an_access_entry_is_given_its_policies(stack):
    principal = "arn:aws:iam::1:role/ops"
    path = "/clusters/a/access-entries/arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fops"
    entry = {"accessEntry": {"clusterName": "a", "principalArn": principal, "accessEntryArn": "arn:entry"}}
    answers = {r"POST /clusters/a/access-entries": entry, f"(GET|POST|DELETE) {path}.*": entry}
    eks = FakeEks(stack, answers)
    admin = {"PolicyArn": "arn:admin", "AccessScope": {"Type": "cluster"}}
    view = {"PolicyArn": "arn:view", "AccessScope": {"Type": "namespace", "Namespaces": ["a"]}}
    made = stack.make(
        "AWS::EKS::AccessEntry", ClusterName="a", PrincipalArn=principal, Type="STANDARD", AccessPolicies=[admin]
    )
    assert (made.id, made.attributes) == (f"{principal}|a", {"AccessEntryArn": "arn:entry"})
    stack.change("AccessEntry", AccessPolicies=[view], KubernetesGroups=["g"])
    (create, _), *rest = eks.writes()
    assert create == "POST /clusters/a/access-entries"
    assert rest == [
        (f"POST {path}/access-policies", {"policyArn": "arn:admin", "accessScope": {"type": "cluster"}}),
        (f"POST {path}", {"kubernetesGroups": ["g"]}),
        (f"DELETE {path}/access-policies/arn%3Aadmin", {}),
        (
            f"POST {path}/access-policies",
            {"policyArn": "arn:view", "accessScope": {"type": "namespace", "namespaces": ["a"]}},
        ),
    ]


def test_a_pod_identity_association_changes_its_role(stack):
    arn = f"arn:aws:eks:{REGION}:{ACCOUNT}:podidentityassociation/a/a-1"
    shown = {"association": {"clusterName": "a", "associationArn": arn, "associationId": "a-1"}}
    path = "/clusters/a/pod-identity-associations"
    eks = FakeEks(stack, {f"(GET|POST) {path}(/a-1)?": shown})
    made = stack.make(
        "AWS::EKS::PodIdentityAssociation", ClusterName="a", Namespace="n", ServiceAccount="s", RoleArn="arn:one"
    )
    assert (made.id, made.attributes["AssociationId"]) == (arn, "a-1")
    stack.change("PodIdentityAssociation", RoleArn="arn:two")
    create, update = eks.writes()
    assert create[1].items() >= {"namespace": "n", "serviceAccount": "s", "roleArn": "arn:one"}.items()
    assert update == (f"POST {path}/a-1", {"roleArn": "arn:two"})
    eks.answers[f"DELETE {path}/a-1"] = eks.answers.pop(f"(GET|POST) {path}(/a-1)?")
    stack.delete("PodIdentityAssociation")
    assert eks.writes()[-1] == (f"DELETE {path}/a-1", {})


def existing(stack, kind, name, id, **properties):
    stack.kinds[name], stack.made[name], stack.properties[name] = kind, Made(id), properties


CLUSTER = {
    "name": "a",
    "arn": "arn:cluster",
    "status": "ACTIVE",
    "endpoint": "https://a",
    "certificateAuthority": {"data": "x"},
    "resourcesVpcConfig": {},
    "identity": {"oidc": {"issuer": "https://i"}},
}


def test_a_cluster_is_asked_for_one_change_at_a_time(stack):
    eks = FakeEks(stack, {"GET /clusters/a": {"cluster": CLUSTER}, **UPDATES, ".* /tags/.*": {}})
    network = {"SubnetIds": ["subnet-1"], "EndpointPublicAccess": True}
    existing(stack, "AWS::EKS::Cluster", "Cluster", "a", Version="1.33", ResourcesVpcConfig=network)
    stack.change(
        "Cluster",
        Version="1.34",
        AccessConfig={"AuthenticationMode": "API"},
        ResourcesVpcConfig=network | {"PublicAccessCidrs": ["10.0.0.0/8"]},
        Logging={"ClusterLogging": {"EnabledTypes": [{"Type": log} for log in LOGS]}},
        Tags=[{"Key": "a", "Value": "b"}],
    )
    config = "POST /clusters/a/update-config"
    assert eks.writes() == [
        ("POST /clusters/a/updates", {"version": "1.34"}),
        (config, {"accessConfig": {"authenticationMode": "API"}}),
        (
            config,
            {
                "resourcesVpcConfig": {
                    "endpointPublicAccess": True,
                    "endpointPrivateAccess": False,
                    "publicAccessCidrs": ["10.0.0.0/8"],
                }
            },
        ),
        (config, {"logging": {"clusterLogging": [{"types": [*LOGS], "enabled": True}]}}),
        ("POST /tags/arn%3Acluster", {"tags": {"a": "b"}}),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"KubernetesNetworkConfig": {"IpFamily": "ipv4"}}, {"KubernetesNetworkConfig": {"IpFamily": "ipv6"}}),
        ({"Name": "a"}, {"Name": "b"}),
        ({"AccessConfig": {}}, {"AccessConfig": {"BootstrapClusterCreatorAdminPermissions": False}}),
    ],
)
def test_what_a_cluster_is_born_with_takes_another_cluster(old, new):
    assert TYPES["AWS::EKS::Cluster"].replaces(old, new)


def test_a_fargate_profiles_labels_are_a_map_to_the_api_and_only_its_tags_change(stack):
    states = iter(["CREATING", "ACTIVE"])
    shown = {"clusterName": "a", "fargateProfileName": "p", "fargateProfileArn": "arn:profile"}
    path = "/clusters/a/fargate-profiles/p"
    answers = {
        r"POST /clusters/a/fargate-profiles": {"fargateProfile": shown},
        f"GET {path}": lambda: {"fargateProfile": shown | {"status": next(states, "ACTIVE")}},
        r"(POST|DELETE) /tags/.*": {},
        f"DELETE {path}": {"fargateProfile": shown},
    }
    eks = FakeEks(stack, answers)
    labelled = {"Namespace": "n", "Labels": [{"Key": "app", "Value": "x"}]}
    asked = {"ClusterName": "a", "FargateProfileName": "p", "PodExecutionRoleArn": "arn:pods"}
    made = stack.make("AWS::EKS::FargateProfile", **asked, Selectors=[labelled, {"Namespace": "m"}])
    assert (made.id, made.attributes, next(states, None)) == ("a|p", {"Arn": "arn:profile"}, None)
    stack.change("FargateProfile", Tags=[{"Key": "a", "Value": "b"}])
    answers[f"GET {path}"] = None
    stack.delete("FargateProfile")
    (create, given), (tagged, tags_given), (delete, _) = eks.writes()
    assert (create, delete) == ("POST /clusters/a/fargate-profiles", f"DELETE {path}")
    assert given["selectors"] == [{"namespace": "n", "labels": {"app": "x"}}, {"namespace": "m"}]
    assert (tagged, tags_given) == ("POST /tags/arn%3Aprofile", {"tags": {"a": "b"}})


def test_a_node_groups_version_and_configuration_are_two_updates(stack):
    shown = {"clusterName": "a", "nodegroupName": "n", "nodegroupArn": "arn:nodes", "status": "ACTIVE"}
    eks = FakeEks(stack, {"GET /clusters/a/node-groups/n": {"nodegroup": shown}, **UPDATES})
    taint = {"Key": "k", "Value": "v", "Effect": "NO_SCHEDULE"}
    existing(stack, "AWS::EKS::Nodegroup", "Nodes", "a/n", ClusterName="a", Labels={"x": "1", "y": "1"}, Taints=[taint])
    stack.change(
        "Nodes",
        Labels={"y": "2"},
        Taints=[],
        ScalingConfig={"MinSize": 1, "MaxSize": "3", "DesiredSize": 2},
        LaunchTemplate={"Id": "lt-1", "Version": 2},
        ForceUpdateEnabled="true",
    )
    (version, asked), (config, changed) = eks.writes()
    assert version == "POST /clusters/a/node-groups/n/update-version"
    assert asked == {"launchTemplate": {"id": "lt-1", "version": "2"}, "force": True}
    assert config == "POST /clusters/a/node-groups/n/update-config"
    assert changed == {
        "labels": {"addOrUpdateLabels": {"y": "2"}, "removeLabels": ["x"]},
        "taints": {"removeTaints": [{"key": "k", "value": "v", "effect": "NO_SCHEDULE"}]},
        "scalingConfig": {"minSize": 1, "maxSize": 3, "desiredSize": 2},
    }


def test_an_addon_that_fails_says_why_and_can_be_rolled_back(stack):
    shown = {
        "clusterName": "a",
        "addonName": "x",
        "addonArn": "arn",
        "status": "CREATE_FAILED",
        "health": {"issues": [{"code": "Unreachable"}]},
    }
    FakeEks(stack, {"POST /clusters/a/addons": {"addon": shown}, "GET .*": {"addon": shown}})
    with pytest.raises(HalfMade, match=r"Addon \(AWS::EKS::Addon\): a\|x is CREATE_FAILED.*Unreachable") as raised:
        stack.make("AWS::EKS::Addon", ClusterName="a", AddonName="x")
    assert raised.value.id == "a|x"


def test_waiting_ends(monkeypatch):
    monkeypatch.setattr(calls, "PATIENCE", 0.0)
    monkeypatch.setattr(calls, "POLL", 0.0)
    with pytest.raises(RehearsalError, match=r"timed out after 0 s waiting for a/n to be ACTIVE"):
        calls.until(lambda: False, "a/n to be ACTIVE")


# What is known


class Yaml(yaml.SafeLoader):
    """A template as it is, the short forms of functions included."""


Yaml.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))


def bootstrap():
    """The template that `cdk bootstrap` deploys."""
    return yaml.load((ROOT / "node_modules/aws-cdk/lib/api/bootstrap/bootstrap-template.yaml").read_text(), Yaml)


@pytest.mark.parametrize("template", [*SHAPES, "bootstrap"])
def test_every_native_type_and_property_of_our_templates_is_known(template):
    templates = [bootstrap()] if template == "bootstrap" else synthesized(template).with_nested()
    nested = NestedStacks(lambda: None).type
    for found in templates:
        native = {name: one for name, one in found["Resources"].items() if one["Type"].startswith("AWS::")}
        assert native
        for name, resource in native.items():
            {**TYPES, nested.name: nested}[resource["Type"]].check(name, resource.get("Properties", {}))


@pytest.mark.parametrize("kind", TYPES)
def test_a_property_that_a_type_does_not_have_is_refused_by_name(kind):
    with pytest.raises(NotEmulated, match=rf"Logical \({kind}\): the rehearsal does not know Colour; it knows"):
        TYPES[kind].check("Logical", {"Colour": "blue"})


@cache
def schema(kind):
    """CloudFormation's own schema of a type, of those that cfn-lint comes with; importing that takes too long."""
    (package,) = importlib.util.find_spec("cfnlint").submodule_search_locations
    schemas = Path(package) / "data" / "schemas"
    file = json.loads((schemas / "providers" / "us-east-1.json").read_text())[kind]
    return json.loads((schemas / "resources" / f"{file}.json").read_text())


def named(kind, which):
    """The dotted names that a list of the schema has."""
    return {path.removeprefix("/properties/").replace("/", ".") for path in schema(kind).get(which, ())}


# LogGroupClass: Logs has no call that changes it.
STRICTER = {"AWS::Logs::LogGroup": {"LogGroupClass"}}
OF_CLOUDFORMATION = sorted(TYPES.keys() - {"AWS::CDK::Metadata"})


@pytest.mark.parametrize("kind", OF_CLOUDFORMATION)
def test_a_type_has_no_property_that_cloudformation_does_not_let_a_template_set(kind):
    assert TYPES[kind].properties <= set(schema(kind)["properties"]) - named(kind, "readOnlyProperties")


@pytest.mark.parametrize("kind", [kind for kind in OF_CLOUDFORMATION if TYPES[kind].update])
def test_what_replaces_a_resource_is_what_cloudformation_says_replaces_it(kind):
    known, mine = TYPES[kind].properties, TYPES[kind].replaced_by
    fixed = {path for path in named(kind, "createOnlyProperties") if path.split(".")[0] in known}
    sometimes = named(kind, "conditionalCreateOnlyProperties") | STRICTER.get(kind, set())
    assert {path for path in fixed if path.split(".")[0] not in mine} <= mine <= fixed | sometimes


@pytest.mark.parametrize(
    ("kind", "properties", "said"),
    [
        (
            "AWS::EC2::LaunchTemplate",
            {"LaunchTemplateData": {"MetadataOptions": {"HttpToken": "required"}}},
            r"LaunchTemplate\.LaunchTemplateData\.MetadataOptions: the rehearsal does not know HttpToken; it knows",
        ),
        (
            "AWS::EC2::SecurityGroup",
            {"GroupDescription": "x", "SecurityGroupEgress": [{"Cidr": "0.0.0.0/0"}]},
            r"SecurityGroup\.SecurityGroupEgress\[0\]: the rehearsal does not know Cidr; it knows",
        ),
        (
            "AWS::EKS::Cluster",
            {"RoleArn": "r", "ResourcesVpcConfig": {"SubnetIds": [], "subnetIds": []}},
            r"Cluster\.ResourcesVpcConfig: the rehearsal does not know subnetIds; it knows",
        ),
        (
            "AWS::Events::Rule",
            {"EventPattern": {}, "Targets": [{"Id": "a", "Arn": "arn:aws:sqs:::a", "Colour": 1}]},
            r"Rule\.Targets\[0\]: the rehearsal does not know Colour; it knows",
        ),
        (
            "AWS::S3::Bucket",
            {"VersioningConfiguration": {"State": "Enabled"}},
            r"Bucket\.VersioningConfiguration: the rehearsal does not know State; it knows MFADelete, Status",
        ),
        (
            "AWS::SQS::Queue",
            {"Tags": [{"Key": "a", "Value": "b", "PropagateAtLaunch": True}]},
            r"Queue\.Tags\[0\]: the rehearsal does not know PropagateAtLaunch; it knows Key, Value",
        ),
        (
            "AWS::Logs::LogGroup",
            {"RetentionInDays": "a week"},
            r"LogGroup: logs put_retention_policy does not take this: .*retentionInDays",
        ),
        (
            "AWS::EC2::Subnet",
            {"CidrBlock": "10.0.0.0/24"},
            r'Subnet: ec2 create_subnet does not take this: .*Missing required parameter in input: "VpcId"',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("AWS::") else "",
)
def test_a_nested_key_or_value_that_the_api_does_not_take_is_refused_by_name(stack, kind, properties, said):
    with pytest.raises(RehearsalError, match=said):
        stack.make(kind, **properties)


def test_metadata_is_nothing(stack):
    made = stack.make("AWS::CDK::Metadata", Analytics="v2:deflate64:x")
    assert made.id.startswith("Stack-Metadata-")
    stack.delete_all()
