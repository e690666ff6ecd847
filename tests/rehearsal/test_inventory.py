import json

import pytest

from karpenter_gpu.rehearsal.aws.server import EmulatedAws
from karpenter_gpu.rehearsal.inventory import KINDS, inventory
from tests.rehearsal.test_aws_states import waiter


@pytest.fixture(scope="module")
def aws():
    with EmulatedAws(region="us-east-1") as running:
        yield running


def made(aws, make):
    before = inventory(aws.client)
    make()
    return inventory(aws.client) - before


def test_what_is_made_is_told_from_what_was_there(aws):
    assert made(aws, lambda: aws.client("sqs").create_queue(QueueName="left")) == {
        f"queue {aws.client('sqs').get_queue_url(QueueName='left')['QueueUrl']}"
    }


def test_a_state_machine_that_is_left_is_seen(aws):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "states.amazonaws.com"}}
    made_role = aws.client("iam").create_role(
        RoleName="states", AssumeRolePolicyDocument=json.dumps({"Statement": [statement]})
    )
    asked = {"name": "left", "definition": json.dumps(waiter()), "roleArn": made_role["Role"]["Arn"]}
    assert made(aws, lambda: aws.client("stepfunctions").create_state_machine(**asked)) == {"state machine left"}


def test_things_beyond_the_first_page_of_a_list_are_seen(aws):
    ssm = aws.client("ssm")
    left = made(aws, lambda: [ssm.put_parameter(Name=f"/p/{n}", Value="x", Type="String") for n in range(25)])
    assert len(left) == 25


def test_a_key_that_is_to_be_deleted_counts_as_gone_and_another_does_not(aws):
    kms = aws.client("kms")
    (key,) = made(aws, lambda: kms.create_key(Description="secrets"))
    assert key.endswith("(secrets)")
    kms.schedule_key_deletion(KeyId=key.split()[1], PendingWindowInDays=7)
    assert key not in inventory(aws.client)


def test_a_terminated_instance_counts_as_gone(aws):
    ec2 = aws.client("ec2")
    image = aws.client("ssm").get_parameter(
        Name="/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id"
    )["Parameter"]["Value"]
    asked = {"ImageId": image, "InstanceType": "m6i.large", "MinCount": 1, "MaxCount": 1}
    (line,) = [one for one in made(aws, lambda: ec2.run_instances(**asked)) if one.startswith("instance i-")]
    ec2.terminate_instances(InstanceIds=[line.split()[1]])
    assert line not in inventory(aws.client)


def test_every_kind_is_listed_by_an_operation_that_its_service_has(aws):
    assert [kind.name for kind in KINDS if not hasattr(aws.client(kind.service), kind.operation)] == []
