"""The network a new cluster stands in."""

from __future__ import annotations

from typing import Final

from aws_cdk import Acknowledgment, RemovalPolicy, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct, IDependable

from karpenter_gpu.settings import ExistingVpc, NewVpc

# What nodes, the controller, and the functions that run kubectl and Helm inside the VPC call; S3 has a gateway beside these.
# Sources: EKS user guide, "Deploy private clusters with limited internet access"; Karpenter's getting started, "Private
# clusters". IAM and the price list have none.
ENDPOINTS: Final = ("ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "lambda", "logs", "sqs", "ssm", "sts")


class Network(Construct):
    """A VPC, made or found.

    Args:
        network: A `NewVpc` has its zones from the stack's `availability_zones`.

        ipv6: Give the subnets IPv6 ranges too.

        isolated: Make endpoints instead of NAT gateways and public subnets; a VPC that exists must have them.
    """

    def __init__(
        self, scope: Construct, id: str, *, network: NewVpc | ExistingVpc, ipv6: bool, isolated: bool = False
    ) -> None:
        super().__init__(scope, id)
        self.endpoints: list[IDependable] = []
        self.vpc: ec2.IVpc
        if isinstance(network, ExistingVpc):
            self.vpc = self._found(network)
        else:
            self.vpc = self._made(network, ipv6=ipv6, isolated=isolated)

    def _made(self, network: NewVpc, *, ipv6: bool, isolated: bool) -> ec2.Vpc:
        public = ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24)
        private = ec2.SubnetConfiguration(name="Private", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS)
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(network.cidr),
            ip_protocol=ec2.IpProtocol.DUAL_STACK if ipv6 else ec2.IpProtocol.IPV4_ONLY,
            max_azs=99,
            nat_gateways=0 if isolated else network.nat_gateways,
            create_internet_gateway=not isolated,
            subnet_configuration=[private] if isolated else [public, private],
            # True makes a Lambda function that empties a group nobody uses; said here so that no flag decides it.
            restrict_default_security_group=False,
        )
        if isolated:
            self._add_endpoints(vpc, network.cidr)
        if network.flow_logs:
            group = logs.LogGroup(
                self, "FlowLogs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
            )
            vpc.add_flow_log("FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(group))
        return vpc

    def _add_endpoints(self, vpc: ec2.Vpc, cidr: str) -> None:
        group = ec2.SecurityGroup(
            self, "Endpoints", vpc=vpc, description="AWS, from inside the VPC", allow_all_outbound=False
        )
        # The range as text, because cdk-nag cannot judge a reference.
        group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(443), "HTTPS from the VPC")
        self.endpoints.append(vpc.add_gateway_endpoint("Endpoint-s3", service=ec2.GatewayVpcEndpointAwsService.S3))
        for service in ENDPOINTS:
            endpoint = vpc.add_interface_endpoint(
                f"Endpoint-{service.replace('.', '-')}",
                service=ec2.InterfaceVpcEndpointAwsService(service),
                security_groups=[group],
                open=False,
            )
            self.endpoints.append(endpoint)

    def _found(self, network: ExistingVpc) -> ec2.IVpc:
        vpc = ec2.Vpc.from_vpc_attributes(
            self,
            "Vpc",
            vpc_id=network.vpc_id,
            availability_zones=list(network.availability_zones),
            private_subnet_ids=list(network.private_subnet_ids),
            public_subnet_ids=list(network.public_subnet_ids) or None,
        )
        for subnet in (*vpc.private_subnets, *vpc.public_subnets):
            Validations.of(subnet).acknowledge(
                Acknowledgment(
                    id="Annotation::@aws-cdk/aws-ec2:noSubnetRouteTableId", reason="nothing here adds a route to it"
                )
            )
        return vpc
