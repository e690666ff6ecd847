"""Removes what instances of a cluster and Karpenter leave behind: what holds security groups, subnets and the node role.

Only what carries the cluster's tags and is used by no instance that is alive; the function's permissions say the same.
"""

import time
import traceback

import aws
import boto3
from botocore.exceptions import ClientError

# An interface of an instance that has just ended is detached a little later.
PATIENCE_SECONDS = 300
LOOK_EVERY_SECONDS = 10
# Also of a running instance, which has it until it ends.
IN_USE = ["pending", "running", "stopping", "stopped"]
# The most values that EC2 takes in one filter.
FILTER_VALUES = 200
OF_CLUSTER = "cluster.k8s.amazonaws.com/name"
OF_INSTANCE = "node.k8s.amazonaws.com/instance_id"
# Karpenter's tag of a launch template, and the one of 1.0.
TEMPLATE_TAGS = ("eks:eks-cluster-name", "karpenter.k8s.aws/cluster")


def verdict(properties):
    """What could not be removed, or nothing."""
    until = time.time() + PATIENCE_SECONDS
    while True:
        left = [line for kind in properties["Kinds"] for line in swept(kind, properties["ClusterName"])]
        if not left:
            return ""
        if time.time() >= until:
            return f"these carry the tags of cluster {properties['ClusterName']} and could not be removed: {'; '.join(left)}"
        time.sleep(LOOK_EVERY_SECONDS)


def swept(kind, cluster):
    """What is left of one kind, or why that is not known; the next look may know."""
    try:
        return KINDS[kind](cluster)
    except Exception as error:
        traceback.print_exc()
        return [f"{kind} could not be listed: {error!r}"]


def attempt(what, call, **arguments):
    """Remove one thing: nothing when it is gone, else what it is and why it is not."""
    try:
        call(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if "NotFound" not in code and code != "NoSuchEntity":
            traceback.print_exc()
            return [f"{what}: {error}"]
    print(f"{what} was removed")
    return []


def interfaces(cluster):
    """Remove the network interfaces that the VPC CNI made for instances that are gone."""
    ec2 = aws.client("ec2")
    pages = ec2.get_paginator("describe_network_interfaces").paginate(
        Filters=[{"Name": f"tag:{OF_CLUSTER}", "Values": [cluster]}]
    )
    found = [one for page in pages for one in page["NetworkInterfaces"]]
    alive = living(ec2, sorted({owner(one) for one in found} - {None}))
    left = []
    for one in (one for one in found if owner(one) not in alive):
        name = f"network interface {one['NetworkInterfaceId']}"
        if one["Status"] == "available":
            left += attempt(name, ec2.delete_network_interface, NetworkInterfaceId=one["NetworkInterfaceId"])
        else:
            left.append(f"{name}: is {one['Status']}")
    return left


def owner(interface):
    """The instance that an interface was made for, or is attached to."""
    tags = {pair["Key"]: pair["Value"] for pair in interface["TagSet"]}
    return interface.get("Attachment", {}).get("InstanceId") or tags.get(OF_INSTANCE)


def living(ec2, ids):
    """Those of some instances that are alive; one that EC2 has forgotten is not."""
    pages = [
        page
        for at in range(0, len(ids), FILTER_VALUES)
        for page in ec2.get_paginator("describe_instances").paginate(
            Filters=[
                {"Name": "instance-id", "Values": ids[at : at + FILTER_VALUES]},
                {"Name": "instance-state-name", "Values": IN_USE},
            ]
        )
    ]
    return {i["InstanceId"] for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]}


def templates(cluster):
    """Remove Karpenter's launch templates."""
    ec2 = aws.client("ec2")
    left = []
    for tag in TEMPLATE_TAGS:
        pages = ec2.get_paginator("describe_launch_templates").paginate(
            Filters=[{"Name": f"tag:{tag}", "Values": [cluster]}]
        )
        found = [one for page in pages for one in page["LaunchTemplates"]]
        for one in (one for one in found if one["LaunchTemplateName"].startswith("karpenter.k8s.aws/")):
            name = f"launch template {one['LaunchTemplateName']}"
            left += attempt(name, ec2.delete_launch_template, LaunchTemplateId=one["LaunchTemplateId"])
    return left


def profiles(cluster):
    """Remove Karpenter's instance profiles, which keep the node role; IAM is global, so those of this region."""
    iam, region = aws.client("iam"), boto3.Session().region_name
    wanted = {f"kubernetes.io/cluster/{cluster}": "owned", "topology.kubernetes.io/region": region}
    left = []
    for page in iam.get_paginator("list_instance_profiles").paginate():
        for one in page["InstanceProfiles"]:
            name = one["InstanceProfileName"]
            is_named = name.startswith(f"{cluster}_") or one["Path"].startswith(f"/karpenter/{region}/{cluster}/")
            if is_named and wanted.items() <= tags_of(iam, name).items():
                left += profile(iam, one)
    return left


def profile(iam, one):
    """Remove one instance profile."""
    name = one["InstanceProfileName"]
    left = []
    for role in one["Roles"]:
        left += attempt(
            f"role of instance profile {name}",
            iam.remove_role_from_instance_profile,
            InstanceProfileName=name,
            RoleName=role["RoleName"],
        )
    return left or attempt(f"instance profile {name}", iam.delete_instance_profile, InstanceProfileName=name)


def tags_of(iam, name):
    """The tags of an instance profile, which the list of them does not show."""
    shown = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    return {pair["Key"]: pair["Value"] for pair in shown.get("Tags", [])}


KINDS = {"interfaces": interfaces, "templates": templates, "profiles": profiles}
