"""Holds a stack's deletion until no instance of the cluster's Karpenter pools is alive.

A NodePool has no finalizer, so Kubernetes calls it deleted while its nodes still drain. What they and Karpenter need
(access, roles, queue, network) must outlast them; CloudFormation deletes that only when this handler has answered.
"""

import json
import time
import traceback

import boto3
from answer import answer

ALIVE = ["pending", "running", "shutting-down", "stopping", "stopped"]
LOOK_EVERY_SECONDS = 10
# One look can miss an instance that EC2 is just starting to show.
EMPTY_LOOKS_NEEDED = 3
# Time kept of the function's own limit to hand over to the next call.
HAND_OVER_MILLISECONDS = 45_000
HANDED_OVER = object()


def handler(event, context):
    """Answer CloudFormation; a deletion only when the instances are gone or the time is up."""
    try:
        why = verdict(event, context)
    except Exception as error:
        # CloudFormation would wait an hour for an answer that never comes, and Lambda would run a raised error again.
        traceback.print_exc()
        why = f"looking for the cluster's instances failed: {error!r}"
    if why is not HANDED_OVER:
        answer(event, context, why, name=f"drain-{event['ResourceProperties']['ClusterName']}")


def verdict(event, context):
    """Why the request must fail, or nothing; HANDED_OVER when another call will answer."""
    if event["RequestType"] == "Delete":
        return wait(event, context)
    return left_behind(event) if event["RequestType"] == "Update" else ""


def wait(event, context):
    """The verdict on a deletion, when it is known."""
    properties = event["ResourceProperties"]
    deadline = event.setdefault("Deadline", time.time() + int(properties["TimeoutSeconds"]))
    empty_looks = 0
    while True:
        left, error = look(properties["ClusterName"])
        empty_looks = 0 if left or error else empty_looks + 1
        if empty_looks == EMPTY_LOOKS_NEEDED:
            return ""
        if time.time() >= deadline and (left or error):
            return reason(properties, left) if left else f"looking for the cluster's instances failed: {error!r}"
        if context.get_remaining_time_in_millis() < HAND_OVER_MILLISECONDS:
            boto3.client("lambda").invoke(
                FunctionName=context.invoked_function_arn, InvocationType="Event", Payload=json.dumps(event)
            )
            return HANDED_OVER
        time.sleep(LOOK_EVERY_SECONDS)


def look(cluster):
    """The instances that are left, or the error that kept them from being seen; the next look may see them."""
    try:
        return instances(cluster), None
    except Exception as error:
        traceback.print_exc()
        return [], error


def left_behind(event):
    """Why a stack must not go over to a cluster of another name, or nothing: the old one goes, with its nodes alive."""
    old, new = (event[key]["ClusterName"] for key in ("OldResourceProperties", "ResourceProperties"))
    left = instances(old) if old != new else []
    if not left:
        return ""
    return (
        f"the cluster's name changes from {old} to {new}, which replaces the cluster, and {len(left)} instance(s) of the "
        f"old one still run and bill: {shown(left)}. Take the pools out of the stack first, or destroy it; in a rollback, "
        "delete that cluster's node pools with kubectl, and continue the rollback"
    )


def instances(cluster):
    """The instances of the cluster's pools that EC2 still bills or still holds network interfaces for."""
    pages = (
        boto3.client("ec2")
        .get_paginator("describe_instances")
        .paginate(
            Filters=[
                {"Name": f"tag:kubernetes.io/cluster/{cluster}", "Values": ["owned"]},
                {"Name": "tag-key", "Values": ["karpenter.sh/nodepool"]},
                {"Name": "instance-state-name", "Values": ALIVE},
            ]
        )
    )
    return [i for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]


def reason(properties, left):
    """What is still there, and what to do about it."""
    minutes = int(properties["TimeoutSeconds"]) // 60
    return (
        f"after {minutes} minutes {len(left)} instance(s) of cluster {properties['ClusterName']} still run and bill: "
        f"{shown(left)}. Look at 'kubectl get nodeclaims'; a PodDisruptionBudget or karpenter.sh/do-not-disrupt may "
        "hold a pod there, and a pool that is not this stack's must be deleted with kubectl. Then delete the stack again: what "
        "Karpenter needs has been kept"
    )


def shown(left):
    """The first instances by id, pool and state, and how many more there are."""
    named = ", ".join(
        f"{i['InstanceId']} (pool {tag(i, 'karpenter.sh/nodepool')}, {i['State']['Name']})" for i in left[:8]
    )
    return named + (f" and {len(left) - 8} more" if len(left) > 8 else "")


def tag(instance, key):
    """The value of one tag."""
    return next((pair["Value"] for pair in instance["Tags"] if pair["Key"] == key), "?")
