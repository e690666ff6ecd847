"""An AWS account in one region, with a person's own credentials."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, SSOError, TokenRetrievalError

from karpenter_gpu.errors import CannotLook
from karpenter_gpu.leftovers.owner import NAMING_TAGS, Owner, Tags, is_cluster_name

# Look-ups at once; EC2's describes and IAM's reads begin to throttle above some dozens a second.
AT_ONCE: Final = 8
# Services whose lists have no tags, which this API has for all of them: ListTagsForLogGroup takes 5 calls a second.
TAGGED_SERVICES: Final = ("sqs", "logs", "kms")

_DENIED: Final = ("AccessDenied", "UnauthorizedOperation", "AuthorizationError", "Forbidden")
# EC2's and everybody else's word, and that of a request that was signed long before it arrived.
_EXPIRED: Final = ("ExpiredToken", "RequestExpired")
_UNKNOWN_TOKEN: Final = ("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch")
_CONFIG: Final = Config(
    retries={"mode": "standard", "max_attempts": 8},
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=2 * AT_ONCE,
)
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def code_of(error: Exception) -> str:
    """AWS's code of an error, or the name of what boto3 raised itself."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else type(error).__name__


def is_gone(error: Exception) -> bool:
    """Whether AWS does not know what was asked for, which is so when it was deleted."""
    return any(word in code_of(error) for word in ("NotFound", "NoSuch", "NonExistent"))


def sentence(error: Exception) -> str:
    """Any error as a person can use it."""
    if isinstance(error, BotoCoreError):
        return " ".join(str(error).split())
    if not isinstance(error, ClientError):
        return f"it failed with {type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    if code_of(error).startswith(_DENIED):
        return f"these credentials may not call {error.operation_name}"
    if code_of(error).startswith(_EXPIRED):
        return "the credentials have expired; get new ones, with aws sso login or as you got these"
    return f"{error.operation_name} fails with {code_of(error)}: {error.response['Error'].get('Message', '')}".rstrip(
        ": "
    )


def dated(tags: Iterable[dict[str, str]] | None, key: str = "Key", value: str = "Value") -> Tags:
    """A list of tags as a dictionary."""
    return {one[key]: one.get(value, "") for one in tags or ()}


class Account:
    """The account that the credentials belong to, and what it has of one cluster.

    Args:
        session: Credentials and region.

        owner: The cluster.

        id: The account's number.
    """

    def __init__(self, session: boto3.Session, owner: Owner, id: str) -> None:
        self.owner = owner
        self.id = id
        self._session = session
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.Lock()
        self._tagged_lock = threading.Lock()
        self._details = ThreadPoolExecutor(AT_ONCE)

    @property
    def partition(self) -> str:
        """`aws`, or `aws-cn` and the like, after the region."""
        return str(self._session.get_partition_for_region(self.owner.region))

    def client(self, service: str) -> Any:
        """A client of a service; boto3 makes them in one thread alone."""
        with self._clients_lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(service, config=_CONFIG)
            return self._clients[service]

    def pages(self, service: str, operation: str, items: str, **asked: Any) -> Iterator[Any]:
        """The items of every page of a list."""
        client = self.client(service)
        if client.can_paginate(operation):
            answers = client.get_paginator(operation).paginate(**asked)
        else:
            answers = [getattr(client, operation)(**asked)]
        for answer in answers:
            yield from answer.get(items, [])

    def each(self, look: Callable[[_Item], _Answer], items: Iterable[_Item]) -> Iterator[_Answer]:
        """The same look at many things, some at once."""
        return self._details.map(look, items)

    def forget(self) -> None:
        """Ask again for what was asked once for a whole look."""
        for name in ("cluster", "clusters", "_tagged"):
            self.__dict__.pop(name, None)

    @cached_property
    def cluster(self) -> dict[str, Any] | None:
        """What EKS says of the cluster; None when it does not know it."""
        try:
            found: dict[str, Any] = self.client("eks").describe_cluster(name=self.owner.cluster)["cluster"]
        except ClientError as error:
            if is_gone(error):
                return None
            raise
        return found

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """The clusters of the region."""
        return tuple(self.pages("eks", "list_clusters", "clusters"))

    def tagged(self, service: str) -> Iterator[tuple[str, Tags]]:
        """ARN and tags of what carries the cluster's tags; the API shows what was deleted a little longer."""
        with self._tagged_lock:
            found = self._tagged
        return ((arn, tags) for arn, tags in found.items() if arn.split(":")[2] == service)

    @cached_property
    def _tagged(self) -> dict[str, Tags]:
        def look(key: str) -> list[Any]:
            filters = {"Key": key, "Values": [self.owner.cluster]} if key in NAMING_TAGS else {"Key": key}
            asked = {"TagFilters": [filters], "ResourceTypeFilters": list(TAGGED_SERVICES)}
            return list(self.pages("resourcegroupstaggingapi", "get_resources", "ResourceTagMappingList", **asked))

        return {
            one["ResourceARN"]: dated(one["Tags"]) for found in self.each(look, self.owner.tag_keys) for one in found
        }

    def stack_state(self, id: str) -> str:
        """CloudFormation's state of a stack; empty when it does not know it."""
        try:
            (stack,) = self.client("cloudformation").describe_stacks(StackName=id)["Stacks"]
        except ClientError as error:
            if "does not exist" in error.response["Error"].get("Message", ""):
                return ""
            raise
        return str(stack["StackStatus"])


