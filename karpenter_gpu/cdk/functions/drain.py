"""Holds a stack's deletion until no instance of the cluster's Karpenter pools is alive, and says why one is.

A NodePool has no finalizer, so Kubernetes calls it deleted while its nodes still drain. What they and Karpenter need
(access, roles, queue, network) must outlast them; CloudFormation deletes that only when this handler has answered.
"""

import json
import time
import traceback

import aws
import sweep
from answer import answer

ALIVE = ["pending", "running", "shutting-down", "stopping", "stopped"]
LOOK_EVERY_SECONDS = 10
# One look can miss an instance that EC2 is just starting to show.
EMPTY_LOOKS_NEEDED = 3
# How often the log says how it goes, and the cluster is asked why.
TELL_EVERY_SECONDS = 60
# Time kept of the function's own limit to hand over to the next call, with a question to the cluster and what EC2 may take
# for a look and for terminations in between.
HAND_OVER_MILLISECONDS = 360_000
# Without that much of its limit left it gives up handing over, and answers.
LAST_MILLISECONDS = 30_000
# How long EC2 may take over instances that were terminated here.
TERMINATION_SECONDS = 13 * 60
# After that much nothing is waited for any more: CloudFormation hears nothing of what is answered after its hour, and a look
# and a question to the cluster that is down take four minutes.
LONGEST_SECONDS = 56 * 60
# How long EC2 may be throttled or down in one look, so that the last one, when the time is up, is not the one that fails.
PATIENCE_SECONDS = 60
# How long the cluster is asked why.
ASK_SECONDS = 150
# CloudFormation shows about a thousand characters of a reason.
SHOWN_CHARACTERS = 1000
HANDED_OVER = object()


def handler(event, context):
    """Answer CloudFormation; a deletion only when the instances are gone or the time is up."""
    try:
        why = verdict(event, context)
    except Exception as error:
        # CloudFormation would wait an hour for an answer that never comes, and Lambda would run a raised error again.
        traceback.print_exc()
        why = f"looking for what is left of the cluster failed: {error!r}"
    if why is not HANDED_OVER:
        answer(event, context, why, name=name_of(event))


def name_of(event):
    """What the resource is called: a name for each pool's, and for each sweep."""
    properties = event["ResourceProperties"]
    parts = [properties["ClusterName"], properties.get("NodePool"), properties.get("Sweep")]
    return "-".join(["drain", *filter(None, parts)])


def verdict(event, context):
    """Why the request must fail, or nothing; HANDED_OVER when another call will answer."""
    properties = event["ResourceProperties"]
    if "Sweep" in properties:
        return sweep.verdict(properties) if event["RequestType"] == "Delete" else ""
    if event["RequestType"] == "Delete":
        # Where all goes, the stack's own gate waits for the instances of every pool, in one function and not in many.
        return "" if "NodePool" in properties and aws.goes(event["StackId"]) else wait(event, context)
    return left_behind(event) if event["RequestType"] == "Update" else ""


def wait(event, context):
    """The verdict on a deletion, when it is known."""
    properties = event["ResourceProperties"]
    began = event.setdefault("Began", time.time())
    event.setdefault("Deadline", began + int(properties["TimeoutSeconds"]))
    empty_looks, tell_at, reasons = 0, 0, {}
    while True:
        left, error = look(properties)
        empty_looks = 0 if left or error else empty_looks + 1
        if empty_looks == EMPTY_LOOKS_NEEDED:
            release(event)
            return ""
        if context.get_remaining_time_in_millis() < HAND_OVER_MILLISECONDS and handed_over(event, context):
            return HANDED_OVER
        is_over = time.time() >= event["Deadline"]
        # Once the time is up, the cluster is asked only where it never was.
        tells = bool(left) and time.time() >= tell_at and not (is_over and tell_at)
        if tells:
            reasons, tell_at = ask(properties, left), time.time() + TELL_EVERY_SECONDS
            print(progress(event, left, reasons))
        if "Terminated" in event:
            event["Terminated"].update(terminate(left) if tells and not is_over else {})
        elif reasons.get("cluster") == "gone" or is_over:
            is_over = properties["OnTimeout"] != "terminate"
            if not is_over and (left or error):
                event["Deadline"] = min(time.time() + TERMINATION_SECONDS, began + LONGEST_SECONDS)
                event["Terminated"] = terminate(left)
        if is_over and (left or error):
            return reason(event, context, left, reasons) if left else f"looking for instances failed: {error!r}"
        time.sleep(LOOK_EVERY_SECONDS)


def handed_over(event, context):
    """Go on in another call; False when Lambda takes none, to be tried again while there is time.

    Raises:
        Exception: There is none left.
    """
    try:
        # It is tried again at the next look.
        aws.client("lambda", patience=0).invoke(
            FunctionName=context.invoked_function_arn, InvocationType="Event", Payload=json.dumps(event)
        )
    except Exception:
        if context.get_remaining_time_in_millis() < LAST_MILLISECONDS:
            raise
        traceback.print_exc()
        return False
    return True


def look(properties):
    """The instances that are left, or the error that kept them from being seen; the next look may see them."""
    try:
        return instances(properties), None
    except Exception as error:
        traceback.print_exc()
        return [], error


