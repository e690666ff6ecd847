"""Lets a node role in by the aws-auth config map: one entry, put before all others, and removed alone.

What others wrote stays as it is, byte for byte, because it is never parsed and written again. An annotation, written in one
request with the entry, says whose it is: an entry of anybody else is used and stays.
"""

import hashlib
import json
import os
import re
import traceback
import urllib.error

import aws
from answer import answer
from botocore.exceptions import ClientError
from cluster_api import Api

PATH = "/api/v1/namespaces/kube-system/configmaps"
ATTEMPTS = 5


def handler(event, context):
    """Answer CloudFormation."""
    wanted, before = event["ResourceProperties"], event.get("OldResourceProperties")
    # Another role, or another cluster, is another resource: CloudFormation deletes the old one when the update is complete.
    name, there, why = name_of(wanted), event.get("PhysicalResourceId"), ""
    try:
        if event["RequestType"] == "Delete":
            remove(wanted, event["StackId"])
        else:
            edit(wanted, event["StackId"], put)
            if before and there != name_of(before):
                # The rollback of an update that did not get as far as its answer.
                remove(before, event["StackId"])
    except Exception as error:
        traceback.print_exc()
        # What was never there keeps no rollback: CloudFormation has a name of its own for it, or that of a failed creation.
        if event["RequestType"] != "Delete" or there == name:
            why = f"aws-auth of cluster {wanted['ClusterName']} could not be changed: {error}"
    answer({**event, "PhysicalResourceId": (there or "not-created") if why else name}, context, why, name=name)


def name_of(properties):
    """What CloudFormation knows the entry by."""
    return f"{properties['ClusterName']}-{properties['RoleArn']}"


def remove(properties, stack):
    """Remove our entry; with its cluster it is gone."""
    try:
        edit(properties, stack, take)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise


def edit(wanted, stack, change):
    """Read the map, change it, write it; again when somebody else wrote in between."""
    # Not from the properties: a deletion has the old ones, and the function's policy is for the role of now.
    api = Api(wanted["ClusterName"], os.environ["KUBECTL_ROLE_ARN"])
    for attempt in range(ATTEMPTS):
        there = api.call("GET", f"{PATH}/aws-auth")
        data = dict((there or {}).get("data") or {})
        marks = dict((there or {}).get("metadata", {}).get("annotations") or {})
        if not change(data, marks, wanted["RoleArn"], stack):
            return
        try:
            write(api, there, data, marks)
        except urllib.error.HTTPError as error:
            if error.code != 409 or attempt == ATTEMPTS - 1:
                raise
        else:
            return


def write(api, there, data, marks):
    """The map with these data; without any it is removed."""
    metadata = {
        "name": "aws-auth",
        "namespace": "kube-system",
        **(there or {}).get("metadata", {}),
        "annotations": marks,
    }
    body = {"apiVersion": "v1", "kind": "ConfigMap", **(there or {}), "metadata": metadata, "data": data}
    if there is None:
        api.call("POST", PATH, body)
    elif data:
        api.call("PUT", f"{PATH}/aws-auth", body)
    else:
        version = {"resourceVersion": there["metadata"]["resourceVersion"]}
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": version}
        api.call("DELETE", f"{PATH}/aws-auth", options)


def put(data, marks, arn, stack):
    """Put our entry before all others, unless the role has one; whether anything changed."""
    text = data.get("mapRoles", "")
    if names(text, arn):
        return False
    data["mapRoles"] = joined(entry(arn), text)
    marks[mark_of(arn)] = stack
    return True


def take(data, marks, arn, stack):
    """Take our entry out, and leave what is around it; whether anything changed."""
    if marks.get(mark_of(arn)) != stack:
        return False
    del marks[mark_of(arn)]
    text = data.get("mapRoles", "")
    if text.lstrip().startswith("["):
        ours = compact(entry(arn))
        data["mapRoles"] = text.replace(f"{ours},", "", 1) if f"{ours}," in text else text.replace(ours, "", 1)
    else:
        whole = block(entry(arn), indent(text))
        data["mapRoles"] = text.replace(whole, "", 1) if whole in text else "".join(without(text, arn))
    if not data["mapRoles"].strip():
        del data["mapRoles"]
    return True


def mark_of(arn):
    """The annotation that says whose the entry of a role is; its name has 63 characters at most."""
    return f"{aws.MADE_BY}.{hashlib.sha256(arn.encode()).hexdigest()[:16]}"


def without(text, arn):
    """The items of a block list, but for ours, which somebody has written anew; comments behind it stay."""
    for item in re.split(rf"(?m)^(?={indent(text)}- )", text):
        lines = item.splitlines(keepends=True)
        said = [place for place, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
        yield "".join(lines[said[-1] + 1 :]) if names(item, arn) else item


def entry(arn):
    """What EKS's own guide maps a node role to."""
    return {
        "rolearn": arn,
        "username": "system:node:{{EC2PrivateDNSName}}",
        "groups": ["system:bootstrappers", "system:nodes"],
    }


def joined(ours, text):
    """A list, in the form that it has, with ours at its head."""
    stripped = text.strip()
    if stripped.startswith("["):
        try:
            others = json.loads(stripped)
        except ValueError:
            raise ValueError(
                "mapRoles is a YAML list in brackets, which cannot be added to with care; write it as a list of '- ' items"
            ) from None
        before, _, rest = text.partition("[")
        return f"{before}[{compact(ours)}{',' if others else ''}{rest}"
    if stripped and not re.search(r"^ *- ", text, re.MULTILINE):
        raise ValueError(f"mapRoles is not a list, it begins with {stripped[:40]!r}; fix it first")
    return block(ours, indent(text)) + text


def compact(ours):
    """One item of a list in brackets, as the CDK writes them."""
    return json.dumps(ours, separators=(",", ":"))


def names(text, arn):
    """True where a text maps just this role: not one whose name only begins so, and not in a comment."""
    return bool(re.search(rf"(?m)^[^#\n]*rolearn[\"']?\s*:\s*[\"']?{re.escape(arn)}(?![\w+=,.@/-])", text))


def indent(text):
    """What stands before the dash of the first item."""
    found = re.search(r"^( *)- ", text, re.MULTILINE)
    return found[1] if found else ""


def block(ours, before):
    """One item of a block list."""
    lines = [f"- rolearn: {ours['rolearn']}", f"  username: {ours['username']}", "  groups:"]
    lines += [f"  - {group}" for group in ours["groups"]]
    return "".join(f"{before}{line}\n" for line in lines)
