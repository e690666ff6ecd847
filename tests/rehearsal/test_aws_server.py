import http.client
import io
import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.aws.wire import AwsError
from eks_rehearsal.errors import RehearsalError


@pytest.fixture(scope="module")
def aws():
    with EmulatedAws(region="eu-central-1", account="111122223333") as emulated:
        yield emulated


def test_each_aws_starts_empty():
    with EmulatedAws(region="us-east-1") as first:
        first.client("sqs").create_queue(QueueName="left-over")
    with EmulatedAws(region="us-east-1") as second:
        assert "QueueUrls" not in second.client("sqs").list_queues()


def test_a_port_that_is_taken_is_named_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RehearsalError, match=rf"port {port} .*--port"), EmulatedAws(region="us-east-1", port=port):
            pass


def test_a_client_is_made_once_for_each_caller(aws):
    assert aws.client("ec2") is aws.client("ec2")
    other = aws.client("ec2", aws_access_key_id="AKIAOTHER", aws_secret_access_key="other")
    assert other is not aws.client("ec2")


def test_a_caller_with_unknown_keys_is_the_root_of_the_account_asked_for(aws):
    assert aws.client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::111122223333:root"
    assert aws.client("sqs").create_queue(QueueName="mine")["QueueUrl"].startswith(f"{aws.endpoint}/111122223333/")


def test_every_call_is_remembered_with_its_caller_parameters_and_status(aws):
    with pytest.raises(ClientError):
        aws.client("iam").get_role(RoleName="nobody")
    call = aws.calls[-1]
    assert (call.service, call.action, call.status) == ("iam", "GetRole", 404)
    assert call.principal == "arn:aws:iam::111122223333:root"
    assert call.parameters == {"RoleName": "nobody"}


def test_large_bodies_are_not_remembered(aws):
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="assets", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket="assets", Key="a/b", Body=b"x" * 300_000)
    assert aws.calls[-1].action == "PutObject"
    assert aws.calls[-1].environ["wsgi.input"].getvalue() == b""
    assert s3.get_object(Bucket="assets", Key="a/b")["Body"].read() == b"x" * 300_000
    assert s3.head_object(Bucket="assets", Key="a/b")["ContentLength"] == 300_000


@pytest.mark.parametrize(
    ("service", "ask"),
    [
        pytest.param("ec2", lambda client: client.describe_mac_hosts(), id="an operation of moto's"),
        pytest.param("arc-zonal-shift", lambda client: client.list_managed_resources(), id="a service moto has not"),
        pytest.param("eks", lambda client: client.list_eks_anywhere_subscriptions(), id="an operation of our own EKS"),
    ],
)
def test_what_nobody_knows_is_answered_with_501_and_kept_for_the_report(aws, service, ask):
    with pytest.raises(ClientError, match="the rehearsal's AWS does not know") as refused:
        ask(aws.client(service))
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert aws.unknown[-1].service == service


def test_a_connection_serves_many_requests(aws):
    connection = http.client.HTTPConnection(aws.endpoint.removeprefix("http://"))
    body = "Action=GetSessionToken&Version=2011-06-15"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": "sts.amazonaws.com"}
    sockets = []
    for _ in range(3):
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        assert b"GetSessionTokenResult" in response.read()
        sockets.append(connection.sock)
    assert sockets[0] is not None
    assert len(set(sockets)) == 1
    connection.close()


@pytest.mark.parametrize(
    ("host", "query", "action"),
    [
        ("sts.amazonaws.com", "Action=GetSessionToken&Version=2011-06-15", b"GetSessionTokenResult"),
        ("sts.eu-central-1.amazonaws.com", "Action=GetSessionToken&Version=2011-06-15", b"GetSessionTokenResult"),
        ("ec2.eu-central-1.amazonaws.com", "Action=DescribeVpcs&Version=2016-11-15", b"DescribeVpcsResponse"),
        ("iam.amazonaws.com", "Action=ListUsers&Version=2010-05-08", b"ListUsersResult"),
        ("sqs.eu-central-1.amazonaws.com", "Action=ListQueues&Version=2012-11-05", b"ListQueuesResponse"),
    ],
)
def test_unsigned_requests_find_their_service_by_host(aws, host, query, action):
    form = {"Host": host, "Content-Type": "application/x-www-form-urlencoded"}
    with closing(http.client.HTTPConnection(aws.endpoint.removeprefix("http://"))) as connection:
        connection.request("POST", "/", query, headers=form)
        assert action in connection.getresponse().read()


