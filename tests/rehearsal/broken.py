"""Stacks that are broken on purpose: copies of a cloud assembly with one thing changed, as a person could have it."""

import json
import shutil
from pathlib import Path

from eks_rehearsal.stories.upgrade import publish_anew


def _without(kind, holds):
    def change(resources):
        gone = [name for name, one in resources.items() if one["Type"] == kind and holds(name, one["Properties"])]
        assert gone, kind
        for name in gone:
            del resources[name]
        for one in resources.values():
            needed = one.get("DependsOn", [])
            one["DependsOn"] = [name for name in ([needed] if isinstance(needed, str) else needed) if name not in gone]
            policy = one.get("Properties", {}).get("PolicyDocument", {})
            if "Statement" in policy:
                policy["Statement"] = [
                    s for s in policy["Statement"] if not any(name in json.dumps(s) for name in gone)
                ]

    return change


def replaced(holds, old, new):
    def change(resources):
        changed = 0
        for name, one in resources.items():
            text = json.dumps(one)
            if holds(name, one) and old in text:
                resources[name] = json.loads(text.replace(old, new))
                changed += 1
        assert changed, old

    return change


def _waiting_for_nothing(name):
    """A manifest that was made by hand, so that nothing says what it needs but the cluster."""

    def change(resources):
        (made,) = [one for key, one in resources.items() if name in key]
        made.pop("DependsOn")

    return change


def _rule_of_spot(name, properties):
    return "EC2 Spot Instance Interruption Warning" in json.dumps(properties.get("EventPattern", {}))


DISCOVERY = '{"Key": "karpenter.sh/discovery"'
# What is broken; how; and the words that its reason must have.
BROKEN = {
    "access entry removed": (
        _without("AWS::EKS::AccessEntry", lambda _, properties: properties.get("Type") == "EC2_LINUX"),
        ("KarpenterNodeRole-gpu", "access entry"),
    ),
    "role trust subject wrong": (
        replaced(
            lambda name, _: name.startswith("KarpenterControllerRole"), "kube-system:karpenter", "kube-system:carpenter"
        ),
        ("controller cannot run", "AssumeRoleWithWebIdentity"),
    ),
    "discovery tag missing": (
        replaced(lambda _, one: one["Type"] == "AWS::EC2::Subnet", DISCOVERY, '{"Key": "forgotten"'),
        ("EC2NodeClass", "SubnetsReady"),
    ),
    "queue rule missing": (_without("AWS::Events::Rule", _rule_of_spot), ("Interruption Warning", "reaches no queue")),
    "queue policy without EventBridge": (
        replaced(lambda _, one: one["Type"] == "AWS::SQS::QueuePolicy", "events.amazonaws.com", "sns.amazonaws.com"),
        ("Interruption Warning", "reaches no queue", "events.amazonaws.com", "sqs:SendMessage", "the caller"),
    ),
    "drain that may not look": (
        replaced(lambda name, _: name.startswith("KarpenterDrainLook"), "ec2:DescribeInstances", "ec2:DescribeImages"),
        ("KarpenterDrainRole", "may not ec2:DescribeInstances on *", "no policy of the caller allows"),
    ),
    "controller that may not pass the nodes' role": (
        replaced(lambda name, _: name.startswith("KarpenterControllerRoleIAM"), "iam:PassRole", "iam:GetRole"),
        (
            "KarpenterControllerRole-gpu may not iam:PassRole on ",
            "role/KarpenterNodeRole-gpu",
            "no policy of the caller",
        ),
    ),
    "device plugin toleration wrong": (
        replaced(
            lambda name, _: "DevicePlugin" in name,
            '\\"tolerations\\":[{\\"operator\\":\\"Exists\\"}]',
            '\\"tolerations\\":[{\\"key\\":\\"gpu\\",\\"operator\\":\\"Exists\\"}]',
        ),
        ("nvidia-device-plugin", "does not tolerate"),
    ),
    "device plugin image without a tag": (
        replaced(lambda name, _: "DevicePlugin" in name, "k8s-device-plugin:v0.19.3", "k8s-device-plugin:"),
        ("nvidia-device-plugin", "InvalidImageName", "k8s-device-plugin:"),
    ),
    "device plugin in a runtime class that is not there": (
        replaced(
            lambda name, _: "DevicePlugin" in name,
            '\\"tolerations\\":[',
            '\\"runtimeClassName\\":\\"gvisor\\",\\"tolerations\\":[',
        ),
        ("DaemonSet nvidia-device-plugin has no pod", 'RuntimeClass "gvisor" not found'),
    ),
    # Which is not the role that the controller may pass, and IAM decides before it looks for the role.
    "node role of the class misspelt": (
        replaced(
            lambda name, _: "inferenceNodeClass" in name,
            '{"Ref": "KarpenterNodeRole25FDF7B4"}',
            '"KarpenterNodeRole-no"',
        ),
        ("may not iam:PassRole on", "role/KarpenterNodeRole-no", "AllowPassingInstanceRole"),
    ),
    "controller wants nodes that are not there": (
        replaced(
            lambda name, _: name.startswith("KarpenterChartsController"),
            "karpenter.sh/controller",
            "karpenter.sh/no-controller",
        ),
        ("Karpenter's controller finds no node", "node affinity"),
    ),
    "access entry of the type STANDARD": (
        replaced(lambda _, one: one["Type"] == "AWS::EKS::AccessEntry", '"EC2_LINUX"', '"STANDARD"'),
        ("KarpenterNodeRole-gpu", "not as a node", "EC2_LINUX"),
    ),
    "pool label against its requirement": (
        replaced(
            lambda name, _: "inferenceNodePool" in name,
            '\\"labels\\":{',
            '\\"labels\\":{\\"kubernetes.io/arch\\":\\"arm64\\",',
        ),
        ("NodePool inference contradicts itself", "kubernetes.io/arch"),
    ),
    "pool that waits for nothing": (
        _waiting_for_nothing("inferenceNodePool"),
        ("NodePool", "karpenter.sh/v1", "DependsOn"),
    ),
    "NodePool names a class that is not there": (
        replaced(
            lambda name, _: "NodePool" in name,
            '\\"kind\\":\\"EC2NodeClass\\",\\"name\\":\\"',
            '\\"kind\\":\\"EC2NodeClass\\",\\"name\\":\\"no-',
        ),
        ("NodePool", "names EC2NodeClass", "not there"),
    ),
}


def broken(assembly: Path, change, folder: Path) -> Path:
    """A copy of an assembly whose template's resources were changed, published under its new content's name."""
    shutil.copytree(assembly, folder)
    (template,) = folder.glob("*.template.json")
    parsed = json.loads(template.read_text())
    change(parsed["Resources"])
    template.write_text(json.dumps(parsed))
    publish_anew(folder, template)
    return folder
