import pytest

from karpenter_gpu import ExistingCluster, ExistingVpc, InvalidSettings, NewCluster, NewVpc, SystemNodes


def fault_of(make, **given):
    with pytest.raises(InvalidSettings) as caught:
        make(**given)
    return "\n".join(map(str, caught.value.faults))


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"name": ""}, "name: the cluster name is empty; give the cluster a name"),
        ({"name": "-x"}, "name: '-x' is not a name EKS takes for a cluster; use at most 100 letters"),
        ({"name": "a b"}, "name: 'a b' is not a name EKS takes for a cluster"),
        ({"name": "a" * 101}, "is not a name EKS takes for a cluster"),
        ({"name": "${Token[TOKEN.12]}"}, "name: the cluster name is a token, and it stands inside IAM condition keys"),
        ({"name": "x", "kubernetes_version": "v1.36"}, "kubernetes_version: 'v1.36' is not a version of the form 1.36"),
        ({"name": "x", "kubernetes_version": "1.36.4"}, "EKS takes the minor alone"),
        (
            {"name": "x", "public_access_cidrs": ("10.0.0.1/8",)},
            "public_access_cidrs: '10.0.0.1/8' is not an IPv4 range",
        ),
        ({"name": "x", "admins": ("ops",)}, "admins: 'ops' is not the ARN of an IAM role or user"),
        ({"name": "x", "secrets_key_arn": "key"}, "secrets_key_arn: 'key' is not the ARN of a KMS key"),
    ],
)
def test_one_fault_is_one_sentence(given, fault):
    assert fault in fault_of(NewCluster, **given)


def test_ipv6_needs_a_vpc_that_the_stack_makes():
    network = ExistingVpc(
        vpc_id="vpc-0a1b2c3d", availability_zones=("a", "b"), private_subnet_ids=("subnet-0a1b2c3d", "subnet-0a1b2c3e")
    )
    assert "ip_family: ipv6 needs subnets with IPv6 ranges" in fault_of(
        NewCluster, name="x", ip_family="ipv6", network=network
    )


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"cidr": "10.0.0.0/33"}, "cidr: '10.0.0.0/33' is not an IPv4 range"),
        ({"cidr": "10.0.0.0/24"}, "cidr: 10.0.0.0/24 leaves the wrong number of addresses; use a /16 to a /20"),
        ({"availability_zones": ("eu-west-1a",)}, "EKS needs subnets in two zones at least; name another"),
    ],
)
def test_a_network_that_could_not_be_made(given, fault):
    assert fault in fault_of(NewVpc, **given)


def test_an_existing_vpc_has_as_many_subnets_for_each_zone():
    said = fault_of(
        ExistingVpc,
        vpc_id="vpc-0a1b2c3d",
        availability_zones=("a", "b"),
        private_subnet_ids=("subnet-0a1b2c3d", "subnet-0a1b2c3e", "subnet-0a1b2c3f"),
    )
    assert said == "private_subnet_ids: 3 subnets do not fit 2 zones; give as many for each zone"


def test_one_system_node_is_too_few_for_two_controllers():
    assert fault_of(SystemNodes, count=1) == "count: 1 is too small; the least is 2"


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("foo", "'foo' is not an instance type; types look like m6i.large"),
        ("t3.micro", "'t3.micro' is too small for the controller, which asks for 1 CPU and 1 GiB; use m6i.large, say"),
        ("m7g.large", "'m7g.large' is an arm64 type, and the system nodes' image is amd64; use m6i.large, say"),
        ("m6i.larg", "'m6i.larg' is not an instance type; did you mean m6i.large or m6i.xlarge?"),
        ("g5.xlarge", "'g5.xlarge' has an accelerator, and the system nodes' image has no driver; use m6i.large, say"),
    ],
)
def test_system_nodes_are_plain_amd64(name, fault):
    assert fault_of(SystemNodes, instance_types=(name,)) == f"instance_types: {fault}"


@pytest.mark.parametrize("name", ["m6i.large", "m7i-flex.large", "c5.2xlarge", "u7in-16tb.224xlarge", "i4i.metal"])
def test_other_types_are_taken(name):
    assert SystemNodes(instance_types=(name,)).instance_types == (name,)