def account(cluster: str, region: str) -> Account:
    """The account of the credentials at hand, once it has been seen that they are taken in the region.

    Args:
        cluster: Its name.

        region: Where; the region of the credentials' profile or environment when empty.
    """
    if not is_cluster_name(cluster):
        raise CannotLook(
            f"{cluster!r} is not the name of an EKS cluster, which has at most 100 letters, digits, '-' and '_' and begins "
            "with a letter or digit; give the name alone, not an ARN"
        )
    try:
        # boto3 does not read AWS_REGION, which AWS's command line and other SDKs do.
        session = boto3.Session(region_name=region or os.environ.get("AWS_REGION") or None)
        _check_region(session)
        return Account(session, Owner(cluster, str(session.region_name)), _account_id(session))
    except (SSOError, TokenRetrievalError) as error:
        raise CannotLook(
            f"the SSO session cannot be used; run aws sso login, with your profile: {sentence(error)}"
        ) from None
    except NoCredentialsError:
        raise CannotLook(
            "there are no AWS credentials; run aws sso login or aws configure, or set AWS_PROFILE to a profile that has them"
        ) from None
    except CannotLook:
        raise
    except Exception as error:  # noqa: BLE001 - boto3 raises ValueError and OSError, too: at an endpoint, a bundle of CAs
        raise CannotLook(f"AWS cannot be asked who you are: {sentence(error)}") from None


def _check_region(session: boto3.Session) -> None:
    region = session.region_name
    if not region:
        raise CannotLook("there is no region; give --region, or set AWS_REGION or the profile's region")
    known = [one for part in session.get_available_partitions() for one in session.get_available_regions("ec2", part)]
    if region not in known:
        close = difflib.get_close_matches(region, known, 1)
        way_out = f"; did you mean {close[0]}?" if close else "; a region newer than your boto3 needs a newer one"
        raise CannotLook(f"boto3 knows no region {region}{way_out}")


def _account_id(session: boto3.Session) -> str:
    try:
        return _identity(session, str(session.region_name))
    except ClientError as error:
        if code_of(error) not in _UNKNOWN_TOKEN:
            raise
        if _is_known(session, _home(session)):
            raise CannotLook(
                f"region {session.region_name} is not enabled for this account, so it has no clusters there; name another "
                "with --region, or enable it under Account in the console"
            ) from None
        raise


def _home(session: boto3.Session) -> str:
    """A region that every account of the partition has."""
    partition = session.get_partition_for_region(session.region_name)
    known = botocore.session.get_session().get_data("partitions")["partitions"]
    return next(str(one["outputs"]["implicitGlobalRegion"]) for one in known if one["id"] == partition)


def _identity(session: boto3.Session, region: str) -> str:
    # Fewer attempts than for a look: somebody waits for the first word.
    sts = session.client("sts", region_name=region, config=_CONFIG.merge(Config(retries={"max_attempts": 3})))
    return str(sts.get_caller_identity()["Account"])


def _is_known(session: boto3.Session, region: str) -> bool:
    """Whether the credentials are taken in a region that every account has."""
    try:
        return bool(_identity(session, region))
    except (BotoCoreError, ClientError):
        return False
