"""What goes wrong when a stack is destroyed: a destroy that fails must say why, and the next one completes and leaves nothing.

Every other story is played before. These play while the CDK's command line destroys the stacks: those with which a destroy must
fail first, each in a destroy of its own unless they can share one, and in the last destroy those with which it must complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.cluster.kube import STRATEGIC, Document, condition
from eks_rehearsal.cluster.nodes import INTERFACE_OF_CLUSTER, INTERFACE_OF_INSTANCE, NODEGROUP_TAG
from eks_rehearsal.diagnosis import is_device_plugin
from eks_rehearsal.labels import NODEPOOL
from eks_rehearsal.scene import NAMESPACE, NODEPOOLS, Scene, Workload
from eks_rehearsal.stories.story import NotPlayed

DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
DAEMONS = "/apis/apps/v1/daemonsets"
DEPLOYMENTS = "/apis/apps/v1/deployments"
BUDGETS = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"
# The functions' clock. Karpenter's own cannot be hastened, so one that it must keep up with runs slower.
FAILING_SPEED, COMPLETING_SPEED = 120.0, 30.0
SLOW_MINUTES = 20
OUTAGE_SECONDS = 20.0
API_SECONDS = 60.0
# What Kubernetes' own controllers may take to find the API server again, and then to act.
ACT_SECONDS = 120.0
# How EC2 answers when it is asked too much, and when something of its own is broken.
# Source: EC2 API reference, "Error codes".
TROUBLES = (
    ("RequestLimitExceeded", "Request limit exceeded.", 503),
    ("InternalError", "An internal error has occurred.", 500),
    ("Unavailable", "The service is unavailable. Please try again shortly.", 503),
)


def nothing(_: Scene) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class DestroyStory:
    """Something that goes wrong when a stack is destroyed.

    Args:
        name: For the command line.

        title: What it shows.

        prepare: What is there before; raises `NotPlayed` where the stack has nothing of the kind.

        words: What a destroy must say.

        holds: Whether the destroy fails until it is mended; else it must complete.

        alone: Whether it needs a destroy of its own.

        begin: What happens just before that destroy.

        mend: What a person does when it has failed.

        check: Asserts, after the last destroy, what else must be so.

        cancelled: Whether the CDK's command line is killed meanwhile, and called again.
    """

    name: str
    title: str
    prepare: Callable[[Scene], None]
    words: Sequence[str] = ()
    holds: bool = False
    alone: bool = False
    begin: Callable[[Scene], None] = nothing
    mend: Callable[[Scene], None] = nothing
    check: Callable[[Scene], None] = nothing
    cancelled: bool = False
    needs_neighbour: bool = field(default=False, init=False)


def rounds(stories: Iterable[DestroyStory]) -> Iterator[list[DestroyStory]]:
    """The destroys that must fail: one for each story that needs its own, then one for the rest."""
    holding = [one for one in stories if one.holds]
    yield from ([one] for one in holding if one.alone)
    if shared := [one for one in holding if not one.alone]:
        yield shared


# What is there before.


def _at_work(scene: Scene) -> None:
    """A pod with a GPU, on a node that goes when Karpenter empties it."""
    if not any(one.name == "at-work" for one in scene.workloads):
        scene.running(scene.start("at-work", alone=True))


def _held(scene: Scene, name: str, **more: Any) -> Workload:
    """A pod that Karpenter waits for as long as it is there."""
    pool = scene.pool(lambda one: "terminationGracePeriod" not in one.document["spec"]["template"]["spec"])
    if pool is None:
        raise NotPlayed(
            "every pool has a terminationGracePeriod, after which Karpenter empties its nodes whatever is on them, and its clock "
            "is not the functions'"
        )
    workload = scene.start(name, pool=pool, alone=True, **more)
    scene.running(workload)
    return workload


def _workload(scene: Scene, name: str) -> Workload:
    return next(one for one in scene.workloads if one.name == name)


def _undisturbed(scene: Scene) -> None:
    _held(scene, "undisturbed", annotations={DO_NOT_DISRUPT: "true"})


def _budgeted(scene: Scene) -> None:
    _held(scene, "budgeted")
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "budgeted"}}}
    scene.kube.create(
        BUDGETS,
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "allows-none"},
            "spec": spec,
        },
    )


def _never_initialized(scene: Scene) -> None:
    plugin = next((one for one in scene.kube.items(DAEMONS) if is_device_plugin(one)), None)
    pool = scene.pools()[0]
    if plugin is None or scene.image_brings_plugin(pool):
        raise NotPlayed(f"the nodes of pool {pool.name} need no DaemonSet of NVIDIA's device plugin to be initialized")
    metadata = plugin["metadata"]
    scene.kube.delete(f"/apis/apps/v1/namespaces/{metadata['namespace']}/daemonsets/{metadata['name']}")
    known = {one["metadata"]["name"] for one in scene.claims()}
    scene.start("never-initialized", pool=pool, alone=True)

    def registered() -> list[Document]:
        new = [one for one in scene.claims() if one["metadata"]["name"] not in known]
        return [
            one for one in new if condition(one, "Registered") == "True" and condition(one, "Initialized") != "True"
        ]

    scene.until("a node to register that is never initialized", registered)


def _leave_interfaces(scene: Scene) -> None:
    """What the VPC CNI leaves when nodes go quickly: one of a pool's node, and one of each node of the stack's node groups."""
    ec2 = scene.account.aws.client("ec2")
    wanted = [{"Name": "instance-state-name", "Values": ["running"]}]
    for reservation in ec2.describe_instances(Filters=wanted)["Reservations"]:
        for instance in reservation["Instances"]:
            keys = {tag["Key"] for tag in instance["Tags"]}
            if NODEPOOL in keys or (NODEGROUP_TAG in keys and not scene.account.assembly.existing):
                tags = {INTERFACE_OF_CLUSTER: scene.plane.name, INTERFACE_OF_INSTANCE: instance["InstanceId"]}
                pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
                ec2.create_network_interface(
                    SubnetId=instance["SubnetId"],
                    Groups=[group["GroupId"] for group in instance["SecurityGroups"]],
                    TagSpecifications=[{"ResourceType": "network-interface", "Tags": pairs}],
                )


# What happens, and what a person does about it.


def _delete_pod(scene: Scene) -> None:
    _workload(scene, "undisturbed").stop()


def _delete_budget(scene: Scene) -> None:
    scene.kube.delete(f"{BUDGETS}/allows-none")


def _until(scene: Scene, what: str, look: Callable[[], bool], *, seconds: float = ACT_SECONDS) -> None:
    """Wait, whatever is wrong with the cluster: other stories have broken it, and its controllers may just have lost the API server."""
    scene.until(what, look, seconds=seconds, gives_up_early=False)


def _controller(scene: Scene) -> str:
    """The path of Karpenter's Deployment."""
    found = scene.kube.items(DEPLOYMENTS)
    labelled = (one for one in found if one["metadata"]["labels"].get("app.kubernetes.io/name") == "karpenter")
    about = next(labelled)["metadata"]
    return f"/apis/apps/v1/namespaces/{about['namespace']}/deployments/{about['name']}"


