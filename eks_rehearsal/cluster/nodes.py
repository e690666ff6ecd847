"""Nodes: an instance that EC2 launches boots, proves who it is, and registers as its user data says."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml
from botocore.credentials import Credentials
from botocore.model import ServiceId
from botocore.session import get_session
from botocore.signers import RequestSigner

from eks_rehearsal.cluster.authentication import AWS_AUTH, PREFIX
from eks_rehearsal.cluster.control_plane import KUBELET_ADDRESS, ControlPlane
from eks_rehearsal.cluster.device_plugin import shown_by_bottlerocket
from eks_rehearsal.cluster.kube import STRATEGIC, ApiError, Document, Kube, condition
from eks_rehearsal.cluster.user_data import Registration, registration
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.processes import wait_for

NODEGROUP_TAG = "eks:nodegroup-name"
CLUSTER_TAG = "eks:cluster-name"
JOIN_AGAIN_SECONDS = 3.0
# Kubernetes' cloud controller takes a node away whose instance is gone.
NODE_GONE_SECONDS = 5.0
NODEGROUP_SECONDS = 60.0
# As EKS, it waits for EC2, which may be slow on purpose.
NODEGROUP_GONE_SECONDS = 600.0
AWS_AUTH_SECONDS = 30.0
RESERVED_MEMORY_MIB = 700
ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
# What EKS writes of a role into aws-auth.
NODES_OF_EC2 = {
    "username": "system:node:{{EC2PrivateDNSName}}",
    "groups": ["system:bootstrappers", "system:nodes"],
}
NODES_OF_FARGATE = {
    "username": "system:node:{{SessionName}}",
    "groups": ["system:bootstrappers", "system:nodes", "system:node-proxier"],
}
# https://kubernetes.io/docs/reference/labels-annotations-taints/#node-cloudprovider-kubernetes-io-shutdown
SHUT_DOWN = {"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}
# What the VPC CNI tags its interfaces with.
INTERFACE_OF_CLUSTER = "cluster.k8s.amazonaws.com/name"
INTERFACE_OF_INSTANCE = "node.k8s.amazonaws.com/instance_id"
EFFECTS = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}


class Aws(Protocol):
    """What nodes ask of the emulated AWS."""

    @property
    def region(self) -> str: ...
    def client(self, service: str) -> Any: ...
    def credentials_for(self, role: str, session: str) -> Mapping[str, str]: ...


@dataclass
class Nodes:
    """The nodes of the emulated account's clusters.

    Args:
        aws: The emulated AWS.

        clusters: The control planes, by the cluster's name.

        refusals: Why an instance did not become a node, by its id.
    """

    aws: Callable[[], Aws]
    clusters: Mapping[str, ControlPlane]
    refusals: dict[str, str] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def launched(self, id: str) -> None:
        """Boot an instance: until it is a node, or gone, it tries to join."""
        while id not in self._gone:
            try:
                self._join(self.instance(id))
            except Exception as error:  # noqa: BLE001 - whatever keeps it out is why it is no node
                self.refusals[id] = (
                    str(error) if isinstance(error, RehearsalError) else f"{type(error).__name__}: {error}"
                )
                time.sleep(JOIN_AGAIN_SECONDS)
            else:
                break
        self.refusals.pop(id, None)
        if id in self._gone:
            self._sweep(id)

    def terminated(self, id: str) -> None:
        """Stop what runs on an instance that is gone, and remove its node when nobody else did."""
        self._gone.add(id)
        self.refusals.pop(id, None)
        self._power_off(id)
        time.sleep(NODE_GONE_SECONDS)
        self._sweep(id)

    def _power_off(self, id: str) -> None:
        """End the pods of an instance, and let none come to it: as the cloud controller and the pod collector do, at once."""
        for plane, node in self._nodes_of(id):
            name = node["metadata"]["name"]
            plane.kube.patch_present(f"/api/v1/nodes/{name}", {"spec": {"taints": [SHUT_DOWN]}}, kind=STRATEGIC)
            for pod in plane.kube.items("/api/v1/pods", fieldSelector=f"spec.nodeName={name}"):
                about = pod["metadata"]
                plane.kube.delete(f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}?gracePeriodSeconds=0")

    def _sweep(self, id: str) -> None:
        """Delete the node of an instance, wherever it is."""
        for plane, node in self._nodes_of(id):
            plane.kube.delete(f"/api/v1/nodes/{node['metadata']['name']}")

    def _nodes_of(self, id: str) -> Iterator[tuple[ControlPlane, Document]]:
        for plane in list(self.clusters.values()):
            if node := self.node_of(plane.kube, id):
                yield plane, node

    def instance(self, id: str) -> Document:
        """An instance as EC2 describes it."""
        found = self.aws().client("ec2").describe_instances(InstanceIds=[id])
        instance: Document = found["Reservations"][0]["Instances"][0]
        return instance

    def private_dns(self, id: str) -> str:
        """The private DNS name of an instance."""
        return str(self.instance(id)["PrivateDnsName"])

    def create_nodegroup(self, cluster: str, group: Mapping[str, Any]) -> None:
        """Launch the instances of a managed node group and wait until they are Ready nodes.

        Raises:
            RehearsalError: They do not join in time, and why.
        """
        profile = _profile_name(cluster, group)
        iam = self.aws().client("iam")
        iam.create_instance_profile(InstanceProfileName=profile)
        iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=group["nodeRole"].rpartition("/")[2])
        self.map_role(cluster, group["nodeRole"], NODES_OF_EC2)
        self._scale(cluster, group)

    def map_role(self, cluster: str, role: str, nodes: Mapping[str, Any]) -> None:
        """Write the role of nodes that EKS brings into aws-auth, as EKS does where a cluster knows nothing else."""
        shown = self.aws().client("eks").describe_cluster(name=cluster)["cluster"]
        if shown["accessConfig"]["authenticationMode"] != "CONFIG_MAP":
            return
        # EKS knows roles here without their path.
        entry = {**nodes, "rolearn": re.sub(r":role/.*/", ":role/", role)}
        kube = self.clusters[cluster].kube
        wait_for(f"aws-auth of cluster {cluster}", lambda: _written(kube, entry), seconds=AWS_AUTH_SECONDS)

    def update_nodegroup(self, cluster: str, group: Mapping[str, Any]) -> None:
        """Bring a node group to its size and its labels."""
        self._scale(cluster, group)
        plane = self.clusters[cluster]
        for id in self._members(cluster, group):
            node = self.node_of(plane.kube, id)
            if node is not None:
                path = f"/api/v1/nodes/{node['metadata']['name']}"
                plane.kube.patch(path, {"metadata": {"labels": dict(group.get("labels") or {})}})

    def delete_nodegroup(self, cluster: str, group: Mapping[str, Any]) -> None:
        """Terminate a node group's instances and delete its instance profile."""
        ids = self._members(cluster, group)
        if ids:
            ec2 = self.aws().client("ec2")
            ec2.terminate_instances(InstanceIds=ids)
            wait_for(
                f"the end of node group {group['nodegroupName']}",
                lambda: _terminated(ec2.describe_instances(InstanceIds=ids)),
                seconds=NODEGROUP_GONE_SECONDS,
            )
        iam, profile = self.aws().client("iam"), _profile_name(cluster, group)
        role = group["nodeRole"].rpartition("/")[2]
        iam.remove_role_from_instance_profile(InstanceProfileName=profile, RoleName=role)
        iam.delete_instance_profile(InstanceProfileName=profile)

    def _scale(self, cluster: str, group: Mapping[str, Any]) -> None:
        desired = int(group["scalingConfig"]["desiredSize"])
        ids = self._members(cluster, group)
        ec2 = self.aws().client("ec2")
        if extra := ids[desired:]:
            ec2.terminate_instances(InstanceIds=extra)
        for number in range(len(ids), desired):
            ec2.run_instances(**self._launch(cluster, group, number))
        self._await(cluster, group, desired)

    def _launch(self, cluster: str, group: Mapping[str, Any], number: int) -> dict[str, Any]:
        tags = {
            CLUSTER_TAG: cluster,
            NODEGROUP_TAG: group["nodegroupName"],
            f"kubernetes.io/cluster/{cluster}": "owned",
        }
        subnets: Sequence[str] = group["subnets"]
        template = group.get("launchTemplate")
        launch = {
            "ImageId": self._image(group),
            "InstanceType": (group.get("instanceTypes") or ["t3.medium"])[0],
            "MinCount": 1,
            "MaxCount": 1,
            "SubnetId": subnets[number % len(subnets)],
            "IamInstanceProfile": {"Name": _profile_name(cluster, group)},
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        }
        if template:
            launch["LaunchTemplate"] = {"LaunchTemplateId": template["id"], "Version": str(template["version"])}
        if not self._has_groups(template):
            shown = self.aws().client("eks").describe_cluster(name=cluster)["cluster"]
            launch["SecurityGroupIds"] = [shown["resourcesVpcConfig"]["clusterSecurityGroupId"]]
        return launch

    def _has_groups(self, template: Mapping[str, Any] | None) -> bool:
        """True where a launch template names security groups, so that EKS gives its nodes none."""
        if not template:
            return False
        found = (
            self.aws()
            .client("ec2")
            .describe_launch_template_versions(LaunchTemplateId=template["id"], Versions=[str(template["version"])])
        )
        data = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        return bool(data.get("SecurityGroupIds") or data.get("NetworkInterfaces"))

    def _image(self, group: Mapping[str, Any]) -> str:
        path = (
            f"/aws/service/eks/optimized-ami/{group['version']}/amazon-linux-2023/x86_64/standard/recommended/image_id"
        )
        return str(self.aws().client("ssm").get_parameter(Name=path)["Parameter"]["Value"])

    def _members(self, cluster: str, group: Mapping[str, Any]) -> list[str]:
        wanted = [
            {"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]},
            {"Name": f"tag:{NODEGROUP_TAG}", "Values": [group["nodegroupName"]]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        found = self.aws().client("ec2").describe_instances(Filters=wanted)
        return [one["InstanceId"] for reservation in found["Reservations"] for one in reservation["Instances"]]

    def _await(self, cluster: str, group: Mapping[str, Any], desired: int) -> None:
        kube = self.clusters[cluster].kube
        try:
            wait_for(
                f"node group {group['nodegroupName']}",
                lambda: (
                    sum(
                        condition(self.node_of(kube, id) or {}, "Ready") == "True"
                        for id in self._members(cluster, group)
                    )
                    >= desired
                ),
                seconds=NODEGROUP_SECONDS,
            )
        except RehearsalError:
            reasons = {self.refusals[id] for id in self._members(cluster, group) if id in self.refusals}
            raise RehearsalError(
                f"NodeCreationFailure: Instances failed to join the kubernetes cluster: {'; '.join(sorted(reasons))}"
            ) from None

    @staticmethod
    def node_of(kube: Kube, id: str) -> Document | None:
        """The node of an instance."""
        for node in kube.items("/api/v1/nodes"):
            if str(node["spec"].get("providerID", "")).endswith(f"/{id}"):
                return node
        return None

    def _join(self, instance: Document) -> None:
        told, plane = self._told(instance)
        token = self._token(instance, plane.name)
        node = self._node(instance, told)
        try:
            Kube(plane.server, plane.authority, token=token).create("/api/v1/nodes", node)
        except ApiError as error:
            if error.code == 401:
                raise RehearsalError(
                    f"instance {instance['InstanceId']} may not enter cluster {plane.name}: its role "
                    f"{self.role_of(instance)} has no access entry there, nor an aws-auth mapping that counts"
                ) from None
            if error.code == 403:
                raise RehearsalError(
                    f"instance {instance['InstanceId']} may enter cluster {plane.name}, but not as a node: what lets its role "
                    f"{self.role_of(instance)} in must be an access entry of the type EC2_LINUX, or an aws-auth mapping to "
                    f"system:nodes ({error})"
                ) from None
            if error.reason != "AlreadyExists":
                raise
        if NODEGROUP_TAG not in {tag["Key"] for tag in instance.get("Tags", [])}:
            self._make_interface(instance, plane.name)

    def _make_interface(self, instance: Document, cluster: str) -> None:
        """Make the interface that the VPC CNI holds ready for more pods, and that stays when a node goes quickly.

        https://github.com/aws/amazon-vpc-cni-k8s/issues/608: here it always stays, so that a destroy must remove it.
        """
        tags = {INTERFACE_OF_CLUSTER: cluster, INTERFACE_OF_INSTANCE: instance["InstanceId"]}
        self.aws().client("ec2").create_network_interface(
            SubnetId=instance["SubnetId"],
            Groups=[group["GroupId"] for group in instance["SecurityGroups"]],
            TagSpecifications=[
                {
                    "ResourceType": "network-interface",
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                }
            ],
        )

    def _told(self, instance: Document) -> tuple[Registration, ControlPlane]:
        """How the instance is to register, and where."""
        tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
        if NODEGROUP_TAG in tags:
            told = self._of_nodegroup(tags[CLUSTER_TAG], tags[NODEGROUP_TAG])
        else:
            told = registration(self._user_data(instance["InstanceId"]))
        plane = self.clusters.get(told.cluster)
        if plane is None:
            raise RehearsalError(
                f"the user data of {instance['InstanceId']} names cluster {told.cluster!r}, which is not there"
            )
        if told.endpoint and told.endpoint.rstrip("/") != plane.server:
            raise RehearsalError(
                f"the user data of {instance['InstanceId']} names API server {told.endpoint}, not {plane.server}"
            )
        return told, plane

    def _of_nodegroup(self, cluster: str, name: str) -> Registration:
        group = self.aws().client("eks").describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
        labels = {
            "eks.amazonaws.com/nodegroup": name,
            "eks.amazonaws.com/capacityType": group.get("capacityType", "ON_DEMAND"),
        }
        taints = tuple(
            {"key": taint["key"], "value": taint.get("value", ""), "effect": EFFECTS[taint["effect"]]}
            for taint in group.get("taints") or []
        )
        return Registration(cluster, "", {**labels, **(group.get("labels") or {})}, taints)

    def _user_data(self, id: str) -> str:
        found = self.aws().client("ec2").describe_instance_attribute(InstanceId=id, Attribute="userData")
        return base64.b64decode(found.get("UserData", {}).get("Value", "")).decode(errors="replace")

    def role_of(self, instance: Document) -> str:
        """The ARN of the role of an instance.

        Raises:
            RehearsalError: It has none.
        """
        profile = instance.get("IamInstanceProfile")
        if not profile:
            raise RehearsalError(
                f"instance {instance['InstanceId']} has no instance profile, so it cannot say who it is"
            )
        name = profile["Arn"].rpartition("/")[2]
        roles = self.aws().client("iam").get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        if not roles:
            raise RehearsalError(f"instance profile {name} of {instance['InstanceId']} has no role")
        return str(roles[0]["Arn"])

    def _token(self, instance: Document, cluster: str) -> str:
        credentials = self.aws().credentials_for(self.role_of(instance), instance["InstanceId"])
        return eks_token(credentials, cluster, self.aws().region)

    def _node(self, instance: Document, told: Registration) -> Document:
        type_ = instance["InstanceType"]
        kind = self.aws().client("ec2").describe_instance_types(InstanceTypes=[type_])["InstanceTypes"][0]
        zone, name = instance["Placement"]["AvailabilityZone"], instance["PrivateDnsName"]
        architecture = ARCHITECTURES[instance.get("Architecture", "x86_64")]
        labels = {
            "kubernetes.io/arch": architecture,
            "kubernetes.io/os": "linux",
            "kubernetes.io/hostname": name,
            "node.kubernetes.io/instance-type": type_,
            "topology.kubernetes.io/region": self.aws().region,
            "topology.kubernetes.io/zone": zone,
            **told.labels,
        }
        capacity = dict(_capacity(kind))
        if told.brings_device_plugin:
            capacity |= shown_by_bottlerocket(told.device_plugin, kind)
        memory = kind["MemoryInfo"]["SizeInMiB"]
        allocatable = {**capacity, "memory": f"{memory - memory // 13 - RESERVED_MEMORY_MIB}Mi"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "providerID": f"aws:///{zone}/{instance['InstanceId']}",
                **({"taints": [dict(taint) for taint in told.taints]} if told.taints else {}),
            },
            "status": {
                "capacity": capacity,
                "allocatable": allocatable,
                "addresses": [
                    {"type": "InternalIP", "address": instance["PrivateIpAddress"]},
                    {"type": "Hostname", "address": name},
                    {"type": KUBELET_ADDRESS, "address": "localhost"},
                ],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self.clusters[told.cluster].kubelets.port}},
                "nodeInfo": node_info(architecture, self.clusters[told.cluster].kube),
            },
        }


