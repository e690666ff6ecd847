"""Cloud Control, which moto does not have: what there is, in the words of CloudFormation's resource schemas, for EKS.

The CDK's command line asks it for what an app looks up. As in AWS, what a schema has as write-only is never read, and a
list says no more of a resource than its identifier: the list handlers may call EKS's listing actions alone.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

from moto.ec2.exceptions import InvalidSubnetIdError

from eks_rehearsal.aws.extensions.eks_clusters import Cluster, Clusters
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations

Document = dict[str, Any]

CLUSTER: Final = "AWS::EKS::Cluster"
NODE_GROUP: Final = "AWS::EKS::Nodegroup"
SUBNET: Final = "AWS::EC2::Subnet"

# Schema's property, and where EKS's own answers have it; what an answer has not, is not there.
_CLUSTER: Final = {
    "Name": "name",
    "Arn": "arn",
    "Version": "version",
    "RoleArn": "roleArn",
    "Endpoint": "endpoint",
    "CertificateAuthorityData": "certificateAuthority.data",
    "ClusterSecurityGroupId": "resourcesVpcConfig.clusterSecurityGroupId",
    "OpenIdConnectIssuerUrl": "identity.oidc.issuer",
    "DeletionProtection": "deletionProtection",
    "AccessConfig.AuthenticationMode": "accessConfig.authenticationMode",
    "UpgradePolicy.SupportType": "upgradePolicy.supportType",
    "KubernetesNetworkConfig.IpFamily": "kubernetesNetworkConfig.ipFamily",
    "KubernetesNetworkConfig.ServiceIpv4Cidr": "kubernetesNetworkConfig.serviceIpv4Cidr",
    "KubernetesNetworkConfig.ServiceIpv6Cidr": "kubernetesNetworkConfig.serviceIpv6Cidr",
    "ResourcesVpcConfig.SubnetIds": "resourcesVpcConfig.subnetIds",
    "ResourcesVpcConfig.SecurityGroupIds": "resourcesVpcConfig.securityGroupIds",
    "ResourcesVpcConfig.EndpointPublicAccess": "resourcesVpcConfig.endpointPublicAccess",
    "ResourcesVpcConfig.EndpointPrivateAccess": "resourcesVpcConfig.endpointPrivateAccess",
    "ResourcesVpcConfig.PublicAccessCidrs": "resourcesVpcConfig.publicAccessCidrs",
}
_NODE_GROUP: Final = {
    "Arn": "nodegroupArn",
    "ClusterName": "clusterName",
    "NodegroupName": "nodegroupName",
    "NodeRole": "nodeRole",
    "Subnets": "subnets",
    "Version": "version",
    "ReleaseVersion": "releaseVersion",
    "AmiType": "amiType",
    "CapacityType": "capacityType",
    "DiskSize": "diskSize",
    "InstanceTypes": "instanceTypes",
    "Labels": "labels",
    "Tags": "tags",
    "ScalingConfig.MinSize": "scalingConfig.minSize",
    "ScalingConfig.DesiredSize": "scalingConfig.desiredSize",
    "ScalingConfig.MaxSize": "scalingConfig.maxSize",
    "LaunchTemplate.Id": "launchTemplate.id",
    "LaunchTemplate.Name": "launchTemplate.name",
    "LaunchTemplate.Version": "launchTemplate.version",
}


class CloudControl:
    """Reading and listing clusters and node groups, and reading subnets."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._world = clusters.world

    @property
    def operations(self) -> Operations:
        table = {"GetResource": self.get_resource, "ListResources": self.list_resources}
        return {("cloudcontrolapi", action): operation for action, operation in table.items()}

    def get_resource(self, call: Call) -> Document:
        kind, identifier = call.parameters["TypeName"], call.parameters["Identifier"]
        if kind == SUBNET:
            return {"TypeName": kind, "ResourceDescription": _described(identifier, self._subnet(identifier))}
        cluster = self._cluster(call, kind, identifier.partition("/")[0])
        if kind == CLUSTER:
            found = _properties(cluster.shown, _CLUSTER)
        else:
            group = cluster.nodegroups.get(identifier.partition("/")[2])
            if group is None:
                raise _not_found(kind, f"No node group found for name: {identifier.partition('/')[2]}.")
            found = {"Id": identifier, **_properties(group, _NODE_GROUP)}
        return {"TypeName": kind, "ResourceDescription": _described(identifier, found)}

    def list_resources(self, call: Call) -> Document:
        kind, model = call.parameters["TypeName"], json.loads(call.parameters.get("ResourceModel") or "{}")
        if kind == CLUSTER:
            here = call.region == self._world.region
            found = {cluster.name: "Name" for cluster in self._clusters if here}
        elif kind == NODE_GROUP and "ClusterName" not in model:
            text = f"Missing or invalid ResourceModel property in {kind} list handler request input.Required property: "
            raise AwsError("InvalidRequestException", f"{text} (#: required key [ClusterName] not found)")
        else:
            cluster = self._cluster(call, kind, model.get("ClusterName", ""))
            found = {f"{cluster.name}/{group}": "Id" for group in cluster.nodegroups}
        described = [_described(identifier, {key: identifier}) for identifier, key in found.items()]
        return {"TypeName": kind, "ResourceDescriptions": described}

    def _subnet(self, id: str) -> Document:
        try:
            found = self._world.backend("ec2").get_subnet(id)
        except InvalidSubnetIdError as error:
            raise _not_found(SUBNET, f"The subnet ID '{id}' does not exist.") from error
        return {"SubnetId": id, "VpcId": found.vpc_id, "AvailabilityZone": found.availability_zone}

    def _cluster(self, call: Call, kind: str, name: str) -> Cluster:
        if kind not in {CLUSTER, NODE_GROUP}:
            raise NotImplementedError(f"this Cloud Control has no {kind}")
        if call.region != self._world.region or name not in self._clusters:
            raise _not_found(kind, f"No cluster found for name: {name}.")
        return self._clusters[name]


def _described(identifier: str, properties: Document) -> Document:
    return {"Identifier": identifier, "Properties": json.dumps(properties)}


def _not_found(kind: str, why: str) -> AwsError:
    said = f"{kind} Handler returned status FAILED: {why} (HandlerErrorCode: NotFound, RequestToken: {uuid.uuid4()})"
    return AwsError("ResourceNotFoundException", said)


def _properties(shown: Document, table: Mapping[str, str]) -> Document:
    """What EKS shows of a resource, under the schema's names."""
    properties: Document = {}
    for path, own in table.items():
        value: Any = shown
        for name in own.split("."):
            value = (value or {}).get(name)
        if value is not None:
            *holders, last = path.split(".")
            inside = properties
            for holder in holders:
                inside = inside.setdefault(holder, {})
            inside[last] = value
    return properties
