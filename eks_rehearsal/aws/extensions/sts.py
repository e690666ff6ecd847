"""STS and the roles behind access keys.

moto assumes any role for anybody, whether or not it exists. Here a role must exist and its trust policy must allow
the caller; a web identity's token must be signed, current, and of an OIDC provider of the account.
What the caller's own policies say of sts:AssumeRole is decided with every other call, where calls are authorized.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from eks_rehearsal.aws.encoded import decoded
from eks_rehearsal.aws.extensions.tokens import BadToken, Claims, Expired, audiences, verified
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations, World
from eks_rehearsal.iam.evaluator import Caller, refusal

_SESSION_NAME: Final = re.compile(r"[\w+=,.@-]{2,64}")


@dataclass(frozen=True)
class Session:
    """A role as somebody assumed it: moto's object, the session's own tags, and its policies (JSON, or ARNs)."""

    role: str
    assumed: Any
    tags: Mapping[str, str] = field(default_factory=dict)
    policies: tuple[str, ...] = ()

    @property
    def credentials(self) -> dict[str, Any]:
        """As STS's answers have them."""
        return {
            "AccessKeyId": self.assumed.access_key_id,
            "SecretAccessKey": self.assumed.secret_access_key,
            "SessionToken": self.assumed.session_token,
            "Expiration": self.assumed.expiration,
        }

    @property
    def user(self) -> dict[str, str]:
        """As STS's answers have it."""
        return {"AssumedRoleId": self.assumed.user_id, "Arn": self.assumed.arn}


class Roles:
    """Which role an access key stands for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sessions: dict[str, Session] = {}

    def role_of(self, access_key: str) -> str | None:
        """The ARN of the role whose session it is; None for any other key."""
        session = self._sessions.get(access_key)
        return session.role if session else None

    def session_of(self, access_key: str) -> Session | None:
        """The session itself."""
        return self._sessions.get(access_key)

    def principal_of(self, access_key: str) -> str:
        """The role's ARN, else the user's, else the account's root; nobody for an unsigned request."""
        if not access_key:
            return "anonymous"
        if role := self.role_of(access_key):
            return role
        user = self._world.backend("iam").get_user_from_access_key_id(access_key)
        return user.arn if user else self._world.root

    def find(self, arn: str) -> Any:
        """Moto's role of that ARN; None when there is none."""
        return next((role for role in self._world.backend("iam").get_roles() if role.arn == arn), None)

    def assume(
        self,
        role: str,
        session: str,
        seconds: int = 3600,
        *,
        tags: Mapping[str, str] | None = None,
        policies: Iterable[str] = (),
    ) -> Session:
        """A session of the role, without asking its trust."""
        assumed = self._world.backend("sts").assume_role(
            region_name=self._world.region,
            role_session_name=session,
            role_arn=role,
            policy="",
            duration=seconds,
            external_id="",
        )
        made = Session(role, assumed, dict(tags or {}), tuple(policies))
        self._sessions[assumed.access_key_id] = made
        return made

    def credentials_for(self, role: str, session: str) -> dict[str, str]:
        """The environment variables of a session, with the region."""
        if self.find(role) is None:
            raise AwsError("NoSuchEntity", f"there is no role {role}")
        made = self.assume(role, session, 12 * 3600).credentials
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
            "AWS_SESSION_TOKEN": made["SessionToken"],
            "AWS_REGION": self._world.region,
            "AWS_DEFAULT_REGION": self._world.region,
        }

    def as_caller(self, call: Call) -> Caller:
        """Whoever signed a call, by every name a trust policy may use."""
        account = self._world.account
        session, arn = self.session_of(call.access_key), call.principal
        keys = {"aws:principalarn": (arn,), "aws:principalaccount": (account,)}
        return Caller({"AWS": frozenset({arn})}, keys, session.assumed.arn if session else "", account)