def _written(kube: Kube, entry: Mapping[str, Any]) -> bool:
    """Write an entry into aws-auth as it is now; False where somebody else wrote meanwhile."""
    there = kube.find(AWS_AUTH)
    text = ((there or {}).get("data") or {}).get("mapRoles", "")
    entries = yaml.safe_load(text) or []
    if any(one["rolearn"] == entry["rolearn"] for one in entries):
        return True
    # A list in brackets, as the CDK writes one, cannot be added to; any other stays as people wrote it.
    in_brackets = text.lstrip().startswith("[")
    ended = text if text.endswith("\n") or not text else f"{text}\n"
    data = {"mapRoles": yaml.safe_dump([*entries, entry]) if in_brackets else ended + yaml.safe_dump([entry])}
    try:
        if there is None:
            metadata = {"name": "aws-auth", "namespace": "kube-system"}
            kube.create(
                AWS_AUTH.rpartition("/")[0],
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
            )
        else:
            kube.patch(AWS_AUTH, {"metadata": {"resourceVersion": there["metadata"]["resourceVersion"]}, "data": data})
    except ApiError as error:
        if error.code != 409:
            raise
        return False
    return True


def _terminated(found: Mapping[str, Any]) -> bool:
    return all(i["State"]["Name"] == "terminated" for r in found["Reservations"] for i in r["Instances"])


