"""China and GovCloud: ARNs, service names and addresses as they are there."""

import json
import re

import pytest

from tests.shapes import synthesized

# Names of service principals, of audiences, of Kubernetes annotations and of a tag that are the same in every partition.
# ec2.amazonaws.com and .cn stand side by side in upstream's own condition on iam:PassRole.
SAME_EVERYWHERE = {
    "cluster.k8s.amazonaws.com/name",
    "ec2.amazonaws.com",
    "ec2.amazonaws.com.cn",
    "eks.amazonaws.com",
    "eks.amazonaws.com/role-arn",
    "events.amazonaws.com",
    "lambda.amazonaws.com",
    "sts.amazonaws.com",
    "vpc-flow-logs.amazonaws.com",
}


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_no_arn_or_address_of_one_partition_is_written_out(partition):
    text = json.dumps(synthesized(partition).template)
    others = {"aws", "aws-cn", "aws-us-gov"} - {partition}
    assert not [other for other in others if f"arn:{other}:" in text]
    assert set(re.findall(r"[\w.-]*amazonaws\.com[\w./-]*", text)) <= SAME_EVERYWHERE


def test_no_partition_is_written_out_when_none_is_known(default):
    assert not re.search("arn:aws[a-z-]*:", json.dumps(default.template))


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_ec2_is_trusted_by_the_name_it_has_in_the_partition(partition):
    trusts = [
        json.dumps(role["Properties"]["AssumeRolePolicyDocument"])
        for role in synthesized(partition).of_type("AWS::IAM::Role").values()
    ]
    assert sum("AWS::URLSuffix" in trust for trust in trusts) == 2
    assert not any('"ec2.amazonaws.com"' in trust for trust in trusts)
