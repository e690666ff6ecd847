"""What a pool's settings render, before a real API server with the CRDs of the oldest and the newest Karpenter that take it."""

import time
from dataclasses import replace

import pytest
import yaml

from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.kube import ApiError
from eks_rehearsal.processes import Processes, run_captured
from eks_rehearsal.programs import cache_folder, programs, recipes
from eks_rehearsal.programs.workshop import provide
from karpenter_gpu import GpuPool, ReservationById, ReservationsByTags
from karpenter_gpu.manifests.node_class import ec2_node_class
from karpenter_gpu.manifests.node_pool import node_pool
from tests.rehearsal.test_rehearsals import Quiet

pytestmark = pytest.mark.rehearsal

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATHS = {"NodePool": "/apis/karpenter.sh/v1/nodepools", "EC2NodeClass": "/apis/karpenter.k8s.aws/v1/ec2nodeclasses"}

LADDER = GpuPool(
    name="ladder",
    gpu_names=("l4",),
    gpu_limit=8,
    capacity_types=("reserved", "spot", "on-demand"),
    reservations=(
        ReservationById(id="cr-0123456789abcdef0"),
        ReservationsByTags(tags={"team": "*"}, owner="111122223333"),
    ),
)
BLOCK = replace(
    LADDER,
    name="block",
    reservations=(ReservationById(id="cr-0b", capacity_block=True),),
    termination_grace_period="9m",
)
MATCHED = replace(LADDER, name="matched", reservations=(ReservationsByTags(tags={"team": "ml"}, match="targeted"),))
NEWEST = "1.15.1"
ROWS = (("1.3.3", (LADDER,)), ("1.6.3", (BLOCK,)), ("1.8.6", (MATCHED,)), (NEWEST, (LADDER, BLOCK, MATCHED)))


@pytest.fixture(scope="module")
def kube():
    """A control plane and nothing on it."""
    provided = programs(kubernetes="1.36", karpenter="1.14.3", progress=Quiet())
    with Processes() as processes:
        plane = ControlPlane(
            "documents", processes, provided, issuer="https://issuer.invalid", authenticate="http://127.0.0.1:9/"
        )
        plane.start()
        yield plane.kube
        plane.stop()


def crds(version):
    """The CRDs of a release, as its chart has them."""
    charts = recipes.KarpenterCharts(version, version)
    folder = provide([charts], cache=cache_folder(), run=run_captured, progress=Quiet())[charts.key]
    return [yaml.safe_load(path.read_text()) for path in sorted((folder / "karpenter" / "crds").glob("*.yaml"))]


def install(kube, version):
    for crd in crds(version):
        path = f"{CRDS}/{crd['metadata']['name']}"
        if kube.find(path):
            kube.delete(path)
            wait(lambda: kube.find(path) is None)  # noqa: B023 - called before the next
        kube.create(CRDS, crd)
        wait(lambda: established(kube.get(path)))  # noqa: B023


def established(crd):
    return any(
        one["type"] == "Established" and one["status"] == "True" for one in crd["status"].get("conditions") or []
    )


def wait(look, seconds=30):
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end
        time.sleep(0.2)


def accepted(kube, document):
    """What the API server has against it, once it serves the kind."""
    end = time.monotonic() + 30
    while True:
        try:
            kube.create(f"{PATHS[document['kind']]}?dryRun=All&fieldValidation=Strict", document)
        except ApiError as error:
            if "could not find" not in str(error) or time.monotonic() > end:
                return str(error)
            time.sleep(0.2)
        else:
            return ""


def documents(pool):
    terms = [{"tags": {"karpenter.sh/discovery": "gpu"}}]
    return ec2_node_class(pool, role="nodes", subnets=terms, security_groups=terms), node_pool(pool)


def test_the_oldest_and_the_newest_karpenter_that_have_a_setting_take_its_documents(kube):
    for version, pools in ROWS:
        install(kube, version)
        for pool in pools:
            for document in documents(pool):
                assert accepted(kube, document) == "", (version, pool.name)
        if version == ROWS[0][0]:
            # One that is too old says so, or this test could not fail.
            assert "instanceMatchCriteria" in accepted(kube, documents(MATCHED)[0])
