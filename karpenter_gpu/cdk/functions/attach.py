"""Attaches a stack to an existing cluster, and on deletion removes what it added, and nothing else.

What synthesis could not see is looked at first, and nothing is changed while any of it is wrong.
"""

import traceback

import aws
from answer import answer

DISCOVERY = "karpenter.sh/discovery"
AUDIENCE = "sts.amazonaws.com"


def handler(event, context):
    """Answer CloudFormation."""
    try:
        # The rollback of an attachment under a new id leaves alone what the old one has.
        why = "" if event["RequestType"] == "Delete" and aws.has_twin(event) else verdict(event)
    except Exception as error:
        traceback.print_exc()
        why = f"looking at the cluster failed: {error!r}"
    answer(event, context, why, name=f"attached-{event['ResourceProperties']['ClusterName']}")


def verdict(event):
    """Why the request must fail, or nothing."""
    wanted = event["ResourceProperties"]
    if event["RequestType"] == "Delete":
        untag(tagged(wanted), wanted)
        remove_provider(wanted)
        return ""
    why = "; ".join([*cluster_faults(wanted), *network_faults(wanted)])
    if why:
        if event["RequestType"] != "Update" or not aws.rolls_back(event["StackId"]):
            return why
        print(f"not refused, for the stack rolls back, or may: {why}")
    make_provider(wanted)
    tag(wanted)
    before = event.get("OldResourceProperties")
    if before:
        untag([id for id in tagged(before) if id not in tagged(wanted)], before)
        if before.get("OidcProviderArn") != wanted.get("OidcProviderArn"):
            remove_provider(before)
    return ""


def cluster_faults(wanted):
    """What of the cluster itself is not as the stack was synthesized for."""
    name, eks = wanted["ClusterName"], aws.client("eks")
    try:
        cluster = eks.describe_cluster(name=name)["cluster"]
    except eks.exceptions.ResourceNotFoundException:
        yield f"there is no EKS cluster {name} in this account and region; see 'aws eks list-clusters'"
        return
    network = cluster.get("resourcesVpcConfig", {})
    anybody = network.get("endpointPublicAccess") and "0.0.0.0/0" in network.get("publicAccessCidrs", [])
    if wanted.get("KubectlInVpc") == "false" and not anybody:
        yield (
            f"the API server of cluster {name} cannot be reached from any address, and what runs kubectl is outside its VPC; "
            "open the private endpoint and put kubectl inside (kubectl_in_vpc, or kubectl_private_subnet_ids or "
            "private_subnets where you import the cluster)"
        )
    mode, asked = cluster.get("accessConfig", {}).get("authenticationMode", "CONFIG_MAP"), wanted["AuthenticationMode"]
    if (mode == "CONFIG_MAP") != (asked == "CONFIG_MAP"):
        yield (
            f"cluster {name} has authentication mode {mode}, and the stack was synthesized for {asked}; say {mode}, or "
            "look it up anew with 'cdk context --clear'"
        )
    issuer, asked = cluster.get("identity", {}).get("oidc", {}).get("issuer"), wanted.get("OidcIssuer")
    if asked and issuer != asked:
        yield f"cluster {name} has the issuer {issuer}, and the stack was synthesized for {asked}; say the cluster's"
    if wanted.get("PodIdentity") == "true":
        try:
            eks.describe_addon(clusterName=name, addonName="eks-pod-identity-agent")
        except eks.exceptions.ResourceNotFoundException:
            yield (
                f"cluster {name} has no EKS Pod Identity agent, from which the controller gets its role; run 'aws eks "
                f"create-addon --cluster-name {name} --addon-name eks-pod-identity-agent', or use identity irsa"
            )