def left_behind(event):
    """Why a stack must not go over to a cluster of another name, or nothing: the old one goes, with its nodes alive."""
    before, after = event["OldResourceProperties"], event["ResourceProperties"]
    old, new = before["ClusterName"], after["ClusterName"]
    left = instances(before) if old != new else []
    if not left:
        return ""
    return (
        f"the cluster's name changes from {old} to {new}, which replaces the cluster, and {len(left)} instance(s) of the "
        f"old one still run and bill: {shown(left)}. Take the pools out of the stack first, or destroy it; in a rollback, "
        "delete that cluster's node pools with kubectl, and continue the rollback"
    )


def instances(properties):
    """The instances of the pool, or of all the cluster's, that EC2 still bills or holds network interfaces for."""
    pool = properties.get("NodePool")
    of_pool = {"Name": "tag:karpenter.sh/nodepool", "Values": [pool]}
    of_any = {"Name": "tag-key", "Values": ["karpenter.sh/nodepool"]}
    pages = (
        aws.client("ec2", patience=PATIENCE_SECONDS)
        .get_paginator("describe_instances")
        .paginate(
            Filters=[
                {"Name": f"tag:kubernetes.io/cluster/{properties['ClusterName']}", "Values": ["owned"]},
                of_pool if pool else of_any,
                {"Name": "instance-state-name", "Values": ALIVE},
            ]
        )
    )
    return [i for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]


def terminate(left):
    """Terminate the instances that still run; what EC2 said of each."""
    said, ec2 = {}, aws.client("ec2", patience=PATIENCE_SECONDS)
    for id in (instance["InstanceId"] for instance in left if billed(instance)):
        try:
            ec2.terminate_instances(InstanceIds=[id])
            said[id] = "terminated, because karpenter.on_drain_timeout is 'terminate'"
        except Exception as error:
            said[id] = f"not terminated: {error}"
        print(f"{id}: {said[id]}")
    return said


def ask(properties, left):
    """Why instances are alive."""
    return asked(properties, Instances={i["InstanceId"]: tag(i, "karpenter.sh/nodepool") for i in left if billed(i)})


def release(event):
    """Let go of what no controller that works would: finalizers of a pool's NodeClaims and EC2NodeClass, or of all the stack's."""
    properties, stack = event["ResourceProperties"], event["StackId"].split("/")[1]
    for line in asked(properties, Release=properties.get("NodePool", ""), Stack=stack).get("released", ()):
        print(line)


def asked(properties, **question):
    """What the function says that may look into the cluster; nothing where it cannot."""
    question = {
        "ClusterName": properties["ClusterName"],
        "Namespace": properties["Namespace"],
        "KubectlRoleArn": properties.get("KubectlRoleArn"),
        **question,
    }
    try:
        answered = aws.client("lambda", patience=0, read_timeout=ASK_SECONDS).invoke(
            FunctionName=properties["AskFunction"], Payload=json.dumps(question)
        )
        said = json.loads(answered["Payload"].read())
    except Exception as error:
        print(f"the cluster was not asked: {error!r}")
        return {}
    if answered.get("FunctionError"):
        print(f"the cluster was not asked: {said.get('errorMessage')}")
        return {}
    return said


def progress(event, left, reasons):
    """How it goes, for a person who follows the log."""
    minutes = max(0, int(event["Deadline"] - time.time()) // 60)
    lines = [f"waiting for {len(left)} instance(s), {minutes} more minutes at most: {shown(left)}"]
    return "\n".join([*lines, *(f"  {line}" for line in because(left, reasons))])


def because(left, reasons):
    """Each reason once, with the instances that it keeps."""
    kept = {}
    for instance in left:
        why = reasons.get("instances", {}).get(instance["InstanceId"], [])
        if not billed(instance):
            why = ["EC2 is shutting it down, which can take minutes"]
        for each in why:
            kept.setdefault(each, []).append(instance["InstanceId"])
    lines = [
        f"{each} ({', '.join(ids[:3])}{f' and {len(ids) - 3} more' if ids[3:] else ''})" for each, ids in kept.items()
    ]
    return [*reasons.get("karpenter", []), *lines]


def reason(event, context, left, reasons):
    """What is left, why, and what to do about it."""
    properties = event["ResourceProperties"]
    found = because(left, reasons) or [
        "look at 'kubectl get nodeclaims': a PodDisruptionBudget or karpenter.sh/do-not-disrupt may hold a pod there"
    ]
    found += [f"{id} was {said}" for id, said in event.get("Terminated", {}).items()]
    begin = (
        f"after {int(properties['TimeoutSeconds']) // 60} minutes {len(left)} instance(s) of cluster "
        f"{properties['ClusterName']} still run and bill: {shown(left)}. "
    )
    end = (
        f". All of it: aws logs tail {context.log_group_name} --since 1h. Then delete the stack again: what Karpenter "
        "needs has been kept"
    )
    if reasons.get("cluster") == "gone":
        begin, end = begin.partition(" minutes ")[2], ", and delete the stack again"
    said, room = "; ".join(found), SHOWN_CHARACTERS - len(begin) - len(end)
    return begin + (said if len(said) <= room else f"{said[: room - 1]}…") + end


def shown(left):
    """The first instances by id, pool and state, and how many more there are."""
    named = ", ".join(
        f"{i['InstanceId']} (pool {tag(i, 'karpenter.sh/nodepool')}, {i['State']['Name']})" for i in left[:5]
    )
    return named + (f" and {len(left) - 5} more" if len(left) > 5 else "")


def billed(instance):
    """False for one that EC2 is shutting down already."""
    return instance["State"]["Name"] != "shutting-down"


def tag(instance, key):
    """The value of one tag."""
    return next((pair["Value"] for pair in instance["Tags"] if pair["Key"] == key), "?")