def test_a_bucket_is_found_by_its_own_host(aws):
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="by-host", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket="by-host", Key="k", Body=b"here")
    for host in ("by-host.s3.eu-central-1.amazonaws.com", "by-host.s3.amazonaws.com"):
        connection = http.client.HTTPConnection(aws.endpoint.removeprefix("http://"))
        authorization = (
            "AWS4-HMAC-SHA256 Credential=A/20260101/eu-central-1/s3/aws4_request, SignedHeaders=h, Signature=0"
        )
        connection.request("GET", "/k", headers={"Host": host, "Authorization": authorization})
        assert connection.getresponse().read() == b"here"
        connection.close()


def test_a_presigned_request_goes_to_the_service_it_was_signed_for(aws):
    url = aws.client("sts").generate_presigned_url("get_caller_identity")
    connection = http.client.HTTPConnection(aws.endpoint.removeprefix("http://"))
    connection.request("GET", url.removeprefix(aws.endpoint))
    assert b"arn:aws:iam::111122223333:root" in connection.getresponse().read()
    connection.close()


def test_a_front_answers_before_anything_else():
    class Invoke:
        def matches(self, _environ, service, action):
            return service == "lambda" and action == "Invoke"

        def __call__(self, environ, start_response):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"path": environ["PATH_INFO"], "said": environ["wsgi.input"].read().decode()}).encode()]

    with EmulatedAws(region="us-east-1", fronts=[Invoke()]) as aws:
        answer = aws.client("lambda").invoke(FunctionName="handler", Payload=io.BytesIO(b'"hello"'))
        with closing(answer["Payload"]) as payload:
            told = json.load(payload)
        assert told == {"path": "/2015-03-31/functions/handler/invocations", "said": '"hello"'}
        assert aws.calls[-1].status == 200


def test_a_long_poll_holds_up_nobody_else(aws):
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName="slow")["QueueUrl"]
    received = []
    poll = threading.Thread(target=lambda: received.append(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)))
    poll.start()
    time.sleep(0.2)
    began = time.monotonic()
    aws.client("sts").get_caller_identity()
    assert time.monotonic() - began < 2
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="news")
    poll.join(5)
    assert received[0]["Messages"][0]["Body"] == "news"


def test_callers_at_the_same_moment_do_not_trip_over_each_other(aws):
    def work(name):
        iam, trust = aws.client("iam"), json.dumps({"Version": "2012-10-17", "Statement": []})
        allowed = json.dumps(
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        )
        for _ in range(10):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
            policy = iam.create_policy(PolicyName=name, PolicyDocument=allowed)["Policy"]["Arn"]
            iam.attach_role_policy(RoleName=name, PolicyArn=policy)
            iam.detach_role_policy(RoleName=name, PolicyArn=policy)
            iam.delete_policy(PolicyArn=policy)
            iam.delete_role(RoleName=name)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, [f"role-{number}" for number in range(4)]))
    finally:
        sys.setswitchinterval(before)
    assert [unknown for unknown in aws.unknown if unknown.service == "iam"] == []


def test_aws_answers_with_the_trouble_that_it_is_in(aws, monkeypatch):
    def trouble(call):
        if call.service == "ec2":
            raise AwsError("RequestLimitExceeded", "Request limit exceeded.", status=503)

    monkeypatch.setattr(aws.hooks, "trouble", trouble)
    with pytest.raises(ClientError, match="RequestLimitExceeded") as refused:
        aws.client("ec2").describe_vpcs()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert aws.client("sts").get_caller_identity()