def network_faults(wanted):
    """What would keep nodes from coming, or pods on them from reaching the rest."""
    ec2 = aws.client("ec2")
    subnets = listed(ec2, "describe_subnets", "Subnets", "subnet-id", wanted["SubnetIds"])
    groups = listed(ec2, "describe_security_groups", "SecurityGroups", "group-id", wanted["SecurityGroupIds"])
    for kind, key, ids, found in (
        ("subnet", "SubnetId", wanted["SubnetIds"], subnets),
        ("security group", "GroupId", wanted["SecurityGroupIds"], groups),
    ):
        for id in sorted(set(ids) - {one[key] for one in found}):
            yield f"{kind} {id} is not in this account and region; name one that is"
        if wanted["Discovery"] == "tags":
            yield from clashes(ec2, wanted, kind, key, found)
    name = wanted["ClusterName"]
    ours = [g["GroupId"] for g in groups if f"kubernetes.io/cluster/{name}" in tags_of(g)]
    if len(ours) > 1:
        yield (
            f"{' and '.join(ours)} both have the tag kubernetes.io/cluster/{name}, and load balancers need just one of "
            "a node's security groups to have it; leave one out, or take the tag from one"
        )
    yield from strangers(ec2, wanted)
    yield from dead_ends(ec2, wanted.get("FunctionSubnetIds", []))


def dead_ends(ec2, ids):
    """Subnets from which a function reaches nothing outside.

    Source: Lambda guide, "Enable internet access for VPC-connected Lambda functions".
    """
    if not ids:
        return
    vpcs = {one["VpcId"] for one in listed(ec2, "describe_subnets", "Subnets", "subnet-id", ids)}
    tables = listed(ec2, "describe_route_tables", "RouteTables", "vpc-id", vpcs)
    by_subnet = {link["SubnetId"]: one for one in tables for link in one["Associations"] if "SubnetId" in link}
    main = next((one for one in tables if any(link.get("Main") for link in one["Associations"])), {})
    for id in ids:
        routes = by_subnet.get(id, main).get("Routes", [])
        ways = [one.get("GatewayId", "") for one in routes if one.get("DestinationCidrBlock") == "0.0.0.0/0"]
        if any(way.startswith("igw-") for way in ways):
            yield (
                f"functions, what runs kubectl among them, are in subnet {id}, whose way out is an internet gateway, and a "
                "function has no public address, so that it would reach nothing; give them subnets whose way out is a NAT "
                "gateway or endpoints (cluster.function_subnet_ids, or kubectl_private_subnet_ids or private_subnets where "
                "you import the cluster), or leave them outside where the public endpoint is open to anybody "
                "(cluster.kubectl_in_vpc = false)"
            )


def clashes(ec2, wanted, kind, key, found):
    """Tags that cannot be put, and tags of others that would match too."""
    name, account = wanted["ClusterName"], wanted["Account"]
    way_out = "or select by id (discovery='ids')"
    for one in found:
        if one.get("OwnerId", account) != account:
            yield f"{kind} {one[key]} is shared by account {one['OwnerId']}, whose resources cannot be tagged; {way_out[3:]}"
        there = tags_of(one).get(DISCOVERY, name)
        if there != name:
            yield (
                f"{kind} {one[key]} has the tag {DISCOVERY}={there}, for another cluster, and a tag has one value; use "
                f"other {kind}s, {way_out}"
            )
    operation, member = {
        "SubnetId": ("describe_subnets", "Subnets"),
        "GroupId": ("describe_security_groups", "SecurityGroups"),
    }[key]
    allowed = {one[key] for one in found} | set(wanted.get("OwnIds", []))
    for one in listed(ec2, operation, member, f"tag:{DISCOVERY}", [name]):
        # What this stack has tagged, and uses no longer, it untags itself.
        if one[key] not in allowed and tags_of(one).get(aws.MADE_BY) != wanted["Stack"]:
            yield (
                f"{kind} {one[key]} has the tag {DISCOVERY}={name} as well, so that nodes would get it too; take that tag "
                f"away, name it with the others, {way_out}"
            )


