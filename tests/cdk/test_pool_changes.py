"""What CloudFormation deletes, and when, if pools or Karpenter leave a stack that stands: the templates through the engine."""

import copy
import json
import threading
from types import SimpleNamespace

import pytest

from eks_rehearsal.cloudformation.engine import Engine, Stack, Surroundings, new_id
from eks_rehearsal.cloudformation.resource import Made
from karpenter_gpu import EksGpuStack, GpuPool, Karpenter, KarpenterSettings, NewCluster

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_eks_v2 as eks
from aws_cdk.assertions import Template
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer

from tests.graph import Graph
from tests.shapes import PLAIN, text_of

MANIFEST, CHART = "Custom::AWSCDK-EKS-KubernetesResource", "Custom::AWSCDK-EKS-HelmChart"
GATE, DRAIN = "Custom::KarpenterGpuPoolDrain", "Custom::KarpenterGpuDrain"


class AnyValue(dict):
    """The attributes of a resource that only stands in: whatever is asked for is there."""

    def __missing__(self, key):
        return f"<{key}>"

    def __contains__(self, key):
        return True

    def get(self, key, default=None):
        return self[key]


class Anything:
    """Resource types that write down what is asked of them, and create and delete an object of Kubernetes as kubectl does.

    `objects` has kind and name of those on the cluster, whichever resource made or overwrote them. `breaks` has the ids whose deletion fails.
    """

    def __init__(self):
        self.objects = set()
        self.calls, self.breaks, self.failed, self._lock, self._count = [], set(), [], threading.Lock(), 0
        self.engine = Engine(
            Surroundings(
                context=lambda stack, logical_id: SimpleNamespace(logical_id=logical_id, stack=stack),
                pseudo={
                    "AWS::Region": "eu-west-1",
                    "AWS::AccountId": "111122223333",
                    "AWS::Partition": "aws",
                    "AWS::URLSuffix": "amazonaws.com",
                },
                zones=("eu-west-1a", "eu-west-1b", "eu-west-1c"),
                public=lambda name: f"value of {name}",
                types=self.type,
                heard=lambda event: self.failed.append(event.reason) if event.status.endswith("_FAILED") else None,
                stacks=lambda: [self.stack],
            )
        )
        self.stack = Stack("S", new_id("S", partition="aws", region="eu-west-1", account="111122223333"))

    def type(self, name):
        return SimpleNamespace(
            check=lambda *_: None,
            create=self.create,
            delete=self.delete,
            update=self.update,
            replaces=lambda *_: False,
        )

    def note(self, what, name):
        with self._lock:
            self.calls.append((what, name))

    def create(self, context, properties):
        self.note("create", context.logical_id)
        object_ = _object(properties)
        if object_ in self.objects and not properties.get("Overwrite"):
            raise RuntimeError(f"{' '.join(object_)} already exists")
        with self._lock:
            self._count += 1
            self.objects |= {object_} if object_ else set()
        # Templates take ARNs apart.
        return Made(f"arn:aws:any:eu-west-1:111122223333:oidc-provider/{context.logical_id}-{self._count}", AnyValue())

    def update(self, context, id, _, __):
        self.note("update", context.logical_id)
        return Made(id, AnyValue())

    def delete(self, context, _, properties):
        self.note("delete", context.logical_id)
        if context.logical_id in self.breaks:
            raise RuntimeError("an instance is alive")
        with self._lock:
            self.objects.discard(_object(properties))

    def deploy(self, template, ends=("CREATE_COMPLETE", "UPDATE_COMPLETE")):
        """Create the stack, or update it to another template; what was called."""
        before = copy.copy(self.stack)
        self.calls.clear()
        self.stack.parsed, self.stack.template = template, str(template)
        if before.parsed:
            self.engine.update(self.stack, before)
        else:
            self.engine.create(self.stack)
        assert self.stack.status in ends, self.failed
        return list(self.calls)


def _object(properties):
    """Kind and name of a manifest's one object; nothing for another type of resource."""
    if "Manifest" not in properties:
        return None
    (document,) = json.loads(text_of(properties["Manifest"]))
    return document["kind"], document["metadata"]["name"]


def pool(name, gpu_limit=4):
    return GpuPool(name=name, gpu_names=("l4",), gpu_limit=gpu_limit)


def platform(*pools):
    app = cdk.App(context=PLAIN)
    stack = EksGpuStack(app, "S", cluster=NewCluster(name="gpu", kubernetes_version="1.36"), pools=pools)
    return Template.from_stack(stack).to_json()


def cluster_alone(*pools, id="Karpenter"):
    """A cluster of one's own, with Karpenter and pools where there are any."""
    stack = cdk.Stack(cdk.App(context=PLAIN), "S")
    cluster = eks.Cluster(
        stack,
        "Cluster",
        cluster_name="gpu",
        version=eks.KubernetesVersion.of("1.36"),
        default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
        kubectl_provider_options=eks.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(stack, "Kubectl")),
    )
    if pools:
        karpenter = Karpenter(
            stack, id, cluster=cluster, cluster_name="gpu", kubernetes_version="1.36", settings=KarpenterSettings()
        )
        for one in pools:
            karpenter.add_gpu_pool(one)
    return Template.from_stack(stack).to_json()


