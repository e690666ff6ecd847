"""AWS as the functions here ask it: patient with throttling, and with permissions that were given just before."""

import time
import traceback

import boto3
from botocore.config import Config

# IAM and EKS are eventually consistent: a policy, a trust or an access entry that was just created may not be in effect yet.
SPREAD_SECONDS = 90
RETRY_EVERY_SECONDS = 5
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


def client(service, session=boto3):
    """A client that retries what is throttled, and for 90 seconds what is denied."""
    made = session.client(service, config=Config(retries={"mode": "standard", "total_max_attempts": 10}))
    until = time.time() + SPREAD_SECONDS

    def delay(response=None, **_):
        code = response[1].get("Error", {}).get("Code") if response else None
        return RETRY_EVERY_SECONDS if code in DENIED and time.time() < until else None

    made.meta.events.register_first("needs-retry", delay)
    return made


def rolls_back(stack):
    """Whether a stack goes back to what it was, which nothing that is found wrong now must stop."""
    try:
        (shown,) = client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except Exception:
        traceback.print_exc()
        return False
    return "ROLLBACK" in shown["StackStatus"]
