import json

from karpenter_gpu import Metrics
from karpenter_gpu.labels import DEVICE_PLUGIN_LABEL
from karpenter_gpu.manifests.metrics import dcgm_exporter
from karpenter_gpu.manifests.node_pool import node_labels, node_pool
from tests.manifests.test_device_plugin import tolerated
from tests.shapes import arguments, synthesized

SHAPE = "gpus-of-every-kind"


def pools():
    return [pool for pool in arguments(SHAPE)["pools"] if pool.ami.family != "Bottlerocket"]


def test_the_agents_gpu_part_tolerates_whatever_a_gpu_node_is_tainted_with():
    addons = [one["Properties"] for one in synthesized(SHAPE).of_type("AWS::EKS::Addon").values()]
    (agent,) = [one for one in addons if one["AddonName"] == "eks-node-monitoring-agent"]
    assert agent["AddonVersion"] == "v1.7.0-eksbuild.1"
    for pool in pools():
        taints = node_pool(pool)["spec"]["template"]["spec"]["taints"]
        assert tolerated(json.loads(agent["ConfigurationValues"])["dcgmAgent"], taints)


def test_repair_is_a_gate_of_the_controller_and_without_health_there_is_neither():
    gates = synthesized(SHAPE).chart("karpenter")["Values"]["settings"]["featureGates"]
    assert gates == {"nodeOverlay": True, "nodeRepair": True}
    default = synthesized("default")
    assert "featureGates" not in default.chart("karpenter")["Values"]["settings"]
    assert not any("monitoring" in json.dumps(one) for one in default.of_type("AWS::EKS::Addon").values())


def test_the_exporter_goes_wherever_a_device_plugin_of_ours_does_and_prometheus_is_told():
    made = synthesized(SHAPE).manifests()
    pod = made["DaemonSet", "dcgm-exporter"]["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": DEVICE_PLUGIN_LABEL, "operator": "Exists"}]
    for pool in pools():
        assert DEVICE_PLUGIN_LABEL in node_labels(pool)
        assert tolerated(pod, node_pool(pool)["spec"]["template"]["spec"]["taints"])
    selector = made["ServiceMonitor", "dcgm-exporter"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= made["Service", "dcgm-exporter"]["metadata"]["labels"].items()
    assert made["Service", "dcgm-exporter"]["spec"]["selector"] == selector


def test_the_service_monitor_is_a_choice():
    assert not any(kind == "ServiceMonitor" for kind, _ in synthesized("isolated").manifests())


def test_a_service_monitor_has_the_labels_by_which_a_prometheus_selects_it():
    made = dcgm_exporter(Metrics(service_monitor=True, service_monitor_labels={"release": "monitoring"}))
    labels = {one["kind"]: one["metadata"]["labels"] for one in made}
    assert labels["ServiceMonitor"] == {"app.kubernetes.io/name": "dcgm-exporter", "release": "monitoring"}
    assert "release" not in labels["Service"]