@pytest.fixture(scope="module")
def before():
    return platform(pool("a"), pool("b"), pool("c"))


@pytest.fixture(scope="module")
def after():
    """Pool a has left, b is called d, and c is retired."""
    return platform(pool("d"), pool("c", gpu_limit=0))


@pytest.fixture
def standing(before):
    world = Anything()
    world.deploy(before)
    return world


def of(template, name, *, kind="", type_=MANIFEST):
    """The logical id of a pool's object, or of its gate."""
    (found,) = (
        id
        for id, resource in template["Resources"].items()
        if resource["Type"] == type_
        and (resource["Properties"].get("NodePool") == name if type_ == GATE else _is(resource, kind, name))
    )
    return found


def _is(resource, kind, name):
    return _object(resource["Properties"]) == (kind, name)


def parts(template, name):
    """A pool's NodePool, gate and EC2NodeClass, in the order in which they must go."""
    return [
        of(template, name, kind="NodePool"),
        of(template, name, type_=GATE),
        of(template, name, kind="EC2NodeClass"),
    ]


def test_of_each_pool_that_leaves_the_nodepool_goes_first_then_its_nodes_then_its_class(standing, before, after):
    calls = standing.deploy(after)
    deleted = [name for what, name in calls if what == "delete"]
    assert set(deleted) == {id for name in "ab" for id in parts(before, name)}
    for name in "ab":
        at = [deleted.index(id) for id in parts(before, name)]
        assert at == sorted(at)


def test_a_pool_under_another_name_is_there_before_the_old_one_goes(standing, before, after):
    calls = standing.deploy(after)
    first = min(at for at, (what, _) in enumerate(calls) if what == "delete")
    assert {name for what, name in calls[:first] if what == "create"} >= set(parts(after, "d"))


def test_a_retired_pool_is_changed_where_it_stands_and_its_class_is_not(standing, after):
    calls = standing.deploy(after)
    assert [what for what, name in calls if name == of(after, "c", kind="NodePool")] == ["update"]
    assert not [what for what, name in calls if name == of(after, "c", kind="EC2NodeClass")]


def test_a_pool_whose_nodes_stay_keeps_its_class_and_nothing_else_waits_for_it(standing, before, after):
    pool_a, gate, class_a = parts(before, "a")
    standing.breaks = {gate}
    calls = standing.deploy(after)
    deleted = {name for what, name in calls if what == "delete"}
    assert class_a not in deleted
    assert deleted >= {pool_a, *parts(before, "b")}


def test_nothing_that_nodes_need_is_touched_when_a_pool_leaves(standing, before, after):
    calls = standing.deploy(after)
    types = {before["Resources"][name]["Type"] for what, name in calls if what == "delete"}
    assert types == {MANIFEST, GATE}


@pytest.fixture(scope="module")
def with_karpenter():
    return cluster_alone(pool("a"), pool("b"))


def test_karpenter_leaves_a_stack_pools_first_then_nodes_then_classes_then_the_controller(with_karpenter):
    world = Anything()
    world.deploy(with_karpenter)
    calls = world.deploy(cluster_alone())
    deleted = [name for what, name in calls if what == "delete"]
    resources = with_karpenter["Resources"]

    def last(kind, type_):
        return max(deleted.index(of(with_karpenter, name, kind=kind, type_=type_)) for name in "ab")

    def first(*types):
        return min(at for at, name in enumerate(deleted) if resources[name]["Type"] in types)

    assert last("NodePool", MANIFEST) < first(DRAIN)
    assert max(last("", GATE), first(DRAIN)) < deleted.index(of(with_karpenter, "a", kind="EC2NodeClass"))
    graph = Graph(with_karpenter)
    for name in "ab":
        assert graph.waits_for(of(with_karpenter, name, kind="EC2NodeClass")) >= set(graph.of_type(CHART))
    assert first(CHART) < first("AWS::SQS::Queue", "AWS::IAM::ManagedPolicy")
    assert not [name for name in deleted if resources[name]["Type"] in ("AWS::EKS::Cluster", "AWS::EKS::Nodegroup")]


def test_a_second_karpenter_fails_before_it_installs_anything_and_its_rollback_removes_nothing_of_the_firsts(
    with_karpenter,
):
    world = Anything()
    world.deploy(with_karpenter)
    objects = set(world.objects)
    second = cluster_alone(pool("a"), pool("b"), id="Moved")
    calls = world.deploy(second, ends=("UPDATE_ROLLBACK_COMPLETE",))
    assert "ConfigMap only-one-karpenter already exists" in world.failed
    assert not [name for what, name in calls if what == "delete" and name in with_karpenter["Resources"]]
    assert world.objects == objects
    created = {second["Resources"][name]["Type"] for what, name in calls if name not in with_karpenter["Resources"]}
    assert not created & {CHART, GATE, DRAIN, "Custom::KarpenterGpuSweep", "AWS::EKS::PodIdentityAssociation"}
