"""How each kind of thing is found: what AWS lists, with its tags, before anybody asks whose it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from typing import Any, Final

from karpenter_gpu.leftovers.account import Account, dated, is_gone
from karpenter_gpu.leftovers.owner import Tags

# What elbv2's DescribeTags takes at once.
_TAGS_AT_ONCE: Final = 20
# On the rules of Terraform's module, and of anybody: terraform-aws-eks modules/karpenter/main.tf.
_OF_MODULE: Final = "ClusterName"
# EKS's issuers, of both networks: https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html
_ISSUER: Final = re.compile(r":oidc-provider/oidc[.-]eks\.([a-z0-9-]+)\.")
# Made by AWS, for AWS.
_SERVICE_PATHS: Final = ("/aws-service-role/", "/aws-reserved/")


@dataclass(frozen=True)
class Resource:
    """One thing in the account.

    Args:
        id: By which AWS knows it, and by which it is deleted.

        tags: All it has.

        about: What AWS says of it.

        name: By which people know it, where that is not the id.

        born: When it was created, where AWS tells.

        regions: The regions it names, of what belongs to no region.

        belongs: Why it is the cluster's without a tag or a name.
    """

    id: str
    tags: Tags = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    born: datetime | None = None
    regions: tuple[str, ...] = ()
    belongs: str = ""


Finder = Callable[[Account], Iterator[Resource]]


def by_tag_filter(
    operation: str,
    items: str,
    id: str,
    *,
    born: str = "",
    gone: tuple[str, tuple[str, ...]] = ("", ()),
    argument: str = "Filters",
    **more: Any,
) -> Finder:
    """What EC2 lists by tag.

    Args:
        operation, items, id: What lists it, where it stands in the answer, and what names one.

        born: When it was created.

        gone: Its key of the state, and the states in which it is as good as gone.

        argument: What the operation calls its filters.

        more: What else it is asked with.
    """

    def find(account: Account) -> Iterator[Resource]:
        asked = {argument: [{"Name": "tag-key", "Values": list(account.owner.tag_keys)}]}
        for one in account.pages("ec2", operation, items, **asked, **more):
            if not gone[0] or one.get(gone[0]) not in gone[1]:
                # Network interfaces alone call theirs a TagSet.
                yield Resource(one[id], dated(one.get("Tags") or one.get("TagSet")), one, born=one.get(born))

    return find


def having(tag: str, find: Finder, *, it_has: bool = True) -> Finder:
    """Of what is found, those that have a tag, or those that have it not."""

    def found(account: Account) -> Iterator[Resource]:
        return (one for one in find(account) if (tag in one.tags) is it_has)

    return found


def instances(account: Account) -> Iterator[Resource]:
    asked = {"Filters": [{"Name": "tag-key", "Values": list(account.owner.tag_keys)}]}
    for reservation in account.pages("ec2", "describe_instances", "Reservations", **asked):
        for one in reservation["Instances"]:
            if one["State"]["Name"] != "terminated":
                yield Resource(one["InstanceId"], dated(one.get("Tags")), one, born=one.get("LaunchTime"))


def cluster(account: Account) -> Iterator[Resource]:
    if found := account.cluster:
        yield Resource(
            found["name"], about=found, born=found.get("createdAt"), belongs=f"EKS has it: {found['status']}"
        )


def of_cluster(operation: str, items: str, id: str = "", name: str = "") -> Finder:
    """What EKS keeps of the cluster as long as it exists.

    Args:
        operation, items: What lists it, and where it stands in the answer.

        id, name: What names one; the item itself when empty.
    """

    def find(account: Account) -> Iterator[Resource]:
        found = account.cluster
        # A cluster that aws-auth alone decides on has no entries: https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html
        by_map_alone = found and found.get("accessConfig", {}).get("authenticationMode") == "CONFIG_MAP"
        if found is None or (by_map_alone and operation == "list_access_entries"):
            return
        for one in account.pages("eks", operation, items, clusterName=found["name"]):
            yield Resource(one[id] if id else one, name=one[name] if name else "", belongs="part of the cluster")

    return find


def security_groups(account: Account) -> Iterator[Resource]:
    """By tag, and the one of Terraform's module for the control plane, which has none."""
    named = {"Name": "group-name", "Values": [f"{account.owner.cluster}-cluster-*"]}
    found: dict[str, Mapping[str, Any]] = {}
    for filters in ({"Name": "tag-key", "Values": list(account.owner.tag_keys)}, named):
        listed = account.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=[filters])
        found |= {one["GroupId"]: one for one in listed}
    for id, one in found.items():
        yield Resource(id, dated(one.get("Tags")), one, name=one["GroupName"])