def _capacity(kind: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    network = kind["NetworkInfo"]
    # What the VPC CNI gives without prefixes: addresses of all interfaces but each one's first, and two host pods.
    pods = network["MaximumNetworkInterfaces"] * (network["Ipv4AddressesPerInterface"] - 1) + 2
    yield "cpu", str(kind["VCpuInfo"]["DefaultVCpus"])
    # The hypervisor's share, as Karpenter reckons it.
    yield "memory", f"{int(kind['MemoryInfo']['SizeInMiB'] * 0.925)}Mi"
    yield "ephemeral-storage", "100Gi"
    yield "pods", str(min(pods, 250))


def node_info(architecture: str, kube: Kube) -> Document:
    """What a kubelet says of its machine."""
    version = kube.get("/version")["gitVersion"]
    return {
        "architecture": architecture,
        "operatingSystem": "linux",
        "kubeletVersion": version,
        "kubeProxyVersion": version,
        "containerRuntimeVersion": "containerd://2.0.0",
        "kernelVersion": "6.12",
        "osImage": "rehearsal",
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
    }


def _profile_name(cluster: str, group: Mapping[str, Any]) -> str:
    return re.sub(r"[^\w+=,.@-]", "-", f"eks-{cluster}-{group['nodegroupName']}")[:128]


def eks_token(credentials: Mapping[str, str], cluster: str, region: str) -> str:
    """A bearer token as `aws eks get-token` makes one: a presigned question who the caller is."""
    keys = Credentials(
        credentials["AWS_ACCESS_KEY_ID"], credentials["AWS_SECRET_ACCESS_KEY"], credentials.get("AWS_SESSION_TOKEN")
    )
    session = get_session()  # Named, since the signer holds its events only weakly.
    signer = RequestSigner(ServiceId("sts"), region, "sts", "v4", keys, session.get_component("event_emitter"))
    request = {
        "method": "GET",
        "url": f"https://sts.{region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": cluster},
        "context": {},
    }
    url = signer.generate_presigned_url(request, region_name=region, expires_in=60, operation_name="")
    return PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
