"""Pools that leave, are renamed and retired in one update of a running stack, and what is left of it all after a destroy."""

import aws_cdk as cdk
import pytest

from eks_rehearsal.labels import NODEPOOL
from eks_rehearsal.rehearse import Options, rehearse
from eks_rehearsal.scene import NODEPOOLS
from eks_rehearsal.stories import Story
from karpenter_gpu import EksGpuStack, GpuPool, NewCluster
from tests.leftovers.command import asking, document
from tests.rehearsal.test_rehearsals import Quiet

pytestmark = pytest.mark.rehearsal

NODECLASSES = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses"
LEAVING, RENAMED, NEW, RETIRED = "leaving", "before", "after", "retired"
# Karpenter gives a pod's node up at once, and each of these pods ends within a second.
LONGEST_SECONDS = 300


def pool(name, gpu_limit=4, weight=None):
    return GpuPool(
        name=name, gpu_names=["l4"], gpu_counts=[1], capacity_types=["on-demand"], gpu_limit=gpu_limit, weight=weight
    )


def synthesized(folder, *pools):
    app = cdk.App(outdir=str(folder))
    EksGpuStack(app, "Platform", cluster=NewCluster(name="gpu", kubernetes_version="1.36"), pools=pools)
    app.synth()
    return folder


class Looking(Quiet):
    """Runs `verify-clean` when the story says so, and when the destroy has passed."""

    def __init__(self):
        self.aws, self.said = None, {}

    def look(self, when):
        with asking(self.aws):
            self.said[when] = document(region=self.aws.region)

    def moment(self, moment):
        super().moment(moment)
        if (moment.lane, moment.about, moment.what) == ("story", "destroy", "passed"):
            self.look("destroyed")


def instances(scene, name):
    found = scene.account.aws.client("ec2").describe_instances(
        Filters=[
            {"Name": f"tag:{NODEPOOL}", "Values": [name]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down", "stopping", "stopped"]},
        ]
    )
    return [one["InstanceId"] for reservation in found["Reservations"] for one in reservation["Instances"]]


def named(scene, path):
    return {one["metadata"]["name"] for one in scene.kube.items(path)}


def test_pools_leave_are_renamed_and_retire_in_one_update_and_a_destroy_leaves_nothing(tmp_path):
    looking = Looking()
    after = synthesized(tmp_path / "after", pool(NEW, weight=10), pool(RETIRED, gpu_limit=0))

    def play(scene):
        looking.aws = scene.account.aws
        pools = {one.name: one for one in scene.pools()}
        pods = {name: scene.start(f"on-{name}", pool=pools[name]) for name in (LEAVING, RETIRED)}
        pods[RENAMED] = scene.start("on-any")
        ran = {name: scene.running(one) for name, one in pods.items()}
        scene.check("a pod that any pool takes is on the heaviest", holds=len(instances(scene, RENAMED)) == 1)
        began = scene.timeline.now
        said = scene.account.deploy(after)
        scene.check("the update passed", holds=said.exit_code == 0)
        scene.check("and took no time-out of anybody's", holds=scene.timeline.now - began < LONGEST_SECONDS)
        events = [one for one in scene.timeline.after(began) if one.lane == "stack"]
        scene.check("and nothing of it failed", holds=not [one for one in events if "FAILED" in one.what])
        for name in (LEAVING, RENAMED):
            scene.check(f"no instance of pool {name} is left", holds=not instances(scene, name))
        scene.check("the pools are the new ones", holds=named(scene, NODEPOOLS) == {NEW, RETIRED})
        scene.check("and their classes, too", holds=named(scene, NODECLASSES) == {NEW, RETIRED})
        scene.until("the pod of the renamed pool on the new one", lambda: pods[RENAMED].pods("Running"))
        scene.check("a pod that no pool takes waits", holds=len(pods[LEAVING].pods("Pending")) == 1)
        stayed = [one["metadata"]["uid"] for one in pods[RETIRED].pods("Running")]
        scene.check("the pod of the retired pool goes on", holds=stayed == [ran[RETIRED]["metadata"]["uid"]])
        looking.look("running")

    before = synthesized(tmp_path / "before", pool(LEAVING), pool(RENAMED, weight=10), pool(RETIRED))
    result = rehearse(before, looking, Options(stories=[Story("pools-change", "pools leave, and others come", play)]))
    acts = [(one.name, one.verdict, one.reason) for one in result.outcomes]
    assert acts == [(name, "passed", "") for name in ("deploy", "pools-change", "destroy")]
    assert (result.left, result.unknown) == ((), ())
    code, said = looking.said["running"]
    assert (code, said["unseen"]) == (1, [])
    kinds = {one["kind"] for one in said["left"]}
    assert kinds >= {
        "cluster",
        "node group",
        "access entry",
        "instance",
        "volume",
        "launch template",
    }
    code, said = looking.said["destroyed"]
    assert (code, said["left"], said["unseen"]) == (0, [], [])
