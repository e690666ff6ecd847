"""The README's own words: its lines for a stack of one's own work as they stand, and its links lead somewhere."""

import re

import aws_cdk as cdk
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Template
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer

from tests.shapes import PLAIN, ROOT

README = (ROOT / "README.md").read_text()


def test_the_lines_for_a_stack_of_ones_own_synthesize_as_written():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    stack = cdk.Stack(cdk.App(context=PLAIN), "Own")
    bucket = s3.Bucket(stack, "Models")
    exec(block, {"self": stack, "bucket": bucket, "eks": eks, "KubectlV36Layer": KubectlV36Layer})
    assert Template.from_stack(stack).find_resources("Custom::AWSCDK-EKS-HelmChart")


def test_it_is_short_enough_to_be_read():
    assert len(README.split()) < 900
