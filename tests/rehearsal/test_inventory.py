import json

import pytest

from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.inventory import CLUSTER_PARTS, KINDS, differences, inventory
from tests.rehearsal.test_aws_states import waiter


@pytest.fixture(scope="module")
def aws():
    with EmulatedAws(region="us-east-1") as running:
        yield running


def made(aws, make):
    before = inventory(aws.client)
    make()
    return set(differences(before, inventory(aws.client)))


def test_what_is_made_is_told_from_what_was_there(aws):
    assert made(aws, lambda: aws.client("sqs").create_queue(QueueName="left")) == {
        f"queue {aws.client('sqs').get_queue_url(QueueName='left')['QueueUrl']}"
    }


def test_a_state_machine_that_is_left_is_seen(aws):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "states.amazonaws.com"}}
    made_role = aws.client("iam").create_role(
        RoleName="states", AssumeRolePolicyDocument=json.dumps({"Statement": [statement]})
    )
    asked = {"name": "left", "definition": json.dumps(waiter()), "roleArn": made_role["Role"]["Arn"]}
    assert made(aws, lambda: aws.client("stepfunctions").create_state_machine(**asked)) == {"state machine left"}


def test_things_beyond_the_first_page_of_a_list_are_seen(aws):
    ssm = aws.client("ssm")
    left = made(aws, lambda: [ssm.put_parameter(Name=f"/p/{n}", Value="x", Type="String") for n in range(25)])
    assert len(left) == 25


def test_a_key_that_is_to_be_deleted_counts_as_gone_and_another_does_not(aws):
    kms = aws.client("kms")
    (key,) = made(aws, lambda: kms.create_key(Description="secrets"))
    assert key.endswith("(secrets)")
    kms.schedule_key_deletion(KeyId=key.split()[1], PendingWindowInDays=7)
    assert key not in inventory(aws.client)


def test_a_key_that_a_service_makes_for_itself_does_not_count(aws):
    ec2, keys = aws.client("ec2"), lambda: len(aws.client("kms").list_keys()["Keys"])
    before = keys()
    assert made(aws, lambda: ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, Encrypted=True)) == set()
    assert keys() == before + 1


def test_a_terminated_instance_counts_as_gone(aws):
    ec2 = aws.client("ec2")
    image = aws.client("ssm").get_parameter(
        Name="/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id"
    )["Parameter"]["Value"]
    asked = {"ImageId": image, "InstanceType": "m6i.large", "MinCount": 1, "MaxCount": 1}
    (line,) = [one for one in made(aws, lambda: ec2.run_instances(**asked)) if one.startswith("instance i-")]
    ec2.terminate_instances(InstanceIds=[line.split()[1]])
    assert line not in inventory(aws.client)


def test_what_is_changed_or_gone_is_told_from_what_is_as_it_was(aws):
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
    rule = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    asked = {"GroupId": group, "IpPermissions": [rule]}
    assert made(aws, lambda: ec2.authorize_security_group_ingress(**asked)) == {f"changed: security group {group}"}
    assert made(aws, lambda: ec2.create_tags(Resources=[vpc], Tags=[{"Key": "a", "Value": "b"}])) == {
        f"changed: VPC {vpc}"
    }
    assert made(aws, lambda: ec2.delete_security_group(GroupId=group)) == {f"gone: security group {group}"}


def test_a_taken_address_is_no_change(aws):
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.0.0/24")["Subnet"]["SubnetId"]
    (interface,) = made(aws, lambda: ec2.create_network_interface(SubnetId=subnet))
    assert interface.startswith("network interface eni-")


class Server:
    """An API server with two kinds of object in two groups."""

    def __init__(self):
        self.maps = [{"metadata": {"name": "aws-auth", "namespace": "kube-system", "resourceVersion": "1"}, "data": {}}]
        self.leases = [{"metadata": {"name": "leader", "namespace": "kube-system"}, "spec": {"renewTime": "1"}}]

    def get(self, path):
        def resource(name, kind):
            return {"name": name, "kind": kind, "verbs": ["list"]}

        return {
            "/apis": {"groups": [{"preferredVersion": {"groupVersion": "coordination.k8s.io/v1"}}]},
            "/api/v1": {
                "resources": [
                    resource("configmaps", "ConfigMap"),
                    resource("events", "Event"),
                    resource("configmaps/status", "ConfigMap"),
                    {"name": "bindings", "kind": "Binding", "verbs": ["create"]},
                ]
            },
            "/apis/coordination.k8s.io/v1": {"resources": [resource("leases", "Lease")]},
        }[path]

    def items(self, path):
        return {"/api/v1/configmaps": self.maps, "/apis/coordination.k8s.io/v1/leases": self.leases}[path]


def test_the_objects_of_a_cluster_count_by_what_people_wrote_in_them(aws):
    server = Server()
    before = inventory(aws.client, [server])
    server.maps[0]["metadata"]["resourceVersion"] = "2"
    server.leases[0]["spec"]["renewTime"] = "2"
    assert differences(before, inventory(aws.client, [server])) == ()
    server.maps[0]["data"] = {"mapRoles": ""}
    server.leases.append({"metadata": {"name": "another", "namespace": "kube-system"}})
    assert differences(before, inventory(aws.client, [server])) == (
        "Lease kube-system/another",
        "changed: ConfigMap kube-system/aws-auth",
    )


def test_what_eks_keeps_of_a_cluster_is_asked_for_by_operations_that_it_has(aws):
    eks = aws.client("eks")
    assert [
        part.name for part in CLUSTER_PARTS if not hasattr(eks, part.listing) or not hasattr(eks, part.describe)
    ] == []


def test_an_access_entry_and_what_it_allows_are_seen():
    def up(name, version, shown):
        return ClusterEndpoint("https://127.0.0.1:6443", "Q0E=", "https://oidc.test/x")

    with EmulatedAws(region="eu-west-1", hooks=Hooks(create_cluster=up)) as aws:
        ec2, eks = aws.client("ec2"), aws.client("eks")
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
        eks.create_cluster(
            name="there",
            roleArn="arn:aws:iam::123456789012:role/c",
            resourcesVpcConfig={"subnetIds": [subnet]},
            accessConfig={"authenticationMode": "API"},
        )
        role = aws.client("iam").create_role(RoleName="ops", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        entry = {"clusterName": "there", "principalArn": role}
        assert made(aws, lambda: eks.create_access_entry(**entry)) == {
            f"access entry {role} of cluster there",
            f"access of {role} of cluster there",
        }
        policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
        scope = {"type": "cluster"}
        changed = made(aws, lambda: eks.associate_access_policy(policyArn=policy, accessScope=scope, **entry))
        assert f"changed: access of {role} of cluster there" in changed


def test_every_kind_is_listed_by_an_operation_that_its_service_has(aws):
    assert [kind.name for kind in KINDS if not hasattr(aws.client(kind.service), kind.operation)] == []