def groups_of_autoscaling(account: Account) -> Iterator[Resource]:
    filters = [{"Name": "tag-key", "Values": list(account.owner.tag_keys)}]
    for one in account.pages("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", Filters=filters):
        yield Resource(one["AutoScalingGroupName"], dated(one["Tags"]), one, born=one.get("CreatedTime"))


def load_balancers(account: Account) -> Iterator[Resource]:
    found = {one["LoadBalancerArn"]: one for one in account.pages("elbv2", "describe_load_balancers", "LoadBalancers")}
    yield from _with_tags(account, "elbv2", found, "ResourceArns", "ResourceArn")


def target_groups(account: Account) -> Iterator[Resource]:
    found = {one["TargetGroupArn"]: one for one in account.pages("elbv2", "describe_target_groups", "TargetGroups")}
    yield from _with_tags(account, "elbv2", found, "ResourceArns", "ResourceArn")


def classic_load_balancers(account: Account) -> Iterator[Resource]:
    listed = account.pages("elb", "describe_load_balancers", "LoadBalancerDescriptions")
    found = {one["LoadBalancerName"]: one for one in listed}
    yield from _with_tags(account, "elb", found, "LoadBalancerNames", "LoadBalancerName")


def _with_tags(
    account: Account, service: str, found: Mapping[str, Mapping[str, Any]], asked: str, answered: str
) -> Iterator[Resource]:
    ids = iter(found)
    batches = iter(lambda: list(islice(ids, _TAGS_AT_ONCE)), [])
    client = account.client(service)
    for answer in account.each(lambda batch: client.describe_tags(**{asked: batch}), batches):
        for one in answer["TagDescriptions"]:
            about = found[one[answered]]
            yield Resource(one[answered], dated(one["Tags"]), about, born=about.get("CreatedTime"))


def queues(account: Account) -> Iterator[Resource]:
    """By tag, and the two names that upstream's template and Terraform's module give one."""
    sqs, cluster = account.client("sqs"), account.owner.cluster
    tags = {arn.rpartition(":")[2]: tags for arn, tags in account.tagged("sqs")}
    for name in dict.fromkeys((*tags, cluster, f"Karpenter-{cluster}")):
        try:
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            about = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["CreatedTimestamp"])["Attributes"]
            own = tags.get(name) or sqs.list_queue_tags(QueueUrl=url).get("Tags", {})
        except sqs.exceptions.ClientError as error:
            if is_gone(error):
                continue
            raise
        born = datetime.fromtimestamp(float(about["CreatedTimestamp"]), timezone.utc)
        yield Resource(url, own, about, name=name, born=born)


def event_rules(account: Account) -> Iterator[Resource]:
    """By tag; Terraform's module has one of its own."""
    rules, events = account.pages("events", "list_rules", "Rules"), account.client("events")

    def tags(rule: Mapping[str, Any]) -> tuple[Mapping[str, Any], Tags]:
        return rule, dated(events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"])

    # What a service of AWS's manages goes with what it manages.
    for rule, found in account.each(tags, (one for one in rules if not one.get("ManagedBy"))):
        of_module = f"tag {_OF_MODULE}={account.owner.cluster}"
        yield Resource(
            rule["Name"], found, rule, belongs=of_module if found.get(_OF_MODULE) == account.owner.cluster else ""
        )


def log_groups(account: Account) -> Iterator[Resource]:
    """By tag, and those that EKS and Container Insights make, which have none."""
    cluster = account.owner.cluster
    tags = {arn.split(":log-group:")[1].removesuffix(":*"): tags for arn, tags in account.tagged("logs")}
    prefixes = (*tags, f"/aws/eks/{cluster}/", f"/aws/containerinsights/{cluster}/")
    found = {
        one["logGroupName"]: one
        for prefix in prefixes
        for one in account.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=prefix)
        if one["logGroupName"] == prefix or prefix not in tags
    }
    for name, one in found.items():
        born = datetime.fromtimestamp(one["creationTime"] / 1000, timezone.utc)
        yield Resource(name, tags.get(name, {}), one, born=born)


