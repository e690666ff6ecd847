"""CloudFormation's API, as far as the CDK's command line and a person with `aws` ask for it."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, ClassVar
from urllib.parse import unquote, urlparse
from xml.sax.saxutils import escape

import yaml
from moto.core.parse import QueryParser
from moto.core.serialize import QuerySerializer
from moto.core.utils import get_service_model

from eks_rehearsal.aws.wire import AwsError
from eks_rehearsal.cloudformation import template as language
from eks_rehearsal.cloudformation.engine import Engine, Stack, new_id
from eks_rehearsal.errors import RehearsalError

UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
NOTHING_CHANGED = (
    "The submitted information didn't contain changes. Submit different information to create a change set."
)


class ValidationError(AwsError):
    """An answer of CloudFormation's own: the request is wrong."""

    def __init__(self, message: str, code: str = "ValidationError") -> None:
        super().__init__(code, message)


@dataclass
class ChangeSet:
    """A stack's next template, looked at before it is deployed."""

    name: str
    id: str
    type: str
    stack_id: str
    template: str
    parsed: Mapping[str, Any]
    given: Mapping[str, str]
    parameters: Mapping[str, Any]
    tags: Mapping[str, str]
    capabilities: tuple[str, ...]
    changes: list[dict[str, Any]]
    description: str = ""
    role: str = ""
    status: str = "CREATE_COMPLETE"
    reason: str = ""
    execution: str = "AVAILABLE"
    created: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