def _stop_controller(scene: Scene) -> None:
    scene.kube.patch(_controller(scene), {"spec": {"replicas": 0}}, kind=STRATEGIC)
    _until(scene, "Karpenter's controllers to end", lambda: not scene.controllers())


def _start_controller(scene: Scene) -> None:
    scene.kube.patch(_controller(scene), {"spec": {"replicas": 1}}, kind=STRATEGIC)
    scene.leading()


def _groups(scene: Scene) -> list[Document]:
    """The node groups of the cluster, as they were described before they went."""
    eks, cluster = scene.account.aws.client("eks"), scene.plane.name
    names = eks.list_nodegroups(clusterName=cluster)["nodegroups"]
    return [eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"] for name in names]


def _needs_own_nodes(scene: Scene) -> None:
    if scene.account.assembly.existing:
        raise NotPlayed("the cluster's nodes are not the stack's, so it would not be as it was before")
    if not _groups(scene):
        raise NotPlayed("the cluster has no node group")
    _at_work(scene)


_ASKED = ("nodegroupName", "subnets", "nodeRole", "scalingConfig", "instanceTypes", "amiType", "labels", "taints")


def _delete_nodes(scene: Scene) -> None:
    eks, cluster = scene.account.aws.client("eks"), scene.plane.name
    for group in _groups(scene):
        scene.kept[group["nodegroupName"]] = group
        eks.delete_nodegroup(clusterName=cluster, nodegroupName=group["nodegroupName"])
    _until(scene, "the node groups to be gone", lambda: not _groups(scene))
    _until(
        scene,
        "the controllers to end with their nodes",
        lambda: not any(condition(one, "Ready") == "True" for one in scene.controllers()),
    )


def _create_nodes(scene: Scene) -> None:
    eks, cluster = scene.account.aws.client("eks"), scene.plane.name
    for group in scene.kept.values():
        asked = {key: group[key] for key in _ASKED if group.get(key)}
        if template := group.get("launchTemplate"):
            asked["launchTemplate"] = {key: template[key] for key in ("id", "version")}
        eks.create_nodegroup(clusterName=cluster, **asked)
    _until(scene, "the node groups to be there again", lambda: all(one["status"] == "ACTIVE" for one in _groups(scene)))
    scene.leading()


def _stop_api(scene: Scene) -> None:
    scene.plane.stop_api_server()


def _start_api(scene: Scene) -> None:
    """Start the API server, and do what it did not hear of: the CDK's functions take a deletion that failed for done."""
    scene.plane.start_api_server()
    # It serves its own kinds first, and others a little later.
    _until(scene, "the NodePools to be deleted", lambda: _deleted(scene), seconds=API_SECONDS)
    scene.leading()


def _deleted(scene: Scene) -> bool:
    """Delete the NodePools; whether there are none."""
    found = scene.kube.items(NODEPOOLS)
    for one in found:
        scene.kube.delete(f"{NODEPOOLS}/{one['metadata']['name']}")
    return not found


def _slow(scene: Scene) -> None:
    slow = {one.id: SLOW_MINUTES * 60 / COMPLETING_SPEED for one in scene.alive()}
    scene.account.hooks.shutdown_seconds.update(slow)


def _was_slow(scene: Scene) -> None:
    seconds = SLOW_MINUTES * 60 / COMPLETING_SPEED
    last = [one.ended for one in scene.observer.instances.values() if one.ended]
    held = bool(last) and max(last) - scene.began >= seconds
    scene.check(f"the destroy waited {seconds:.0f} s for EC2", holds=held)


def _unwell(scene: Scene) -> None:
    """Let EC2 refuse what roles ask, one way after the other."""
    ends, root = time.monotonic() + OUTAGE_SECONDS, scene.account.aws.world.root

    def trouble(call: Call) -> None:
        if call.service == "ec2" and call.principal != root and time.monotonic() < ends:
            code, message, status = TROUBLES[len(scene.refused) % len(TROUBLES)]
            scene.refused.append(call.principal)
            raise AwsError(code, message, status=status)

    scene.account.hooks.trouble = trouble


def _was_unwell(scene: Scene) -> None:
    scene.check(f"EC2 refused {len(scene.refused)} calls of {len(set(scene.refused))} roles", holds=bool(scene.refused))


def _interfaces_went(scene: Scene) -> None:
    wanted = [{"Name": f"tag:{INTERFACE_OF_CLUSTER}", "Values": [scene.plane.name]}]
    found = scene.account.aws.client("ec2").describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]
    scene.check("no interface with the cluster's tag is left", holds=not found)