class Sts:
    """The operations that moto answers without looking."""

    def __init__(self, world: World, roles: Roles) -> None:
        self._world, self._roles = world, roles

    @property
    def operations(self) -> Operations:
        return {
            ("sts", "AssumeRole"): self.assume_role,
            ("sts", "AssumeRoleWithWebIdentity"): self.assume_role_with_web_identity,
            ("sts", "GetCallerIdentity"): self.get_caller_identity,
            ("sts", "DecodeAuthorizationMessage"): self.decode_authorization_message,
        }

    @staticmethod
    def decode_authorization_message(call: Call) -> dict[str, Any]:
        try:
            return {"DecodedMessage": decoded(call.parameters["EncodedMessage"])}
        except ValueError as error:
            raise AwsError("InvalidAuthorizationMessageException", str(error)) from error

    def get_caller_identity(self, call: Call) -> dict[str, Any]:
        account = self._world.account
        if not call.access_key:
            raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)
        if session := self._roles.session_of(call.access_key):
            return {"UserId": session.assumed.user_id, "Account": account, "Arn": session.assumed.arn}
        user = self._world.backend("iam").get_user_from_access_key_id(call.access_key)
        return {"UserId": user.id if user else account, "Account": account, "Arn": call.principal}

    def assume_role(self, call: Call) -> dict[str, Any]:
        arn, name = call.parameters["RoleArn"], call.parameters["RoleSessionName"]
        caller = self._roles.as_caller(call)
        context: dict[str, tuple[str, ...]] = dict(caller.context)
        if external := call.parameters.get("ExternalId"):
            context["sts:externalid"] = (external,)
        role = self._roles.find(arn)
        session = self._roles.session_of(call.access_key)
        said = f"User: {session.assumed.arn if session else call.principal} is not authorized to perform"
        denied = AwsError("AccessDenied", f"{said}: sts:AssumeRole on resource: {arn}", status=403)
        if role is None:
            raise denied
        asking = replace(caller, context=context)
        wanted = ["sts:AssumeRole", *(["sts:TagSession"] if call.parameters.get("Tags") else [])]
        for action in wanted:
            if why := refusal(role.assume_role_policy_document, action, asking):
                raise AwsError("AccessDenied", f"{denied.message}: {why}", status=403)
        tags = {tag["Key"]: tag["Value"] for tag in call.parameters.get("Tags") or ()}
        seconds = call.parameters.get("DurationSeconds", 3600)
        made = self._roles.assume(arn, _checked_name(name), seconds, tags=tags, policies=_policies(call))
        return {"Credentials": made.credentials, "AssumedRoleUser": made.user, "PackedPolicySize": 0}

    def assume_role_with_web_identity(self, call: Call) -> dict[str, Any]:
        asked = call.parameters
        claims = self._verified_claims(asked["WebIdentityToken"])
        provider = self._provider(claims)
        issuer = str(claims["iss"]).removeprefix("https://")
        context = {
            f"{issuer}:sub".lower(): (str(claims.get("sub", "")),),
            f"{issuer}:aud".lower(): audiences(claims),
        }
        role = self._roles.find(asked["RoleArn"])
        action = "sts:AssumeRoleWithWebIdentity"
        caller = Caller({"Federated": frozenset({provider.arn})}, context)
        why = f"there is no role {asked['RoleArn']}" if role is None else refusal(_trust(role), action, caller)
        if why:
            raise AwsError("AccessDenied", f"Not authorized to perform {action}: {why}", status=403)
        made = self._roles.assume(asked["RoleArn"], _checked_name(asked["RoleSessionName"]), policies=_policies(call))
        return {
            "Credentials": made.credentials,
            "SubjectFromWebIdentityToken": claims.get("sub"),
            "AssumedRoleUser": made.user,
            "PackedPolicySize": 0,
            "Provider": provider.arn,
            "Audience": next(iter(audiences(claims)), ""),
        }

    def _verified_claims(self, token: str) -> Claims:
        try:
            return verified(token, self._world.hooks.jwks)
        except Expired as error:
            raise AwsError("ExpiredTokenException", str(error), status=400) from error
        except BadToken as error:
            raise AwsError("InvalidIdentityToken", str(error), status=400) from error

    def _provider(self, claims: Claims) -> Any:
        issuer = str(claims.get("iss", "")).removeprefix("https://").rstrip("/")
        providers = self._world.backend("iam").open_id_providers.values()
        found = next((provider for provider in providers if provider.url.rstrip("/") == issuer), None)
        if found is None:
            message = f"No OpenIDConnect provider found in your account for https://{issuer}"
            raise AwsError("InvalidIdentityToken", message, status=400)
        if not set(audiences(claims)) & set(found.client_id_list):
            raise AwsError("InvalidIdentityToken", "Incorrect token audience", status=400)
        return found


def _policies(call: Call) -> Iterator[str]:
    """The session's policies: a document, or the ARNs of managed ones."""
    if policy := call.parameters.get("Policy"):
        yield policy
    yield from (one["arn"] for one in call.parameters.get("PolicyArns") or ())


def _trust(role: Any) -> Any:
    return role.assume_role_policy_document


def _checked_name(name: str) -> str:
    if not _SESSION_NAME.fullmatch(name):
        message = f"1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint"
        raise AwsError("ValidationError", message)
    return name