def test_ids_are_what_ec2_would_take():
    zones = ("eu-west-1a", "eu-west-1b")
    said = fault_of(ExistingVpc, vpc_id="vpc-1", availability_zones=zones, private_subnet_ids=("subnet-x", "subnet-y"))
    assert said.startswith("vpc_id: 'vpc-1' is not the id of a VPC; ids look like vpc-0123456789abcdef0")
    said = fault_of(
        ExistingVpc, vpc_id="vpc-0a1b2c3d", availability_zones=zones, private_subnet_ids=("subnet-x", "subnet-y")
    )
    assert said.startswith("private_subnet_ids: 'subnet-x' is not the id of a subnet")


def test_a_private_range_never_reaches_the_public_endpoint():
    said = fault_of(NewCluster, name="x", public_access_cidrs=("10.0.0.0/8",))
    assert said.startswith("public_access_cidrs: 10.0.0.0/8 is a private range, from which nothing reaches the public")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"kubernetes_version": "1.36.4"}, "kubernetes_version: '1.36.4' is not a version of the form 1.36"),
        (
            {"oidc_issuer": "oidc.eks.eu-west-1.amazonaws.com/id/AB"},
            "oidc_issuer: 'oidc.eks.eu-west-1.amazonaws.com/id/AB' is not the issuer",
        ),
        (
            {"subnet_ids": ("subnet-1",)},
            "subnet_ids: 'subnet-1' is not such an id; ids look like subnet-0123456789abcdef0",
        ),
        ({"security_group_ids": ("group",)}, "security_group_ids: 'group' is not such an id; ids look like sg-0123"),
        ({"cluster_security_group_id": "sg"}, "cluster_security_group_id: 'sg' is not such an id"),
        ({"function_subnet_ids": ("subnet-1",)}, "function_subnet_ids: 'subnet-1' is not such an id"),
        (
            {"functions_in_vpc": True, "kubectl_in_vpc": False},
            "kubectl_in_vpc: false has what runs kubectl outside the VPC, and functions_in_vpc has every function inside",
        ),
        (
            {"function_subnet_ids": ("subnet-0123456789abcdef0",), "kubectl_in_vpc": False},
            "function_subnet_ids: says where functions are inside the VPC, and kubectl_in_vpc is false; leave one out",
        ),
        ({"kubectl_role_arn": "ops"}, "kubectl_role_arn: 'ops' is not the ARN of an IAM role"),
        (
            {"authentication_mode": "CONFIG_MAP"},
            "kubectl_role_arn: 'x' lets in by aws-auth alone, where what runs kubectl",
        ),
    ],
)
def test_what_is_said_of_a_cluster_that_is_there(given, fault):
    assert fault in fault_of(ExistingCluster, name="x", **given)


def test_nodes_are_never_newer_than_their_control_plane_nor_far_behind():
    def fault(nodes, **more):
        with pytest.raises(InvalidSettings) as caught:
            NewCluster(name="x", kubernetes_version="1.36", system_nodes=SystemNodes(kubernetes_version=nodes, **more))
        return "\n".join(map(str, caught.value.faults))

    assert fault("1.37").startswith(
        "system_nodes.kubernetes_version: 1.37 is newer than the control plane's 1.36, and a kubelet must never be"
    )
    assert fault("1.32").startswith("system_nodes.kubernetes_version: 1.32 is more than 3 minors older")
    assert fault("1.35", release_version="1.36.2-20261112").startswith(
        "system_nodes.release_version: 1.36.2-20261112 is not an image for the nodes' Kubernetes 1.35"
    )
    assert NewCluster(name="x", kubernetes_version="1.36", system_nodes=SystemNodes(kubernetes_version="1.33"))


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"cni": {}}, "addon_values: 'cni' is not an add-on of this stack; there are vpc-cni, kube-proxy, coredns"),
        ({"coredns": 3}, "addon_values.coredns: 3 is not a mapping of the add-on's values"),
        ({"coredns": {"a": {"b": None}}}, "addon_values.coredns.a.b: is null, which says nothing"),
    ],
)
def test_values_for_addons_are_documents_for_addons_that_exist(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        NewCluster(name="x", addon_values=given)
    assert "\n".join(map(str, caught.value.faults)).startswith(fault)
