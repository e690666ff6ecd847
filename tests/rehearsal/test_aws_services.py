import json

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal import prices
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.prices import USD_PER_HOUR
from karpenter_gpu import gpus

EKS = "/aws/service/eks/optimized-ami"
INTERRUPTION = "EC2 Spot Instance Interruption Warning"


@pytest.fixture(scope="module")
def aws():
    with EmulatedAws(region="us-west-2") as emulated:
        yield emulated


@pytest.mark.parametrize(
    ("path", "name", "architecture"),
    [
        (f"{EKS}/1.30/amazon-linux-2-gpu/recommended/image_id", "amazon-eks-gpu-node-1.30-v20251209", "x86_64"),
        (f"{EKS}/1.30/amazon-linux-2/recommended/image_id", "amazon-eks-node-1.30-v20251209", "x86_64"),
        (f"{EKS}/1.30/amazon-linux-2-arm64/recommended/image_id", "amazon-eks-arm64-node-1.30-v20251209", "arm64"),
        (
            f"{EKS}/1.36/amazon-linux-2023/arm64/nvidia/recommended/image_id",
            "amazon-eks-node-al2023-arm64-nvidia-1.36-v20260714",
            "arm64",
        ),
        (
            f"{EKS}/1.33/amazon-linux-2023/x86_64/standard/amazon-eks-node-al2023-x86_64-standard-1.33-v20250501/image_id",
            "amazon-eks-node-al2023-x86_64-standard-1.33-v20250501",
            "x86_64",
        ),
        (
            "/aws/service/bottlerocket/aws-k8s-1.34-nvidia/x86_64/latest/image_id",
            "bottlerocket-aws-k8s-1.34-nvidia-x86_64-v1.62.1",
            "x86_64",
        ),
        (
            "/aws/service/bottlerocket/aws-k8s-1.34/arm64/1.40.0/image_id",
            "bottlerocket-aws-k8s-1.34-arm64-v1.40.0",
            "arm64",
        ),
    ],
)
def test_a_public_parameter_is_an_image_that_ec2_knows(aws, path, name, architecture):
    image = aws.client("ssm").get_parameter(Name=path)["Parameter"]["Value"]
    (shown,) = aws.client("ec2").describe_images(ImageIds=[image])["Images"]
    assert (shown["Name"], shown["Architecture"]) == (name, architecture)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{EKS}/1.33/amazon-linux-2-gpu/recommended/image_id", id="AL2 ended with 1.32"),
        pytest.param(
            f"{EKS}/1.30/amazon-linux-2023/x86_64/nvidia/amazon-eks-node-al2023-x86_64-nvidia-1.30-v20240822/image_id",
            id="no AL2023 NVIDIA image before October 2024",
        ),
        pytest.param(f"{EKS}/1.34/amazon-linux-2023/x86_64/rocm/recommended/image_id", id="no such variant"),
    ],
)
def test_a_parameter_that_aws_does_not_have_is_not_found(aws, path):
    with pytest.raises(ClientError, match="ParameterNotFound"):
        aws.client("ssm").get_parameter(Name=path)


def test_public_parameters_are_read_among_the_accounts_own(aws):
    ssm, public = aws.client("ssm"), f"{EKS}/1.34/amazon-linux-2023/x86_64/nvidia/recommended/image_id"
    ssm.put_parameter(Name="/mine", Value="1", Type="String")
    answer = ssm.get_parameters(Names=[public, "/mine", "/absent"])
    assert {parameter["Name"] for parameter in answer["Parameters"]} == {public, "/mine"}
    assert answer["InvalidParameters"] == ["/absent"]


def test_karpenters_price_queries_are_answered_from_the_table(aws):
    def listed(tenancy, family):
        filters = [("tenancy", tenancy), ("productFamily", family), ("regionCode", "us-west-2")]
        answer = aws.client("pricing").get_products(
            ServiceCode="AmazonEC2",
            Filters=[{"Field": field, "Type": "TERM_MATCH", "Value": value} for field, value in filters],
        )
        found = {}
        for product in map(json.loads, answer["PriceList"]):
            (term,) = product["terms"]["OnDemand"].values()
            (rate,) = term["priceDimensions"].values()
            found[product["product"]["attributes"]["instanceType"]] = float(rate["pricePerUnit"]["USD"])
        return found

    shared, metal = listed("Shared", "Compute Instance"), listed("Dedicated", "Compute Instance (bare metal)")
    assert shared["g6.xlarge"] == USD_PER_HOUR["g6.xlarge"]
    assert metal == {name: USD_PER_HOUR[name] for name in ("g4dn.metal", "g5g.metal")}


def test_both_houses_have_the_same_prices():
    assert {i.name: i.usd_per_hour for i in gpus.INSTANCE_TYPES if i.usd_per_hour} == USD_PER_HOUR
    assert (prices.DATED, prices.REGION) == (gpus.PRICES_DATED, gpus.PRICES_REGION)


def test_a_login_to_the_public_registry_is_given(aws):
    assert aws.client("ecr-public").get_authorization_token()["authorizationData"]["authorizationToken"]


def queue_with_rule(aws, name, *, policy=True):
    sqs, events = aws.client("sqs"), aws.client("events")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.ec2"], "detail-type": [INTERRUPTION]}
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "q", "Arn": arn}])
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    if policy:
        document = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": arn}]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": document})
    return url


def test_an_event_of_awss_own_reaches_the_queue_of_its_rule(aws):
    url = queue_with_rule(aws, "interruptions")
    detail = {"instance-id": "i-1", "instance-action": "terminate"}
    assert aws.put_aws_event("aws.ec2", INTERRUPTION, detail, ["arn:aws:ec2:::instance/i-1"]) == 1
    assert aws.put_aws_event("aws.ec2", "Something Else", detail, []) == 0
    (message,) = aws.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    event = json.loads(message["Body"])
    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.ec2", INTERRUPTION, detail)
    aws.client("events").disable_rule(Name="interruptions")


def test_a_queue_whose_policy_does_not_let_events_in_gets_none(aws):
    queue_with_rule(aws, "closed", policy=False)
    assert aws.put_aws_event("aws.ec2", INTERRUPTION, {"instance-id": "i-2"}, []) == 0
    assert aws.world.failures[-1] == (
        "events.amazonaws.com (rule closed) may not sqs:SendMessage on "
        "arn:aws:sqs:us-west-2:123456789012:closed: the queue has no policy"
    )
    assert aws.extensions.events.refused == aws.world.failures[-1:]
