"""What the calls of every service but EC2 ask IAM for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from eks_rehearsal.aws.asked.request import TAGS, Asked, Rule, key_arn, listed, passed, request_tags, tag_keys, unscoped
from eks_rehearsal.aws.wire import Call
from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.evaluator import UNKNOWN

# IAM.


def _iam_arn(world: World, kind: str, name: str, path: str = "/") -> str:
    return f"arn:{world.partition}:iam::{world.account}:{kind}{path}{name}"


def role_arn(world: World, name: str, path: str = "/") -> str:
    """The ARN of a role that stands, or is about to."""
    found = next((one.arn for one in world.backend("iam").get_roles() if one.name == name), "")
    return found or _iam_arn(world, "role", name, path)


def _profile(world: World, call: Call) -> Iterator[Asked]:
    asked, iam = call.parameters, world.backend("iam")
    name = asked["InstanceProfileName"]
    found = next((one for one in iam.get_instance_profiles() if one.name == name), None)
    arn = _iam_arn(world, "instance-profile", name, found.path if found else asked.get("Path") or "/")
    keys = {
        **tag_keys("resource", listed(found.tags if found else ())),
        **tag_keys("request", listed(asked.get("Tags", ()))),
    }
    yield Asked(f"iam:{call.action}", arn, keys, TAGS)
    if call.action == "CreateInstanceProfile" and asked.get("Tags"):
        yield Asked("iam:TagInstanceProfile", arn, {**keys, **tag_keys("resource", listed(asked["Tags"]))}, TAGS)
    if call.action == "AddRoleToInstanceProfile":
        yield passed(role_arn(world, asked["RoleName"]), "ec2.amazonaws.com")


def _role(world: World, call: Call) -> Iterator[Asked]:
    asked = call.parameters
    found = next((one for one in world.backend("iam").get_roles() if one.name == asked["RoleName"]), None)
    boundary = asked.get("PermissionsBoundary") or (found.permissions_boundary_arn if found else "")
    keys = {
        **tag_keys("resource", listed(found.tags or () if found else ())),
        **tag_keys("request", listed(asked.get("Tags", ()))),
        **({"iam:permissionsboundary": (boundary,)} if boundary else {}),
        **({"iam:policyarn": (asked["PolicyArn"],)} if "PolicyArn" in asked else {}),
    }
    arn = found.arn if found else _iam_arn(world, "role", asked["RoleName"], asked.get("Path") or "/")
    yield Asked(f"iam:{call.action}", arn, keys, (*TAGS, "iam:permissionsboundary", "iam:policyarn"))


def _provider(world: World, call: Call) -> Iterator[Asked]:
    """An OIDC provider, whose ARN says its URL; its tags are asked for by themselves."""
    asked, providers = call.parameters, world.backend("iam").open_id_providers
    url = str(asked.get("Url", "")).removeprefix("https://")
    arn = asked.get("OpenIDConnectProviderArn") or _iam_arn(world, "oidc-provider", url)
    tags = listed(asked.get("Tags", ()))
    found = providers.get(arn)
    keys = {**tag_keys("resource", listed(found.tags.values() if found else ())), **tag_keys("request", tags)}
    yield Asked(f"iam:{call.action}", arn, keys, TAGS)
    if tags and call.action.startswith("Create"):
        yield Asked("iam:TagOpenIDConnectProvider", arn, keys, TAGS)


def _iam(world: World, call: Call) -> Iterable[Asked]:
    asked = call.parameters
    if "InstanceProfileName" in asked:
        return _profile(world, call)
    if "RoleName" in asked:
        return _role(world, call)
    if call.action.endswith("OpenIDConnectProvider"):
        return _provider(world, call)
    arn = asked.get("PolicyArn")
    if call.action == "CreatePolicy":
        arn = _iam_arn(world, "policy", asked["PolicyName"], asked.get("Path") or "/")
    if call.action.startswith("List") and not arn:
        arn = "*"
    return [Asked(f"iam:{call.action}", arn or UNKNOWN, *request_tags(call))]


# STS.


def _nothing(_: World, __: Call) -> Iterator[Asked]:
    """No permission is asked for (STS), or the caller has signed nothing."""
    return iter(())


def _assume(_: World, call: Call) -> Iterator[Asked]:
    asked = call.parameters
    tags = tag_keys("request", listed(asked.get("Tags", ())))
    external = {"sts:externalid": (asked["ExternalId"],)} if "ExternalId" in asked else {}
    keys = {**tags, **external, "sts:rolesessionname": (asked["RoleSessionName"],)}
    for action in ("sts:AssumeRole", *(["sts:TagSession"] if tags else [])):
        yield Asked(action, asked["RoleArn"], keys, ("aws:requesttag/", "aws:tagkeys", "sts:"))


# S3: its actions are not named as its operations are.

_S3_ACTIONS: Final = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteObjects": "DeleteObject",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "UploadPart": "PutObject",
}


def _s3(world: World, call: Call) -> Iterator[Asked]:
    asked = call.parameters
    bucket, key = asked.get("Bucket"), asked.get("Key")
    action = f"s3:{_S3_ACTIONS.get(call.action, call.action)}"
    arn = f"arn:{world.partition}:s3:::{bucket}" if bucket else "*"
    names = [key] if key else [one["Key"] for one in asked.get("Delete", {}).get("Objects", ())]
    for name in names or [""]:
        yield Asked(action, f"{arn}/{name}" if name else arn)


# KMS, by whatever names a key has.


def _kms(world: World, call: Call) -> Iterator[Asked]:
    asked, action = call.parameters, f"kms:{call.action}"
    alias = asked.get("AliasName")
    if alias:
        yield Asked(action, world.arn("kms", alias))
    name = asked.get("KeyId") or asked.get("TargetKeyId") or (alias if call.action == "DeleteAlias" else "")
    if name:
        yield Asked(action, key_arn(world, name))
    elif not alias:
        yield Asked(action, "*", *request_tags(call))


# Everything else, by how a service names its resources.


# The parameter that names a resource, and how its ARN ends; the first that a call has counts.
_NAMES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "cloudformation": (("StackName", "stack/{}/*"),),
    "ecr": (("repositoryName", "repository/{}"),),
    "events": (("Rule", "rule/{}"), ("Name", "rule/{}")),
    "lambda": (("FunctionName", "function:{}"), ("LayerName", "layer:{}")),
    "logs": (("logGroupName", "log-group:{}"),),
    "sqs": (("QueueName", "{}"), ("QueueUrl", "{}")),
    "ssm": (("Name", "parameter/{}"),),
    "states": (("stateMachineArn", "{}"), ("name", "stateMachine:{}")),
}
_ACTIONS: Final = {"lambda:Invoke": "lambda:InvokeFunction"}
_PREFIXES: Final = {"cloudcontrolapi": "cloudformation", "monitoring": "cloudwatch"}
# The roles that a call hands to a service, by their parameter.
_PASSED: Final = {
    ("lambda", "CreateFunction"): ("Role", "lambda.amazonaws.com"),
    ("lambda", "UpdateFunctionConfiguration"): ("Role", "lambda.amazonaws.com"),
    ("eks", "CreateCluster"): ("roleArn", "eks.amazonaws.com"),
    ("eks", "CreateNodegroup"): ("nodeRole", "eks.amazonaws.com"),
    ("eks", "CreateAddon"): ("serviceAccountRoleArn", "eks.amazonaws.com"),
    # To which service, EKS's guide does not say.
    ("eks", "CreateFargateProfile"): ("podExecutionRoleArn", ""),
    ("eks", "CreatePodIdentityAssociation"): ("roleArn", ""),
    ("states", "CreateStateMachine"): ("roleArn", "states.amazonaws.com"),
    ("states", "UpdateStateMachine"): ("roleArn", "states.amazonaws.com"),
    ("ec2", "CreateFlowLogs"): ("DeliverLogsPermissionArn", "vpc-flow-logs.amazonaws.com"),
    **{
        ("cloudformation", action): ("RoleARN", "cloudformation.amazonaws.com")
        for action in ("CreateChangeSet", "CreateStack", "UpdateStack", "DeleteStack")
    },
}
# What Lambda asks of a function's role before it puts the function into a VPC: Lambda developer guide, "Required IAM
# permissions" of configuration-vpc.
_VPC_ACTIONS: Final = ("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface")


def _resource(world: World, call: Call) -> str:
    for parameter, pattern in _NAMES.get(call.service, ()):
        if name := str(call.parameters.get(parameter, "")):
            if name.startswith("arn:"):
                return name
            if parameter == "QueueUrl":
                name = name.rpartition("/")[2]
            arn = world.arn(call.service, pattern.format(name.lstrip("/") if call.service == "ssm" else name))
            # AWS's own parameters are in no account.
            return arn.replace(f":{world.account}:", "::") if name.startswith("/aws/service/") else arn
    return UNKNOWN


def _named(world: World, call: Call) -> Iterator[Asked]:
    said = f"{_PREFIXES.get(call.service, call.service)}:{call.action}"
    yield Asked(_ACTIONS.get(said, said), _resource(world, call), *request_tags(call))
    parameter, service = _PASSED.get((call.service, call.action), ("", ""))
    if parameter and (role := call.parameters.get(parameter)):
        yield passed(role, service)


def _function(world: World, call: Call) -> Iterator[Asked]:
    yield from _named(world, call)
    if (call.parameters.get("VpcConfig") or {}).get("SubnetIds"):
        name = call.parameters["FunctionName"]
        there = world.backend("lambda")
        role = call.parameters.get("Role") or there.get_function(name).role
        for action in _VPC_ACTIONS:
            yield Asked(action, "*", role=role)


# What is made inside a cluster is asked for on the cluster.
_ON_CLUSTER: Final = (
    "CreateNodegroup",
    "CreateAddon",
    "CreateAccessEntry",
    "CreateFargateProfile",
    "CreatePodIdentityAssociation",
    "ListAccessEntries",
    "ListAddons",
    "ListNodegroups",
    "ListFargateProfiles",
    "ListPodIdentityAssociations",
    "ListUpdates",
)


# The rest of what is in a cluster, by the parameter that names it; EKS chooses the last part of most ARNs.
_IN_CLUSTER: Final = (
    ("addonName", "addon/{}/{}/0"),
    ("nodegroupName", "nodegroup/{}/{}/0"),
    ("fargateProfileName", "fargateprofile/{}/{}/0"),
    ("associationId", "podidentityassociation/{}/{}"),
)


def _eks(world: World, call: Call) -> Iterator[Asked]:
    asked = call.parameters
    cluster = asked.get("name") if "clusterName" not in asked else asked["clusterName"]
    arn = world.arn("eks", f"cluster/{cluster}")
    if principal := asked.get("principalArn"):
        yield from _entry(world, call, arn, principal)
    else:
        keys, complete = request_tags(call)
        named = [(asked[parameter], part) for parameter, part in _IN_CLUSTER if asked.get(parameter)]
        about = next((world.arn("eks", part.format(cluster, name)) for name, part in named), UNKNOWN)
        if "clusterName" not in asked:
            about = arn if cluster else "*"
        yield Asked(f"eks:{call.action}", arn if call.action in _ON_CLUSTER else about, keys, complete)
        if keys and call.action.startswith("Create"):
            yield Asked("eks:TagResource", about, keys, complete)
    parameter, service = _PASSED.get(("eks", call.action), ("", ""))
    if parameter and (role := asked.get(parameter)):
        yield passed(role, service)


def _entry(world: World, call: Call, cluster: str, principal: str) -> Iterator[Asked]:
    """Calls about an access entry, whose ARN says whose it is; one is made on the cluster."""
    keys, complete = request_tags(call)
    _, _, name = principal.rpartition(":")
    path = f"{name.split('/')[0]}/{world.account}/{name.split('/')[-1]}/*"
    entry = cluster.replace(":cluster/", ":access-entry/") + f"/{path}"
    about = {"eks:principalarn": (principal,)}
    for parameter, key in (("policyArn", "eks:policyarn"), ("type", "eks:accessentrytype")):
        if parameter in call.parameters:
            about[key] = (call.parameters[parameter],)
    said = (*complete, "eks:")
    yield Asked(f"eks:{call.action}", cluster if call.action == "CreateAccessEntry" else entry, {**keys, **about}, said)
    if keys and call.action == "CreateAccessEntry":
        yield Asked("eks:TagResource", entry, keys, complete)


def _token(_: World, call: Call) -> Iterator[Asked]:
    yield Asked(f"{call.service}:{call.action}", "*")
    if call.service == "ecr-public":
        yield Asked("sts:GetServiceBearerToken", "*", {"sts:awsservicename": ("ecr-public.amazonaws.com",)}, ("sts:",))


_OF_SERVICE: Final[Mapping[str, Rule]] = {"eks": _eks, "iam": _iam, "kms": _kms, "s3": _s3, "pricing": unscoped}
_RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("ecr", "GetAuthorizationToken"): _token,
    ("ecr-public", "GetAuthorizationToken"): _token,
    ("lambda", "CreateFunction"): _function,
    ("lambda", "UpdateFunctionConfiguration"): _function,
    ("sts", "AssumeRole"): _assume,
    ("sts", "GetCallerIdentity"): _nothing,
    ("sts", "GetSessionToken"): _nothing,
    ("ssm", "DescribeParameters"): unscoped,
    ("logs", "DescribeLogGroups"): unscoped,
    ("cloudformation", "ValidateTemplate"): unscoped,
    ("cloudformation", "ListStacks"): unscoped,
    ("cloudformation", "ListExports"): unscoped,
    ("arc-zonal-shift", "GetManagedResource"): lambda _, call: [
        Asked("arc-zonal-shift:GetManagedResource", call.parameters.get("resourceIdentifier", UNKNOWN))
    ],
}


def rule_of(call: Call) -> Rule:
    """What says it of a call that is none of EC2's."""
    return _RULES.get((call.service, call.action)) or _OF_SERVICE.get(call.service, _named)
