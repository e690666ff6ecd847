"""What a call asks IAM for: actions, resources and condition keys, by the service authorization reference.

What Karpenter's controller calls is written down; `None` is the answer for any other call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eks_rehearsal.aws.wire import AwsError, Call, tags_of
from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.matching import Context


@dataclass(frozen=True)
class Asked:
    """One action on one resource, and the condition keys that the request adds."""

    action: str
    resource: str = "*"
    context: Context = field(default_factory=dict)


_Rule = Callable[[World, Call], Iterable[Asked]]


def _tags(kind: str, tags: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    keys = {f"aws:{kind}tag/{key}".lower(): (value,) for key, value in tags.items()}
    return {**keys, **({"aws:tagkeys": tuple(tags)} if kind == "request" and tags else {})}


def _listed(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def _of_ec2(world: World, kind: str, name: str) -> tuple[str, Context]:
    """The ARN and keys of something that stands."""
    account = "" if kind in {"image", "snapshot"} else world.account
    arn = f"arn:{world.partition}:ec2:{world.region}:{account}:{kind}/{name}"
    tags = {tag["key"]: tag["value"] for tag in world.backend("ec2").describe_tags({"resource-id": [name]})}
    return arn, _tags("resource", tags)


def _made(world: World, call: Call, action: str, kinds: Iterable[str]) -> Iterator[Asked]:
    """What a call makes, and the tags it gives it: `ec2:CreateTags` is asked for by itself."""
    for kind in kinds:
        tags = tags_of(call.parameters.get("TagSpecifications", ()), kind)
        arn, keys = world.arn("ec2", f"{kind}/*"), _tags("request", tags)
        if tags:
            yield Asked("ec2:CreateTags", arn, {**keys, "ec2:createaction": (call.action,)})
        yield Asked(action, arn, keys)


def _launch_template(world: World, call: Call) -> Iterator[Asked]:
    yield from _made(world, call, "ec2:CreateLaunchTemplate", ("launch-template",))


def _template_id(world: World, asked: Mapping[str, Any]) -> str:
    if "LaunchTemplateId" in asked:
        return str(asked["LaunchTemplateId"])
    return str(world.backend("ec2").get_launch_template_by_name(asked["LaunchTemplateName"]).id)


def _reservation_id(world: World, asked: Mapping[str, Any]) -> str:
    """The reservation that a launch template names; empty where it names none."""
    template = world.backend("ec2").get_launch_template(_template_id(world, asked))
    said = template.get_version(asked.get("Version") or "$Default").data.get("CapacityReservationSpecification") or {}
    return str((said.get("CapacityReservationTarget") or {}).get("CapacityReservationId", ""))


def _launch(world: World, call: Call) -> Iterator[Asked]:
    """RunInstances and CreateFleet: what is made, and what it is made of. Network interfaces are not looked at."""
    asked, action = call.parameters, f"ec2:{call.action}"
    yield from _made(world, call, action, ("fleet",) * (call.action == "CreateFleet") + ("instance", "volume"))
    configs = asked.get("LaunchTemplateConfigs", ())
    templates = [one["LaunchTemplateSpecification"] for one in configs]
    templates += [asked["LaunchTemplate"]] if "LaunchTemplate" in asked else []
    overrides = [one for config in configs for one in config.get("Overrides", ())] or [asked]
    used = [("launch-template", _template_id(world, one)) for one in templates]
    used += [("subnet", one["SubnetId"]) for one in overrides if one.get("SubnetId")]
    used += [("image", one["ImageId"]) for one in overrides if one.get("ImageId")]
    used += [("capacity-reservation", id) for one in templates if (id := _reservation_id(world, one))]
    for kind, name in dict.fromkeys(used):
        yield Asked(action, *_of_ec2(world, kind, name))


def _delete_template(world: World, call: Call) -> Iterator[Asked]:
    yield Asked("ec2:DeleteLaunchTemplate", *_of_ec2(world, "launch-template", _template_id(world, call.parameters)))


def _instances(world: World, call: Call) -> Iterator[Asked]:
    for name in call.parameters.get("InstanceIds", ()):
        yield Asked(f"ec2:{call.action}", *_of_ec2(world, "instance", name))


def _create_tags(world: World, call: Call) -> Iterator[Asked]:
    kinds = {"i": "instance", "lt": "launch-template", "vol": "volume", "eni": "network-interface", "subnet": "subnet"}
    tags = _listed(call.parameters.get("Tags", ()))
    for name in call.parameters.get("Resources", ()):
        kind = kinds.get(name.partition("-")[0], "*")
        arn, keys = _of_ec2(world, kind, name)
        yield Asked("ec2:CreateTags", arn, {**keys, **_tags("request", tags)})


def _profile(world: World, call: Call) -> Iterator[Asked]:
    asked, iam = call.parameters, world.backend("iam")
    name = asked["InstanceProfileName"]
    found = next((one for one in iam.get_instance_profiles() if one.name == name), None)
    path = found.path if found else asked.get("Path") or "/"
    arn = f"arn:{world.partition}:iam::{world.account}:instance-profile{path}{name}"
    keys = {
        **_tags("resource", _listed(found.tags if found else ())),
        **_tags("request", _listed(asked.get("Tags", ()))),
    }
    yield Asked(f"iam:{call.action}", arn, keys)
    if call.action == "CreateInstanceProfile" and asked.get("Tags"):
        yield Asked("iam:TagInstanceProfile", arn, {**keys, **_tags("resource", _listed(asked["Tags"]))})
    if call.action == "AddRoleToInstanceProfile":
        role = next((one.arn for one in iam.get_roles() if one.name == asked["RoleName"]), "")
        yield Asked("iam:PassRole", role, {"iam:passedtoservice": ("ec2.amazonaws.com",)})


def _queue(world: World, call: Call) -> Iterator[Asked]:
    asked = call.parameters
    name = asked.get("QueueName") or str(asked.get("QueueUrl", "")).rpartition("/")[2]
    yield Asked(f"sqs:{call.action}", world.arn("sqs", name))


def _parameter(world: World, call: Call) -> Iterator[Asked]:
    name = call.parameters["Name"]
    arn = world.arn("ssm", f"parameter/{name.lstrip('/')}")
    # AWS's own parameters are in no account.
    yield Asked("ssm:GetParameter", arn.replace(f":{world.account}:", "::") if name.startswith("/aws/") else arn)


def _cluster(world: World, call: Call) -> Iterator[Asked]:
    yield Asked(f"eks:{call.action}", world.arn("eks", f"cluster/{call.parameters['name']}"))


def _unscoped(_: World, call: Call) -> Iterator[Asked]:
    yield Asked(f"{call.service}:{call.action}")


_RULES: Final[Mapping[tuple[str, str], _Rule]] = {
    ("ec2", "CreateLaunchTemplate"): _launch_template,
    ("ec2", "DeleteLaunchTemplate"): _delete_template,
    ("ec2", "TerminateInstances"): _instances,
    ("ec2", "RebootInstances"): _instances,
    ("ec2", "CreateTags"): _create_tags,
    ("ec2", "CreateFleet"): _launch,
    ("ec2", "RunInstances"): _launch,
    **{
        ("iam", f"{verb}InstanceProfile"): _profile
        for verb in ("Get", "Create", "Delete", "AddRoleTo", "RemoveRoleFrom")
    },
    ("iam", "ListInstanceProfiles"): _unscoped,
    **{("sqs", action): _queue for action in ("GetQueueUrl", "ReceiveMessage", "DeleteMessage", "SendMessage")},
    ("ssm", "GetParameter"): _parameter,
    ("eks", "DescribeCluster"): _cluster,
    ("pricing", "GetProducts"): _unscoped,
}


def asked_by(world: World, call: Call) -> list[Asked] | None:
    """Everything that must be allowed; None where nobody wrote it down."""
    rule = _RULES.get((call.service, call.action))
    if rule is None and call.service == "ec2" and call.action.startswith("Describe"):
        rule = _unscoped
    return list(rule(world, call)) if rule else None


def refusal_of(call: Call, who: str, asked: Asked, why: str) -> AwsError:
    """The service's own error."""
    said = f"User: {who} is not authorized to perform: {asked.action} on resource: {asked.resource} because {why}"
    if call.service == "ec2":
        return AwsError(
            "UnauthorizedOperation", f"You are not authorized to perform this operation. {said}", status=403
        )
    if call.service in {"iam", "sts", "sqs", "s3"}:
        return AwsError("AccessDenied", said, status=403)
    return AwsError("AccessDeniedException", said, status=403 if call.service == "eks" else 400)
