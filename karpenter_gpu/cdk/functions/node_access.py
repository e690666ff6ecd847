"""Admits an existing node role by an access entry: an existing entry is used, else one is created.

Ours has our mark, and a deletion removes only what has it.
"""

import traceback

import aws
from answer import answer

TYPE = "EC2_LINUX"


def handler(event, context):
    """Answer CloudFormation."""
    wanted, before = event["ResourceProperties"], event.get("OldResourceProperties")
    try:
        eks = aws.client("eks")
        why = verdict(event["RequestType"], wanted, eks)
        if before and not why and event["PhysicalResourceId"] != name_of(before):
            # The rollback of an update that did not get as far as its answer.
            why = verdict("Delete", before, eks)
    except Exception as error:
        traceback.print_exc()
        why = f"the access entry of {wanted['RoleArn']} could not be seen to: {error}"
    # Another role is another resource: CloudFormation deletes the old one when the update is complete.
    name = name_of(wanted)
    answer(event if why else {**event, "PhysicalResourceId": name}, context, why, name=name)


def name_of(properties):
    """What CloudFormation knows the entry by."""
    return f"{properties['ClusterName']}-{properties['RoleArn']}"


def verdict(request, wanted, eks):
    """Why the request must fail, or nothing."""
    there = entry(eks, wanted)
    if request == "Delete":
        if there and there.get("tags", {}).get(aws.MADE_BY) == wanted["Stack"]:
            eks.delete_access_entry(**key(wanted))
    elif there is None:
        eks.create_access_entry(**key(wanted), type=TYPE, tags={aws.MADE_BY: wanted["Stack"]})
    elif there["type"] != TYPE:
        return (
            f"{wanted['RoleArn']} has an access entry of type {there['type']} in cluster {wanted['ClusterName']}, by which no "
            f"Linux node joins, and an entry has one type; delete it, and one of type {TYPE} is made, or name another node role"
        )
    return ""


def entry(eks, properties):
    """The role's entry, or nothing; nothing, too, where the cluster is gone."""
    try:
        return eks.describe_access_entry(**key(properties))["accessEntry"]
    except eks.exceptions.ResourceNotFoundException:
        return None


def key(properties):
    """What an entry is found by."""
    return {"clusterName": properties["ClusterName"], "principalArn": properties["RoleArn"]}
