"""Lets a node role in by the aws-auth config map: one entry, put before all that is there, and taken out alone.

What others wrote stays as it is, byte for byte, because it is never parsed and written again.
"""

import json
import re
import traceback
import urllib.error

from answer import answer
from cluster_api import Api

PATH = "/api/v1/namespaces/kube-system/configmaps"
ATTEMPTS = 5


def handler(event, context):
    """Answer CloudFormation."""
    wanted = event["ResourceProperties"]
    # Whether the entry was there before is kept in the name, which CloudFormation hands back at deletion.
    name, why = event.get("PhysicalResourceId") or f"entry-{wanted['RoleArn']}", ""
    try:
        if event["RequestType"] != "Delete":
            name = edit(wanted, put)
        elif name.startswith("entry-"):
            edit(wanted, take)
    except Exception as error:
        traceback.print_exc()
        why = f"aws-auth of cluster {wanted['ClusterName']} could not be changed: {error}"
    answer({**event, "PhysicalResourceId": name}, context, why, name=name)


def edit(wanted, change):
    """Read the map, change it, write it; again when somebody else wrote in between."""
    api = Api(wanted["ClusterName"], wanted["KubectlRoleArn"])
    for attempt in range(ATTEMPTS):
        there = api.call("GET", f"{PATH}/aws-auth")
        data = dict((there or {}).get("data") or {})
        name = change(data, wanted["RoleArn"])
        if there is not None and data == (there.get("data") or {}):
            return name
        try:
            write(api, there, data)
        except urllib.error.HTTPError as error:
            if error.code != 409 or attempt == ATTEMPTS - 1:
                raise
        else:
            return name
    return name


def write(api, there, data):
    """The map with these data; without any it goes."""
    metadata = {"name": "aws-auth", "namespace": "kube-system"}
    if there is None and data:
        api.call("POST", PATH, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    elif there is not None and data:
        api.call("PUT", f"{PATH}/aws-auth", {**there, "data": data})
    elif there is not None:
        api.call("DELETE", f"{PATH}/aws-auth")


def put(data, arn):
    """Put our entry before all others; the name of the resource says whether it was there."""
    text = data.get("mapRoles", "")
    if names(text, arn):
        return f"found-{arn}"
    data["mapRoles"] = joined(entry(arn), text)
    return f"entry-{arn}"


def take(data, arn):
    """Take our entry out; what is around it stays."""
    text = data.get("mapRoles", "")
    if text.lstrip().startswith("["):
        ours = compact(entry(arn))
        data["mapRoles"] = text.replace(f"{ours},", "", 1) if f"{ours}," in text else text.replace(ours, "", 1)
    else:
        whole = block(entry(arn), indent(text))
        data["mapRoles"] = text.replace(whole, "", 1) if whole in text else "".join(without(text, arn))
    if not data["mapRoles"].strip():
        del data["mapRoles"]


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
        raise ValueError(f"mapRoles is no list, it begins with {stripped[:40]!r}; mend it first")
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
