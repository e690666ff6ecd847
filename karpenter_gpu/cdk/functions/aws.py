"""AWS as the functions here ask it: patient with what passes, such as throttling and permissions that were given just before."""

import ssl
import time
import traceback
import urllib.error

import boto3
from botocore import exceptions
from botocore.config import Config

# What the stack writes on all that it makes, as a tag or an annotation: its name.
MADE_BY = "karpenter-gpu/made-by"
# IAM and EKS are eventually consistent: a policy, a trust or an access entry that was just created may not be in effect yet.
PATIENCE_SECONDS = 90
RETRY_EVERY_SECONDS = 5
# How long it may take to say a stack's status, without which functions do as well, if not as fast.
STATUS_SECONDS = 30
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
# Of a resource that CloudFormation is not about to delete.
STAYS = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
# A server that is overloaded, or restarts.
BUSY = {429, 500, 502, 503, 504}


def client(service, session=boto3, *, patience=PATIENCE_SECONDS, **config):
    """A client that asks again while what is wrong may pass.

    Args:
        patience: For how many seconds from now.

        config: Of botocore.
    """
    # The first attempt is botocore's only one, so that nothing retries beyond the patience.
    made = session.client(service, config=Config(retries={"total_max_attempts": 1}, **config))
    until = time.time() + patience

    def delay(response=None, caught_exception=None, **_):
        error = caught_exception
        if response and "Error" in response[1]:
            error = exceptions.ClientError(response[1], service)
        return RETRY_EVERY_SECONDS if time.time() < until and passes(error) else None

    made.meta.events.register_first("needs-retry", delay)
    return made


def patiently(ask, until):
    """The answer, once there is one; what is wrong may pass until then."""
    while True:
        try:
            return ask()
        except Exception as error:
            if time.time() >= until or not passes(error):
                raise
        time.sleep(RETRY_EVERY_SECONDS)


def passes(error):
    """Whether what is wrong may be right in a moment."""
    if isinstance(error, exceptions.ClientError):
        code, status = error.response["Error"].get("Code", ""), error.response["ResponseMetadata"]["HTTPStatusCode"]
        return code in DENIED or "Throttl" in code or status in BUSY
    if isinstance(error, urllib.error.HTTPError):
        return error.code in BUSY
    # The certificate of another server stays that.
    if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
        return False
    # What cluster_api makes of a 401 or 403 is one, and so is a connection that is refused or breaks.
    return isinstance(error, (OSError, exceptions.ConnectionError, exceptions.HTTPClientError))


def rolls_back(stack):
    """Whether a stack goes back to what it was, or may: nothing that is found wrong must stop a rollback, or the stack is stuck."""
    status = status_of(stack)
    return not status or "ROLLBACK" in status


def has_twin(event):
    """Whether another resource of the stack, under another id, is the same thing and stays: what it has is not to be removed."""
    try:
        patient = client("cloudformation", patience=STATUS_SECONDS, connect_timeout=5)
        pages = patient.get_paginator("list_stack_resources").paginate(StackName=event["StackId"])
        return any(
            one.get("PhysicalResourceId") == event["PhysicalResourceId"]
            and one["LogicalResourceId"] != event["LogicalResourceId"]
            and one["ResourceStatus"] in STAYS
            for page in pages
            for one in page["StackResourceSummaries"]
        )
    except Exception:
        traceback.print_exc()
        return False


def goes(stack):
    """Whether all of a stack is being deleted."""
    return status_of(stack) in {"DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"}


def status_of(stack):
    """What CloudFormation says of a stack; nothing where it does not answer soon, which in a VPC it need not."""
    try:
        answered = client("cloudformation", patience=STATUS_SECONDS, connect_timeout=5).describe_stacks(StackName=stack)
    except Exception:
        traceback.print_exc()
        return ""
    return answered["Stacks"][0]["StackStatus"]