def keys(account: Account) -> Iterator[Resource]:
    kms = account.client("kms")
    for arn, tags in account.tagged("kms"):
        about = kms.describe_key(KeyId=arn)["KeyMetadata"]
        if about["KeyState"] not in ("PendingDeletion", "PendingReplicaDeletion"):
            yield Resource(about["KeyId"], tags, about, born=about.get("CreationDate"))


def key_aliases(account: Account) -> Iterator[Resource]:
    for one in account.pages("kms", "list_aliases", "Aliases"):
        yield Resource(one["AliasName"], about=one, born=one.get("CreationDate"))


def by_iam(listing: str, items: str, id: str, tags: str, argument: str, **asked: Any) -> Finder:
    """What IAM lists without its tags.

    Args:
        listing, items, id: What lists it, where it stands in the answer, and what names one.

        tags, argument: What tells the tags of one, and what it calls the id.

        asked: What the list is asked with.
    """

    def find(account: Account) -> Iterator[Resource]:
        iam = account.client("iam")

        def with_tags(one: Mapping[str, Any]) -> Resource | None:
            try:
                found = dated(getattr(iam, tags)(**{argument: one[id]})["Tags"])
            except iam.exceptions.NoSuchEntityException:
                return None  # Deleted since the list was made.
            return Resource(
                one[id],
                found,
                one,
                name=one[id].rpartition("/")[2],
                born=one.get("CreateDate"),
                regions=_region_of_path(one["Path"]),
            )

        listed = account.pages("iam", listing, items, **asked)
        own = (one for one in listed if not one["Path"].startswith(_SERVICE_PATHS))
        yield from filter(None, account.each(with_tags, own))

    return find


def _region_of_path(path: str) -> tuple[str, ...]:
    """Karpenter's own instance profiles, from 1.7 on: `/karpenter/<region>/<cluster>/<node class>/`."""
    parts = path.split("/")
    return (parts[2],) if parts[1] == "karpenter" and len(parts) > 3 else ()


def oidc_providers(account: Account) -> Iterator[Resource]:
    iam = account.client("iam")

    def show(arn: str) -> tuple[str, Mapping[str, Any]]:
        return arn, iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)

    listed = account.pages("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList")
    regions = {arn: by[1] for one in listed if (by := _ISSUER.search(arn := one["Arn"]))}
    issuer = (account.cluster or {}).get("identity", {}).get("oidc", {}).get("issuer", "").removeprefix("https://")
    for arn, about in account.each(show, regions):
        tags = dated(about.get("Tags"))
        yield Resource(
            arn,
            tags,
            about,
            name=tags.get("Name", ""),
            born=about.get("CreateDate"),
            regions=(regions[arn],),
            belongs="the cluster's issuer" if issuer and about["Url"].endswith(issuer) else "",
        )


def stacks(account: Account) -> Iterator[Resource]:
    """By tag, and those that could not be deleted and hold what bears the cluster's name."""
    cluster = account.owner.cluster
    known = {cluster, f"drain-{cluster}", f"KarpenterNodeRole-{cluster}", f"KarpenterControllerRole-{cluster}"}
    for one in account.pages("cloudformation", "describe_stacks", "Stacks"):
        holds = ""
        if one["StackStatus"] == "DELETE_FAILED":
            asked = {"StackName": one["StackId"]}
            listed = account.pages("cloudformation", "list_stack_resources", "StackResourceSummaries", **asked)
            held = sorted({what for each in listed if (what := each.get("PhysicalResourceId", "")) in known})
            holds = f"DELETE_FAILED, holds {held[0]}" if held else ""
        yield Resource(one["StackName"], dated(one.get("Tags")), one, born=one.get("CreationTime"), belongs=holds)