DESTROYS = (
    DestroyStory(
        "destroy-no-api",
        "the API server does not answer when the pools are deleted",
        _at_work,
        ("API server",),
        holds=True,
        alone=True,
        begin=_stop_api,
        mend=_start_api,
    ),
    DestroyStory(
        "destroy-no-controller",
        "Karpenter's controller does not run",
        _at_work,
        ("no controller of Karpenter",),
        holds=True,
        alone=True,
        begin=_stop_controller,
        mend=_start_controller,
    ),
    DestroyStory(
        "destroy-no-nodes",
        "the nodes of Karpenter's controller went first",
        _needs_own_nodes,
        ("Karpenter's controller does not work", "Pending"),
        holds=True,
        alone=True,
        begin=_delete_nodes,
        mend=_create_nodes,
    ),
    DestroyStory(
        "destroy-do-not-disrupt",
        f"a pod has {DO_NOT_DISRUPT}",
        _undisturbed,
        (f"pod {NAMESPACE}/undisturbed-", DO_NOT_DISRUPT),
        holds=True,
        mend=_delete_pod,
    ),
    DestroyStory(
        "destroy-budget",
        "a PodDisruptionBudget allows no disruption",
        _budgeted,
        (f"PodDisruptionBudget {NAMESPACE}/allows-none", f"pod {NAMESPACE}/budgeted-"),
        holds=True,
        mend=_delete_budget,
    ),
    DestroyStory("destroy-pods", "pods use GPUs", _at_work),
    DestroyStory(
        "destroy-interfaces",
        "the VPC CNI leaves network interfaces",
        _at_work,
        ("network interface eni-",),
        begin=_leave_interfaces,
        check=_interfaces_went,
    ),
    DestroyStory(
        "destroy-slow",
        f"EC2 takes {SLOW_MINUTES} minutes to terminate an instance",
        _at_work,
        ("EC2 is shutting it down",),
        begin=_slow,
        check=_was_slow,
    ),
    DestroyStory(
        "destroy-throttled",
        f"EC2 refuses every call for {OUTAGE_SECONDS:.0f} s",
        _at_work,
        begin=_unwell,
        check=_was_unwell,
    ),
    DestroyStory("destroy-cancelled", "the CDK's command line is killed, and called again", _at_work, cancelled=True),
    # Last, because the nodes that come after it are of no use.
    DestroyStory("destroy-never-initialized", "a node was never initialized", _never_initialized),
)