class _Yaml(yaml.SafeLoader):
    """YAML as CloudFormation reads it: a date is the text that was written."""

    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class CloudFormation:
    """The stacks of the account, behind the operations of the API.

    Args:
        engine: Deploys.

        where: Partition, region and account, by name.

        read: Reads a template from its `https://…` address.

        public: Reads a parameter of the Systems Manager.
    """

    def __init__(
        self, engine: Engine, *, where: Mapping[str, str], read: Callable[[str], str], public: Callable[[str], str]
    ) -> None:
        self.stacks: dict[str, Stack] = {}
        self.engine = engine
        self._where = where
        self._read = read
        self._public = public
        self._change_sets: dict[str, ChangeSet] = {}
        # Why a template could not even be begun with: the CDK's command line deletes the change set that says so.
        self.refused = ""
        self._model = get_service_model("cloudformation")

    def answer(self, form: Mapping[str, list[str]]) -> tuple[int, str]:
        """The HTTP status and the XML that answer a request's form."""
        name = form.get("Action", [""])[0]
        handler = getattr(self, f"_{name}", None)
        if name not in self._model.operation_names or handler is None:
            said = f"the rehearsal does not know CloudFormation's {escape(name)}"
            return (
                400,
                f"<ErrorResponse><Error><Code>InvalidAction</Code><Message>{said}</Message></Error></ErrorResponse>",
            )
        operation = self._model.operation_model(name)
        values = {key: values[0] for key, values in form.items()}
        request: Any = {
            "method": "POST",
            "values": values,
            "headers": {},
            "body": b"",
            "url_path": "/",
            "url_params": {},
        }
        asked = QueryParser(operation).parse(request)
        result: Any
        try:
            result = handler(asked or {})
        except ValidationError as error:
            result = error
        except RehearsalError as error:
            result = ValidationError(str(error))
        response = QuerySerializer(operation).serialize(result)
        body = response["body"]
        return response["status_code"], body.decode() if isinstance(body, bytes) else str(body)

    def stack(self, name: str) -> Stack:
        """A stack by name or id; one that is deleted by id alone.

        Raises:
            ValidationError: There is none.
        """
        for stack in self.stacks.values():
            if name == stack.id or (name == stack.name and stack.deleted is None):
                return stack
        raise ValidationError(f"Stack with id {name} does not exist")

    def nested(
        self,
        name: str,
        *,
        address: str,
        given: Mapping[str, str],
        tags: Mapping[str, str],
        role: str = "",
        stack: Stack | None = None,
    ) -> Stack:
        """A stack of another's, whose role deploys it, too, with its next template, which has yet to be deployed.

        Raises:
            NotEmulated: The template has what is not known.
        """
        text = self._read(address)
        parsed = self._parsed(text)
        self.engine.check(parsed, given)
        found = stack or Stack(name=name, id=new_id(name, **self._where))
        found.template, found.parsed, found.given, found.tags = text, parsed, given, tags
        found.parameters = language.parameters(parsed, given, self._public)
        found.role = role
        self.stacks[found.id] = found
        return found

    def alive(self) -> Iterable[Stack]:
        """The stacks that are not deleted."""
        return (stack for stack in list(self.stacks.values()) if stack.deleted is None)

    def _DescribeStacks(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stacks = [self.stack(asked["StackName"])] if "StackName" in asked else self.alive()
        return {"Stacks": [self._described(stack) for stack in stacks]}

    def _described(self, stack: Stack) -> dict[str, Any]:
        outputs = stack.parsed.get("Outputs", {})
        return {
            "StackId": stack.id,
            "StackName": stack.name,
            "Description": stack.parsed.get("Description"),
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in _effective(stack.parsed, stack.given).items()
            ],
            "CreationTime": stack.created,
            "LastUpdatedTime": stack.updated,
            "DeletionTime": stack.deleted,
            "StackStatus": stack.status,
            "StackStatusReason": stack.reason or None,
            "DisableRollback": False,
            "NotificationARNs": [],
            "Capabilities": list(stack.capabilities),
            "EnableTerminationProtection": stack.protected,
            "Outputs": [
                {"OutputKey": key, "OutputValue": value, "Description": outputs.get(key, {}).get("Description")}
                for key, value in stack.outputs.items()
            ],
            "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
        }

    def _ListStacks(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        wanted = asked.get("StackStatusFilter")
        return {
            "StackSummaries": [
                self._described(stack) for stack in self.stacks.values() if not wanted or stack.status in wanted
            ]
        }

    def _DescribeStackEvents(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stack = self.stack(asked["StackName"])
        return {
            "StackEvents": [
                {
                    "StackId": event.stack_id,
                    "EventId": event.id,
                    "StackName": event.stack_name,
                    "LogicalResourceId": event.logical_id,
                    "PhysicalResourceId": event.physical_id,
                    "ResourceType": event.type,
                    "Timestamp": event.time,
                    "ResourceStatus": event.status,
                    "ResourceStatusReason": event.reason or None,
                }
                for event in reversed(list(stack.events))
            ]
        }

    def _resources(self, stack: Stack) -> list[dict[str, Any]]:
        latest = {event.logical_id: event for event in stack.events if event.physical_id != stack.id}
        return [
            {
                "StackName": stack.name,
                "StackId": stack.id,
                "LogicalResourceId": resource.logical_id,
                "PhysicalResourceId": resource.made.id,
                "ResourceType": resource.type,
                "Timestamp": latest[name].time if name in latest else stack.created,
                "LastUpdatedTimestamp": latest[name].time if name in latest else stack.created,
                "ResourceStatus": latest[name].status if name in latest else "CREATE_COMPLETE",
            }
            for name, resource in list(stack.resources.items())
        ]

    def _DescribeStackResources(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        wanted = asked.get("LogicalResourceId")
        resources = self._resources(self.stack(asked["StackName"]))
        return {"StackResources": [one for one in resources if wanted in (None, one["LogicalResourceId"])]}

    def _ListStackResources(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"StackResourceSummaries": self._resources(self.stack(asked["StackName"]))}

    def _DescribeStackResource(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stack = self.stack(asked["StackName"])
        found = [one for one in self._resources(stack) if one["LogicalResourceId"] == asked["LogicalResourceId"]]
        if not found:
            raise ValidationError(f"Resource {asked['LogicalResourceId']} does not exist for stack {stack.name}")
        return {"StackResourceDetail": found[0]}

    def _GetTemplate(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stack = self.stack(asked["StackName"])
        stages = ["Original", "Processed"]
        if "ChangeSetName" in asked:
            return {"TemplateBody": self._change_set(asked).template, "StagesAvailable": stages}
        if not stack.template:
            return {"TemplateBody": "{}", "StagesAvailable": stages}
        return {"TemplateBody": stack.template, "StagesAvailable": stages}

    def _GetTemplateSummary(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        parsed = self.stack(asked["StackName"]).parsed if "StackName" in asked else self._parsed(self._text(asked))
        return {
            "Parameters": [
                {"ParameterKey": key, "DefaultValue": one.get("Default"), "ParameterType": one["Type"], "NoEcho": False}
                for key, one in parsed.get("Parameters", {}).items()
            ],
            "Description": parsed.get("Description"),
            "Capabilities": [],
            "ResourceTypes": sorted({one["Type"] for one in parsed.get("Resources", {}).values()}),
            "ResourceIdentifierSummaries": [],
        }

    def _ValidateTemplate(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        language.check(self._parsed(self._text(asked)))
        return {"Parameters": []}

    def _CreateChangeSet(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        type_ = asked.get("ChangeSetType", "UPDATE")
        stack = self._stack_for(asked["StackName"], type_)
        text = stack.template if asked.get("UsePreviousTemplate") else self._text(asked)
        parsed = self._parsed(text)
        given = self._given(asked.get("Parameters", []), stack)
        changes = _changes(stack.parsed.get("Resources", {}), parsed["Resources"])
        change_set = ChangeSet(
            name=asked["ChangeSetName"],
            id=new_id(asked["ChangeSetName"], **self._where).replace(":stack/", ":changeSet/"),
            type=type_,
            stack_id=stack.id,
            template=text,
            parsed=parsed,
            given=given,
            parameters={},
            tags={tag["Key"]: tag["Value"] for tag in asked.get("Tags", [])},
            capabilities=tuple(asked.get("Capabilities", [])),
            changes=changes,
            description=asked.get("Description", ""),
            role=asked.get("RoleARN", ""),
        )
        try:
            self.engine.check(parsed, given)
            change_set.parameters = language.parameters(parsed, given, self._public)
        except RehearsalError as error:
            change_set.status, change_set.execution, change_set.reason = "FAILED", "UNAVAILABLE", str(error)
            self.refused = f"{stack.name}: {error}"
        if change_set.status != "FAILED" and type_ == "UPDATE" and _same(stack, change_set):
            change_set.status, change_set.execution, change_set.reason = "FAILED", "UNAVAILABLE", NOTHING_CHANGED
        self._change_sets[change_set.id] = change_set
        return {"Id": change_set.id, "StackId": stack.id}

    def _stack_for(self, name: str, type_: str) -> Stack:
        if type_ not in ("CREATE", "UPDATE"):
            raise ValidationError(f"the rehearsal does not know change sets of the type {type_}")
        existing = next((stack for stack in self.alive() if name in (stack.name, stack.id)), None)
        if type_ == "CREATE":
            if existing and existing.status != "REVIEW_IN_PROGRESS":
                raise ValidationError(
                    f"Stack [{name}] already exists and cannot be created again with the changeSet type CREATE."
                )
            stack = existing or Stack(name=name, id=new_id(name, **self._where))
            self.stacks[stack.id] = stack
            return stack
        if existing is None or existing.status == "REVIEW_IN_PROGRESS":
            raise ValidationError(f"Stack [{name}] does not exist")
        if existing.status not in UPDATABLE:
            raise ValidationError(f"Stack:{existing.id} is in {existing.status} state and can not be updated.")
        return existing

    def _change_set(self, asked: Mapping[str, Any]) -> ChangeSet:
        stack = self.stack(asked["StackName"]) if "StackName" in asked else None
        for one in reversed(list(self._change_sets.values())):
            if asked["ChangeSetName"] == one.id or (
                stack and (one.name, one.stack_id) == (asked["ChangeSetName"], stack.id)
            ):
                return one
        raise ValidationError(f"ChangeSet [{asked['ChangeSetName']}] does not exist", "ChangeSetNotFound")

    def _DescribeChangeSet(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        change_set = self._change_set(asked)
        return {
            "ChangeSetName": change_set.name,
            "ChangeSetId": change_set.id,
            "StackId": change_set.stack_id,
            "StackName": self.stack(change_set.stack_id).name,
            "Description": change_set.description or None,
            "CreationTime": change_set.created,
            "ExecutionStatus": change_set.execution,
            "Status": change_set.status,
            "StatusReason": change_set.reason or None,
            "Capabilities": list(change_set.capabilities),
            "Tags": [{"Key": key, "Value": value} for key, value in change_set.tags.items()],
            "Changes": change_set.changes,
        }

    def _DeleteChangeSet(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            del self._change_sets[self._change_set(asked).id]
        except ValidationError:
            return {}
        return {}

    def _ListChangeSets(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stack = self.stack(asked["StackName"])
        return {
            "Summaries": [
                {
                    "ChangeSetId": one.id,
                    "ChangeSetName": one.name,
                    "Status": one.status,
                    "ExecutionStatus": one.execution,
                }
                for one in self._change_sets.values()
                if one.stack_id == stack.id
            ]
        }

    def _ExecuteChangeSet(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        change_set = self._change_set(asked)
        if change_set.execution != "AVAILABLE":
            raise ValidationError(
                f"ChangeSet [{change_set.id}] cannot be executed in its current status of [{change_set.status}]",
                "InvalidChangeSetStatus",
            )
        stack = self.stack(change_set.stack_id)
        if stack.status not in (*UPDATABLE, "REVIEW_IN_PROGRESS"):
            raise ValidationError(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")
        change_set.execution = "EXECUTE_COMPLETE"
        self._deploy(stack, change_set)
        return {}

    def _deploy(self, stack: Stack, change_set: ChangeSet) -> None:
        before = copy.copy(stack)
        stack.template, stack.parsed = change_set.template, change_set.parsed
        stack.given, stack.tags, stack.capabilities = change_set.given, change_set.tags, change_set.capabilities
        stack.parameters = change_set.parameters
        # The role of an earlier operation stays the stack's.
        stack.role = change_set.role or stack.role
        if before.status == "REVIEW_IN_PROGRESS":
            stack.status = "CREATE_IN_PROGRESS"
            _beside(f"create {stack.name}", lambda: self.engine.create(stack))
        else:
            stack.status = "UPDATE_IN_PROGRESS"
            _beside(f"update {stack.name}", lambda: self.engine.update(stack, before))

    def _DeleteStack(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            stack = self.stack(asked["StackName"])
        except ValidationError:
            return {}
        if stack.protected:
            raise ValidationError(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
        if stack.busy and stack.status != "DELETE_IN_PROGRESS":
            raise ValidationError(f"Stack [{stack.name}] cannot be deleted while in status {stack.status}")
        if stack.deleted is None and stack.status != "DELETE_IN_PROGRESS":
            stack.status, stack.role = "DELETE_IN_PROGRESS", asked.get("RoleARN") or stack.role
            _beside(f"delete {stack.name}", lambda: self.engine.delete(stack))
        return {}

    def _UpdateTerminationProtection(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stack = self.stack(asked["StackName"])
        stack.protected = bool(asked["EnableTerminationProtection"])
        return {"StackId": stack.id}

    def _GetStackPolicy(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self.stack(asked["StackName"])
        return {}

    def _ListHookResults(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"HookResults": []}

    def _ListExports(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "Exports": [
                {"ExportingStackId": stack.id, "Name": name, "Value": value}
                for stack in self.alive()
                for name, value in stack.exports.items()
            ]
        }

    def _text(self, asked: Mapping[str, Any]) -> str:
        return str(asked["TemplateBody"]) if "TemplateBody" in asked else self._read(asked["TemplateURL"])

    @staticmethod
    def _parsed(text: str) -> dict[str, Any]:
        try:
            parsed = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, _Yaml)  # noqa: S506
        except (ValueError, yaml.YAMLError) as error:
            raise ValidationError(f"Template format error: {error}") from None
        if not isinstance(parsed, dict) or "Resources" not in parsed:
            raise ValidationError("Template format error: At least one Resources member must be defined.")
        return parsed

    @staticmethod
    def _given(parameters: list[Mapping[str, Any]], stack: Stack) -> dict[str, str]:
        before = _effective(stack.parsed, stack.given)
        return {
            one["ParameterKey"]: before[one["ParameterKey"]] if one.get("UsePreviousValue") else one["ParameterValue"]
            for one in parameters
            if not one.get("UsePreviousValue") or one["ParameterKey"] in before
        }


def bucket_and_key(address: str) -> tuple[str, str]:
    """The S3 bucket and key of a template's address, in either of S3's two ways to write one."""
    parts = urlparse(address)
    host, path = parts.netloc.split(":")[0], unquote(parts.path.lstrip("/"))
    if host.startswith("s3.") or host.split(".")[0] in ("127", "localhost"):
        bucket, _, key = path.partition("/")
        return bucket, key
    return host.split(".s3.")[0], path


def _effective(parsed: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a template as they were given, or its defaults."""
    declared = parsed.get("Parameters", {})
    return {key: str(given.get(key, one.get("Default", ""))) for key, one in declared.items()}


def _beside(name: str, work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True, name=name).start()


def _same(stack: Stack, change_set: ChangeSet) -> bool:
    return (
        stack.parsed == change_set.parsed
        and dict(stack.parameters) == dict(change_set.parameters)
        and dict(stack.tags) == dict(change_set.tags)
    )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a change set shows: which resources are added, modified and removed."""
    actions = {name: "Add" for name in new if name not in old}
    actions |= {name: "Remove" for name in old if name not in new}
    actions |= {name: "Modify" for name in new if name in old and old[name] != new[name]}
    return [
        {
            "Type": "Resource",
            "ResourceChange": {
                "Action": action,
                "LogicalResourceId": name,
                "ResourceType": (new.get(name) or old[name])["Type"],
                **({"Replacement": "Conditional"} if action == "Modify" else {}),
                "Scope": [],
                "Details": [],
            },
        }
        for name, action in actions.items()
    ]
