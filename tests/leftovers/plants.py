"""One left-over of every kind, planted in the emulated account as what makes it would, tags and all."""

import json
import re
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.aws.wire import AwsError

REGION = "eu-west-1"
DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}}
)


def trusting(service):
    said = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [said]})


def emulated(region=REGION, **options):
    """AWS, with control planes that are only said to be there."""

    def started(name, version, shown):
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return ClusterEndpoint("https://api.invalid", "", f"https://oidc.eks.{region}.{suffix}/id/{name}")

    return EmulatedAws(region=region, hooks=Hooks(create_cluster=started), **options)


@dataclass
class Ground:
    """Where things are planted: an account with a network in it.

    Args:
        aws: The emulated AWS.
    """

    aws: EmulatedAws

    def __post_init__(self):
        operations = self.aws.extensions.operations
        operations["ec2", "DeleteNatGateway"] = self._delete_nat_gateway
        operations["ec2", "DeleteSecurityGroup"] = self._delete_security_group
        self.clients = {}
        self.zones = [f"{self.aws.region}{letter}" for letter in "ab"]
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=zone)["Subnet"][
                "SubnetId"
            ]
            for n, zone in enumerate(self.zones)
        ]
        self.group = self.ec2.create_security_group(GroupName="lent", Description="d", VpcId=self.vpc)["GroupId"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        asked = {"Name": "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/nvidia/recommended/image_id"}
        self.image = self.client("ssm").get_parameter(**asked)["Parameter"]["Value"]

    def _delete_nat_gateway(self, call):
        """moto leaves its network interface."""
        ec2 = self.aws.world.backend("ec2")
        (gateway,) = (one for one in ec2.nat_gateways.values() if one.id == call.parameters["NatGatewayId"])
        answer = self.aws.world.moto(call)
        ec2.delete_network_interface(gateway._eni.id)
        return answer

    def _delete_security_group(self, call):
        """moto deletes one that a rule or an interface holds, which EC2 does not."""
        ec2, id = self.aws.world.backend("ec2"), call.parameters["GroupId"]
        groups = [group for of_vpc in ec2.groups.values() for group in of_vpc.values() if group.id != id]
        rules = [rule for group in groups for rule in (*group.ingress_rules, *group.egress_rules)]
        holding = [rule for rule in rules if (rule.source_group or {}).get("GroupId") == id]
        holding += [eni.id for eni in ec2.enis.values() if id in [one.id for one in eni._group_set]]
        if holding:
            raise AwsError("DependencyViolation", f"resource {id} has a dependent object", status=400)
        return self.aws.world.moto(call)

    def client(self, service):
        if service not in self.clients:
            self.clients[service] = self.aws.client(service)
        return self.clients[service]

    @property
    def ec2(self):
        return self.client("ec2")

    @property
    def iam(self):
        return self.client("iam")


@dataclass
class Plant:
    """Whose, and with what marks.

    Args:
        name: Of what has a name; some names are the account's, so each needs its own.

        tags: Of all that has tags.

        cluster: The cluster whose parts are planted; none when empty.
    """

    ground: Ground
    name: str
    tags: dict
    cluster: str = ""
    _seen: dict = field(default_factory=dict)

    @property
    def listed(self):
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    @property
    def here(self):
        """What says of things that belong to no region where their cluster is."""
        return [*self.listed, {"Key": "topology.kubernetes.io/region", "Value": self.ground.aws.region}]

    def of(self, kind):
        return [{"ResourceType": kind, "Tags": self.listed}]

    def role(self):
        """The role that others need, created when first asked for."""
        if "role" not in self._seen:
            asked = {
                "RoleName": self.name,
                "Path": "/nodes/",
                "AssumeRolePolicyDocument": trusting("ec2.amazonaws.com"),
            }
            self._seen["role"] = self.ground.iam.create_role(**asked, Tags=self.here)["Role"]["Arn"]
        return self._seen["role"]


def cluster(one):
    asked = {"roleArn": one.role(), "resourcesVpcConfig": {"subnetIds": one.ground.subnets}}
    one.ground.client("eks").create_cluster(
        name=one.cluster, **asked, accessConfig={"authenticationMode": "API"}, version="1.34"
    )
    one.ground.client("eks").get_waiter("cluster_active").wait(name=one.cluster, WaiterConfig={"Delay": 0.05})


def node_group(one):
    asked = {"nodegroupName": one.name, "subnets": one.ground.subnets, "nodeRole": one.role()}
    one.ground.client("eks").create_nodegroup(clusterName=one.cluster, **asked)


def fargate_profile(one):
    ground, name = one.ground, f"{one.name}-fargate"
    asked = {"RoleName": name, "AssumeRolePolicyDocument": trusting("eks-fargate-pods.amazonaws.com")}
    role = ground.iam.create_role(**asked)["Role"]["Arn"]
    asked = {"podExecutionRoleArn": role, "subnets": ground.subnets, "selectors": [{"namespace": "default"}]}
    ground.client("eks").create_fargate_profile(clusterName=one.cluster, fargateProfileName=one.name, **asked)


def access_entry(one):
    asked = {"RoleName": f"{one.name}-people", "AssumeRolePolicyDocument": trusting("ec2.amazonaws.com")}
    role = one.ground.iam.create_role(**asked)["Role"]["Arn"]
    one.ground.client("eks").create_access_entry(clusterName=one.cluster, principalArn=role)


def association(one):
    asked = {"namespace": "kube-system", "serviceAccount": one.name, "roleArn": one.role()}
    one.ground.client("eks").create_pod_identity_association(clusterName=one.cluster, **asked)


def stack(one):
    resources = {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": one.name}}}
    one.ground.client("cloudformation").create_stack(
        StackName=one.name, TemplateBody=json.dumps({"Resources": resources}), Tags=one.listed
    )


def capacity_reservation(one):
    reserve(one, "p5.48xlarge", one.listed)


def reservation_of_a_pool(one):
    reserve(one, "p4d.24xlarge", [*one.listed, {"Key": "karpenter-gpu/made-by", "Value": "Stack"}])


def reserve(one, kind, tags):
    one.ground.ec2.create_capacity_reservation(
        InstanceType=kind,
        InstancePlatform="Linux/UNIX",
        AvailabilityZone=one.ground.zones[0],
        InstanceCount=2,
        TagSpecifications=[{"ResourceType": "capacity-reservation", "Tags": tags}],
    )


def spot_request(one):
    asked = {"ImageId": one.ground.image, "InstanceType": "g6.xlarge", "SubnetId": one.ground.subnets[0]}
    (made,) = one.ground.ec2.request_spot_instances(SpotPrice="1", LaunchSpecification=asked)["SpotInstanceRequests"]
    one.ground.ec2.create_tags(Resources=[made["SpotInstanceRequestId"], made["InstanceId"]], Tags=one.listed)


def group_of_autoscaling(one):
    ground, group = one.ground, f"{one.name}-asg"
    ground.ec2.create_launch_template(
        LaunchTemplateName=group,
        LaunchTemplateData={"ImageId": ground.image, "InstanceType": "m6i.large"},
        TagSpecifications=one.of("launch-template"),
    )
    tags = [{**tag, "PropagateAtLaunch": True, "ResourceId": group} for tag in one.listed]
    ground.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName=group,
        LaunchTemplate={"LaunchTemplateName": group, "Version": "$Latest"},
        MinSize=1,
        MaxSize=1,
        VPCZoneIdentifier=ground.subnets[0],
        Tags=tags,
    )


def instance(one):
    ground = one.ground
    asked = {"ImageId": ground.image, "InstanceType": "g6.xlarge", "SubnetId": ground.subnets[0]}
    ground.ec2.run_instances(**asked, MinCount=1, MaxCount=1, TagSpecifications=one.of("instance"))


def load_balancer(one):
    made = one.ground.client("elbv2").create_load_balancer(
        Name=f"{one.name}-lb", Subnets=one.ground.subnets, Type="network", Tags=one.listed
    )
    one._seen["balancer"] = made["LoadBalancers"][0]["LoadBalancerArn"]


def classic_load_balancer(one):
    one.ground.client("elb").create_load_balancer(
        LoadBalancerName=f"{one.name}-classic",
        Listeners=[{"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 80}],
        Subnets=one.ground.subnets,
        SecurityGroups=[one.ground.group],
        Tags=one.listed,
    )


def target_group(one):
    """One that a load balancer's listener holds."""
    balancing = one.ground.client("elbv2")
    made = balancing.create_target_group(
        Name=f"{one.name}-tg", Protocol="TCP", Port=80, VpcId=one.ground.vpc, Tags=one.listed
    )
    actions = [{"Type": "forward", "TargetGroupArn": made["TargetGroups"][0]["TargetGroupArn"]}]
    balancing.create_listener(LoadBalancerArn=one._seen["balancer"], Protocol="TCP", Port=80, DefaultActions=actions)


def nat_gateway(one):
    asked = {"SubnetId": one.ground.subnets[0], "AllocationId": one._seen["address"]}
    one.ground.ec2.create_nat_gateway(**asked, TagSpecifications=one.of("natgateway"))


def address(one):
    made = one.ground.ec2.allocate_address(Domain="vpc", TagSpecifications=one.of("elastic-ip"))
    one._seen["address"] = made["AllocationId"]


def interface(one):
    """One that holds a security group."""
    asked = {"SubnetId": one.ground.subnets[0], "Groups": [one._seen["group"]]}
    one.ground.ec2.create_network_interface(**asked, TagSpecifications=one.of("network-interface"))


def volume(one):
    asked = {"AvailabilityZone": one.ground.zones[0], "Size": 100, "VolumeType": "gp3"}
    made = one.ground.ec2.create_volume(**asked, TagSpecifications=one.of("volume"))
    one._seen["volume"] = made["VolumeId"]


def snapshot(one):
    one.ground.ec2.create_snapshot(VolumeId=one._seen["volume"], TagSpecifications=one.of("snapshot"))


def launch_template(one):
    one.ground.ec2.create_launch_template(
        LaunchTemplateName=one.name,
        LaunchTemplateData={"ImageId": one.ground.image},
        TagSpecifications=one.of("launch-template"),
    )


def security_groups(one):
    """Two that name each other, so that neither goes before its rules."""
    ec2 = one.ground.ec2
    ids = [
        ec2.create_security_group(
            GroupName=f"{one.name}-{n}",
            Description="d",
            VpcId=one.ground.vpc,
            TagSpecifications=one.of("security-group"),
        )["GroupId"]
        for n in "ab"
    ]
    for id, other in (ids, reversed(ids)):
        pairs = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupId": other}]}]
        ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=pairs)
        ec2.authorize_security_group_egress(GroupId=id, IpPermissions=pairs)
    one._seen["group"] = ids[0]


def queue(one):
    made = one.ground.client("sqs").create_queue(QueueName=f"{one.name}-queue", tags=one.tags)
    one._seen["queue"] = made["QueueUrl"]


def event_rule(one):
    """One with a target."""
    events, sqs = one.ground.client("events"), one.ground.client("sqs")
    arn = sqs.get_queue_attributes(QueueUrl=one._seen["queue"], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=one.name, EventPattern="{}", Tags=one.listed)
    events.put_targets(Rule=one.name, Targets=[{"Id": "queue", "Arn": arn}])


def log_group(one):
    one.ground.client("logs").create_log_group(logGroupName=f"/{one.name}", tags=one.tags)


def key(one):
    tags = [{"TagKey": key, "TagValue": value} for key, value in one.tags.items()]
    one._seen["key"] = one.ground.client("kms").create_key(Tags=tags)["KeyMetadata"]["KeyId"]


def alias(one):
    """Of the name that Terraform's module gives one."""
    one.ground.client("kms").create_alias(AliasName=f"alias/eks/{one.name}", TargetKeyId=one._seen["key"])


def instance_profile(one):
    """One with a role in it, which neither goes before."""
    one.role()
    one.ground.iam.create_instance_profile(InstanceProfileName=one.name, Tags=one.here)
    one.ground.iam.add_role_to_instance_profile(InstanceProfileName=one.name, RoleName=one.name)


def role(one):
    one.role()
    one.ground.iam.put_role_policy(RoleName=one.name, PolicyName="inline", PolicyDocument=DOCUMENT)


def policy(one):
    """One that a role has, and with a second version."""
    iam = one.ground.iam
    arn = iam.create_policy(PolicyName=one.name, PolicyDocument=DOCUMENT, Tags=one.here)["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=DOCUMENT, SetAsDefault=True)
    one.role()
    iam.attach_role_policy(RoleName=one.name, PolicyArn=arn)


def provider(one):
    suffix = "amazonaws.com.cn" if one.ground.aws.region.startswith("cn-") else "amazonaws.com"
    url = f"https://oidc.eks.{one.ground.aws.region}.{suffix}/id/{one.name}"
    one.ground.iam.create_open_id_connect_provider(Url=url, Tags=one.listed)


# What is planted first is what others need.
PLANTS = {
    "cluster": cluster,
    "node group": node_group,
    "Fargate profile": fargate_profile,
    "access entry": access_entry,
    "Pod Identity association": association,
    "CloudFormation stack": stack,
    "reservation of a pool": reservation_of_a_pool,
    "capacity reservation": capacity_reservation,
    "spot request": spot_request,
    "Auto Scaling group": group_of_autoscaling,
    "instance": instance,
    "load balancer": load_balancer,
    "classic load balancer": classic_load_balancer,
    "target group": target_group,
    "elastic IP": address,
    "NAT gateway": nat_gateway,
    "volume": volume,
    "snapshot": snapshot,
    "launch template": launch_template,
    "security group": security_groups,
    "network interface": interface,
    "queue": queue,
    "event rule": event_rule,
    "log group": log_group,
    "KMS key": key,
    "KMS alias": alias,
    "instance profile": instance_profile,
    "role": role,
    "policy": policy,
    "OIDC provider": provider,
}  # fmt: skip
# What EKS keeps of a cluster that exists.
OF_CLUSTER = ("cluster", "node group", "Fargate profile", "access entry", "Pod Identity association")


def plant(one, *, but=()):
    """One of every kind; of those that are a cluster's parts only where a cluster is named."""
    for kind, make in PLANTS.items():
        if kind not in but and (one.cluster or kind not in OF_CLUSTER):
            make(one)
    return one


# What every account has, and much of it.
STATIC = re.compile(
    r"\w+_(images|snapshots|snapshot_tier_status|instance_type\w*|spot_price_history|\w+_offerings|availability_zones|regions"
    r"|tags|\w+_services|account_attributes|account_limits|\w*prefix_lists|ssl_policies|addon_versions|cluster_versions|access_policies)"
    "|list_policies"
)
# What moto was asked and has not.
_missing = set()


def whole_account(aws):
    """Everything that AWS lists without being told of what, in the services that verify-clean deletes from.

    What is terminated or deleted, and still shown, does not count, nor do the interfaces that moto leaves of an instance.
    """
    found = {}
    for service in (
        "ec2",
        "autoscaling",
        "elbv2",
        "elb",
        "sqs",
        "events",
        "logs",
        "kms",
        "cloudformation",
        "eks",
        "iam",
    ):
        client = aws.client(service)
        for operation, name in client.meta.method_to_api_mapping.items():
            shape = client.meta.service_model.operation_model(name).input_shape
            lists = operation.startswith(("list_", "describe_")) and not STATIC.fullmatch(operation)
            if lists and not (shape and shape.required_members):
                found[f"{service}.{operation}"] = _listed(client, operation)
    with aws.backend("ec2") as ec2:
        found["snapshots"] = [one.id for one in ec2.snapshots.values() if not one.from_ami]
    found["iam.get_account_authorization_details"] = _listed(
        aws.client("iam"), "get_account_authorization_details", Filter=["User", "Role", "Group", "LocalManagedPolicy"]
    )
    return {operation: answer for operation, answer in found.items() if answer}


def _listed(client, operation, **asked):
    if (client.meta.service_model.service_name, operation) in _missing:
        return None
    try:
        if client.can_paginate(operation):
            answer = client.get_paginator(operation).paginate(**asked).build_full_result()
        else:
            answer = getattr(client, operation)(**asked)
    except ClientError:
        _missing.add((client.meta.service_model.service_name, operation))
        return None
    answer.pop("ResponseMetadata", None)
    return sorted(json.dumps(one, sort_keys=True, default=str) for one in _items(answer) if not _is_gone(client, one))


def _items(answer):
    """Every entry of every list of an answer; of reservations their instances."""
    for listed in answer.values():
        for one in listed if isinstance(listed, list) else []:
            yield from one.get("Instances", [one]) if isinstance(one, dict) else [one]


def _is_gone(client, one):
    if not isinstance(one, dict):
        return False
    one.pop("AvailableIpAddressCount", None)
    if id := one.get("Attachment", {}).get("InstanceId"):
        (one,) = client.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"]
    state = one.get("State")
    return (state.get("Name") if isinstance(state, dict) else state) in ("terminated", "deleted", "cancelled")
