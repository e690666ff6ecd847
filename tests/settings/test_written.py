"""A fault says where it is as its caller wrote it: Python's keywords and classes, or the dotted path of `cdk.json`."""

import pytest

from karpenter_gpu import (
    AmiAlias,
    EksGpuStack,
    ExistingCluster,
    GpuPool,
    InvalidSettings,
    Karpenter,
    KarpenterSettings,
    NewCluster,
    RootVolume,
    platform_from_context,
)

# isort: split
import aws_cdk as cdk

from tests.cdk.test_karpenter import THERE, imported_cluster, own_stack

POOL = {"name": "inference", "gpu_names": ["l4"], "gpu_limit": 4}
OLD = KarpenterSettings(version="1.0.1")
ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123"
CLOSED = KarpenterSettings(feature_gates={"node_overlay": False})
NEVER = AmiAlias(alias="al2023@v20260101")


def stack(**given):
    cluster = NewCluster(name="gpu", kubernetes_version="1.36")
    return EksGpuStack(cdk.App(), "S", **{"cluster": cluster, "pools": [GpuPool(**POOL)]} | given)


def karpenter(**given):
    own = own_stack()
    return Karpenter(own, "K", cluster=imported_cluster(own), **THERE | {"oidc_issuer": ISSUER} | given)


def added(**given):
    return karpenter().add_gpu_pool(GpuPool(**POOL | given))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: GpuPool(**POOL | {"gpu_limit": -1}), "GpuPool(gpu_limit=…): -1 is too small"),
        (lambda: GpuPool(**POOL, root_volume={"size_gib": 3}), "GpuPool(root_volume={'size_gib': …}): 3 is too small"),
        (lambda: GpuPool(**POOL, root_volume=RootVolume(size_gib=3)), "RootVolume(size_gib=…): 3 is too small"),
        (lambda: GpuPool("l4", **POOL), "GpuPool(…): 'l4' is given without the name of its setting"),
        (lambda: GpuPool(**POOL, zone="a"), "GpuPool(zone=…): 'zone' is not a setting; did you mean 'zones'?"),
        (
            lambda: stack(karpenter=OLD),
            "karpenter=KarpenterSettings(version=…): Karpenter 1.0.1 supports Kubernetes 1.25",
        ),
        (
            lambda: stack(karpenter=KarpenterSettings(values={"replicas": 5})),
            (
                "karpenter=KarpenterSettings(values={'replicas': …}): 5 controllers need a node each, and "
                "cluster=NewCluster(system_nodes=SystemNodes(count=…)) is 2"
            ),
        ),
        (
            lambda: stack(karpenter=KarpenterSettings(values={"nodeSelector": {"kubernetes.io/arch": "arm64"}})),
            "karpenter=KarpenterSettings(values={'nodeSelector': {'kubernetes.io/arch': …}}): 'arm64' is not the",
        ),
        (
            lambda: stack(pools=[GpuPool(**POOL, ami=NEVER)]),
            "pools=[GpuPool(name='inference', ami=AmiAlias(alias=…))]: al2023@v20260101",
        ),
        (lambda: stack(pools=[{"name": "p"}]), "pools=[{'name': 'p'}]: selects no GPU type"),
        (lambda: stack(pools=[POOL | {"gpu_limit": "x"}]), "pools=[{'name': 'inference', 'gpu_limit': …}]: 'x' is not"),
        (lambda: stack(tags={"karpenter.sh/nodepool": "x"}), "tags=…: 'karpenter.sh/nodepool' is a tag"),
        (
            lambda: stack(cluster=ExistingCluster(name="there")),
            "cluster=ExistingCluster(name=…): 'there' is to be looked up",
        ),
        (lambda: karpenter(settings=OLD), "settings=KarpenterSettings(version=…): Karpenter 1.0.1 supports Kubernetes"),
        (lambda: karpenter(settings={}), "settings=…: {} is not what goes here; give a KarpenterSettings"),
        (lambda: karpenter(kubernetes_version="x"), "kubernetes_version=…: 'x' does not say the cluster's Kubernetes"),
        (lambda: added(ami=NEVER), "pool=GpuPool(name='inference', ami=AmiAlias(alias=…)): al2023@v20260101"),
        (
            lambda: karpenter(settings=CLOSED).add_gpu_pool(
                GpuPool(name="p", instance_types=["g6f.large"], gpu_limit=1)
            ),
            (
                "pool=GpuPool(name='p'): EC2 counts no GPU on g6f, and "
                "settings=KarpenterSettings(feature_gates=FeatureGates(node_overlay=…)) is false"
            ),
        ),
        (lambda: karpenter().add_gpu_pool(POOL), "pool=…: {'name': 'inference'"),
    ],
)
def test_in_python_a_fault_names_keyword_and_class(make, sentence):
    with pytest.raises(InvalidSettings) as caught:
        make()
    assert [one for one in str(caught.value).splitlines() if one.startswith(sentence)], str(caught.value)


def test_of_cdk_json_a_fault_names_the_dotted_path():
    profile = {
        "cluster": {"name": "gpu", "kubernetes_version": "1.36"},
        "pools": [POOL | {"gpu_limit": -1}],
        "karpenter": {"version": "1.0.1"},
    }
    with pytest.raises(InvalidSettings) as caught:
        platform_from_context({"profiles": {"p": profile}})
    where = [line.partition(": ")[0] for line in str(caught.value).splitlines()]
    assert where == ["pools.inference.gpu_limit", "karpenter.version"]


def test_every_fault_keeps_its_dotted_path():
    with pytest.raises(InvalidSettings) as caught:
        karpenter(settings=OLD)
    assert [fault.where for fault in caught.value.faults] == ["karpenter.version"]


def test_a_person_sees_neither_pydantic_nor_the_checks_in_the_trace():
    with pytest.raises(InvalidSettings) as caught:
        stack(karpenter=OLD)
    assert caught.value.__suppress_context__