def strangers(ec2, wanted):
    """Nodes of the cluster that share no security group with the GPU nodes to come."""
    filters = [
        {"Name": "tag:eks:cluster-name", "Values": [wanted["ClusterName"]]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    apart = {}
    for instance in (i for page in pages for r in page["Reservations"] for i in r["Instances"]):
        groups = {group["GroupId"] for group in instance.get("SecurityGroups", [])}
        if groups and not groups & set(wanted["NodeSecurityGroupIds"]):
            apart.setdefault(", ".join(sorted(groups)), instance["InstanceId"])
    for groups, instance in sorted(apart.items()):
        yield (
            f"node {instance} of the cluster has the security groups {groups}, and GPU nodes would have "
            f"{', '.join(wanted['NodeSecurityGroupIds'])}, so that pods could not reach each other or CoreDNS; give GPU "
            "nodes what the others have (security_group_ids)"
        )


def tagged(properties):
    """The ids that a stack puts tags on."""
    return [*properties["SubnetIds"], *properties["SecurityGroupIds"]] if properties["Discovery"] == "tags" else []


def tag(wanted):
    """Tag what has no tag yet; what somebody else tagged stays theirs."""
    ec2, ids = aws.client("ec2"), tagged(wanted)
    there = tags_on(ec2, ids, DISCOVERY)
    missing = [id for id in ids if id not in there]
    if missing:
        ec2.create_tags(
            Resources=missing,
            Tags=[
                {"Key": DISCOVERY, "Value": wanted["ClusterName"]},
                {"Key": aws.MADE_BY, "Value": wanted["Stack"]},
            ],
        )


def untag(ids, properties):
    """Take our tags from what has our mark."""
    ec2 = aws.client("ec2")
    marked = tags_on(ec2, ids, aws.MADE_BY)
    ours = [id for id in ids if marked.get(id) == properties["Stack"]]
    if ours:
        # A value that somebody has changed since is not ours any more.
        ec2.delete_tags(
            Resources=ours,
            Tags=[
                {"Key": DISCOVERY, "Value": properties["ClusterName"]},
                {"Key": aws.MADE_BY, "Value": properties["Stack"]},
            ],
        )


def tags_on(ec2, ids, key):
    """The values of one tag, by the id of what has it."""
    if not ids:
        return {}
    filters = [{"Name": "resource-id", "Values": ids}, {"Name": "key", "Values": [key]}]
    pages = ec2.get_paginator("describe_tags").paginate(Filters=filters)
    return {one["ResourceId"]: one["Value"] for page in pages for one in page["Tags"]}


def make_provider(wanted):
    """Use the account's OIDC provider for the issuer, or make it: AWS has one of an issuer."""
    arn = wanted.get("OidcProviderArn")
    if not arn:
        return
    iam = aws.client("iam")
    try:
        there = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    except iam.exceptions.NoSuchEntityException:
        iam.create_open_id_connect_provider(
            Url=wanted["OidcIssuer"], ClientIDList=[AUDIENCE], Tags=[{"Key": aws.MADE_BY, "Value": wanted["Stack"]}]
        )
        return
    if AUDIENCE not in there["ClientIDList"]:
        raise ValueError(
            f"{arn} has not the audience {AUDIENCE}; run 'aws iam add-client-id-to-open-id-connect-provider "
            f"--open-id-connect-provider-arn {arn} --client-id {AUDIENCE}'"
        )


def remove_provider(properties):
    """Remove the OIDC provider if it has our mark."""
    arn = properties.get("OidcProviderArn")
    if not arn:
        return
    iam = aws.client("iam")
    try:
        there = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        if tags_of(there).get(aws.MADE_BY) == properties["Stack"]:
            iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    except iam.exceptions.NoSuchEntityException:
        pass


def listed(ec2, operation, member, name, values):
    """All of a kind that a filter finds."""
    if not values:
        return []
    pages = ec2.get_paginator(operation).paginate(Filters=[{"Name": name, "Values": list(values)}])
    return [one for page in pages for one in page[member]]


def tags_of(one):
    """Tags as a mapping."""
    return {pair["Key"]: pair["Value"] for pair in one.get("Tags", [])}
