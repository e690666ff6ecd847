"""Stacks: made, changed and deleted in CloudFormation's order, and rolled back when a step fails."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from graphlib import CycleError, TopologicalSorter
from typing import Any

from eks_rehearsal.cloudformation import template as language
from eks_rehearsal.cloudformation.resource import Context, HalfMade, Made, Properties, ResourceType
from eks_rehearsal.errors import NotEmulated, RehearsalError

AT_ONCE = 8
KEPT = ("Retain", "RetainExceptOnCreate")


@dataclass(frozen=True)
class Event:
    """One line of a stack's history, as `DescribeStackEvents` gives it."""

    id: str
    time: datetime
    stack_id: str
    stack_name: str
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class StackResource:
    """A resource that stands.

    Args:
        logical_id: Its name in the template.

        type: Its type.

        properties: The evaluated properties that it was made from.

        made: What it answers.

        needs: The resources that were there before it, and go after it.

        policy: Its `DeletionPolicy`: what becomes of it when the stack lets go of it.

        replaced_policy: Its `UpdateReplacePolicy`: what becomes of the one before it, which it replaces.
    """

    logical_id: str
    type: str
    properties: Properties
    made: Made
    needs: frozenset[str]
    policy: str = "Delete"
    replaced_policy: str = "Delete"


@dataclass
class Stack:
    """A stack and all that is known of it; `role` is the ARN of the role that it is deployed by, if there is one."""

    name: str
    id: str
    role: str = ""
    template: str = ""
    parsed: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    status: str = "REVIEW_IN_PROGRESS"
    reason: str = ""
    protected: bool = False
    created: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    updated: datetime | None = None
    deleted: datetime | None = None
    resources: dict[str, StackResource] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    exports: dict[str, str] = field(default_factory=dict)
    imports: frozenset[str] = frozenset()
    events: list[Event] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


@dataclass(frozen=True)
class Surroundings:
    """Where stacks live.

    Args:
        context: Makes the context of a resource from the stack and the logical id.

        pseudo: The pseudo parameters of the account, without those of a stack.

        zones: The region's availability zones.

        public: Reads a public parameter of the Systems Manager.

        types: Finds how a resource type is made; `NotEmulated` for one it does not know.

        heard: Is told each event.

        stacks: The stacks that there are.
    """

    context: Callable[[Stack, str], Context]
    pseudo: Mapping[str, Any]
    zones: tuple[str, ...]
    public: Callable[[str], str]
    types: Callable[[str], ResourceType]
    heard: Callable[[Event], None] = lambda _: None
    stacks: Callable[[], Iterable[Stack]] = tuple


class Failed(Exception):
    """A step on a resource failed; `reason` is what the stack's events say."""

    def __init__(self, logical_id: str, reason: str) -> None:
        self.logical_id = logical_id
        self.reason = reason
        super().__init__(f"{logical_id}: {reason}")


class Engine:
    """Creates, updates and deletes stacks, each in a thread of its own."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._here = surroundings
        self._lock = threading.Lock()

    def check(self, parsed: Mapping[str, Any], given: Mapping[str, str]) -> None:
        """Refuse a template that could only be deployed by passing something over.

        Raises:
            NotEmulated: A section, a resource type or a property that is not known; every one that is found.

            RehearsalError: A parameter without value, a rule that does not hold, or resources that wait for each
                other in a ring.
        """
        language.check(parsed)
        scope = self._scope(Stack("", ""), parsed, language.parameters(parsed, given, self._here.public))
        resources = language.wanted(parsed, scope)
        unknown = [fault for name, resource in resources.items() if (fault := self._unknown(name, resource))]
        if unknown:
            raise NotEmulated("; ".join(unknown))
        if broken := language.broken(parsed, scope):
            raise RehearsalError("; ".join(broken))
        try:
            TopologicalSorter(language.needs(resources)).prepare()
        except CycleError as error:
            raise RehearsalError(f"resources wait for each other: {' -> '.join(error.args[1])}") from None

    def _unknown(self, name: str, resource: Mapping[str, Any]) -> str:
        try:
            self._here.types(resource["Type"]).check(name, resource.get("Properties", {}))
        except NotEmulated as error:
            return str(error)
        return ""

    def create(self, stack: Stack) -> None:
        """Make every resource of the stack's template; on a failure, delete what was made."""
        self._record(stack, "CREATE_IN_PROGRESS", "User Initiated")
        try:
            self._apply(stack)
        except Failed as failed:
            self._record(stack, "ROLLBACK_IN_PROGRESS", f"{failed}. Rollback requested by user.")
            left = self._delete_all(stack, dict(stack.resources), _kept_of_new)
            self._record(stack, "ROLLBACK_FAILED" if left else "ROLLBACK_COMPLETE", _not_deleted(left))
            return
        self._record(stack, "CREATE_COMPLETE")

    def update(self, stack: Stack, before: Stack) -> None:
        """Go from what stands to the stack's new template; on a failure, go back to `before`'s."""
        stack.updated = datetime.now(timezone.utc)
        self._record(stack, "UPDATE_IN_PROGRESS", "User Initiated")
        old = dict(stack.resources)
        try:
            self._apply(stack)
        except Failed as failed:
            self._record(stack, "UPDATE_ROLLBACK_IN_PROGRESS", str(failed))
            self._roll_back(stack, before, old)
            return
        self._record(stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        still = language.wanted(stack.parsed, self._scope_of(stack))
        stack.resources = {name: resource for name, resource in stack.resources.items() if name in still}
        now = stack.resources

        def kept(was: StackResource) -> bool:
            return (now[was.logical_id].replaced_policy if was.logical_id in now else was.policy) in KEPT

        self._delete_all(stack, _superseded(old, now), kept)
        self._record(stack, "UPDATE_COMPLETE")

    def _roll_back(self, stack: Stack, before: Stack, old: Mapping[str, StackResource]) -> None:
        """Undo an update: what was changed is changed back, what was added goes."""
        added = _superseded(stack.resources, old)
        stack.template, stack.parsed = before.template, before.parsed
        stack.parameters, stack.given, stack.tags = before.parameters, before.given, before.tags
        stack.resources.update(_superseded(old, stack.resources))
        try:
            self._apply(stack)
        except Failed as failed:
            self._record(stack, "UPDATE_ROLLBACK_FAILED", str(failed))
            return
        self._record(stack, "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        stack.resources = {name: resource for name, resource in stack.resources.items() if name in old}
        self._delete_all(stack, added, _kept_of_new)
        self._record(stack, "UPDATE_ROLLBACK_COMPLETE")

    def delete(self, stack: Stack) -> None:
        """Delete what stands, each resource after all that need it."""
        self._record(stack, "DELETE_IN_PROGRESS", "User Initiated")
        if in_use := self._import_conflict(stack, {}):
            self._record(stack, "DELETE_FAILED", in_use)
            return
        left = self._delete_all(stack, dict(stack.resources), lambda resource: resource.policy in KEPT)
        if left:
            self._record(stack, "DELETE_FAILED", _not_deleted(left))
            return
        stack.deleted = datetime.now(timezone.utc)
        self._record(stack, "DELETE_COMPLETE")

    def _apply(self, stack: Stack) -> None:
        scope = self._scope_of(stack)
        resources = language.wanted(stack.parsed, scope)
        waits_for = language.needs(resources)
        # What the template no longer has is not to be named by what it has.
        scope.resources = {name: made for name, made in scope.resources.items() if name in resources}

        def step(name: str) -> None:
            resource = self._create_or_update(stack, name, resources[name], scope, frozenset(waits_for[name]))
            with self._lock:
                scope.resources[name] = resource.made
                stack.resources[name] = resource

        if failures := _in_order(waits_for, step):
            raise failures[0]
        try:
            given = {
                name: output
                for name, output in stack.parsed.get("Outputs", {}).items()
                if "Condition" not in output or scope.condition(output["Condition"])
            }
            outputs = {name: language.text(scope.value(output["Value"])) for name, output in given.items()}
            exports = {
                language.text(scope.value(output["Export"]["Name"])): outputs[name]
                for name, output in given.items()
                if "Export" in output
            }
        except Exception as error:
            raise Failed("Outputs", _reason(error)) from error
        if refused := self._export_conflict(stack, exports) or self._import_conflict(stack, exports):
            raise Failed("Outputs", refused)
        stack.outputs, stack.exports, stack.imports = outputs, exports, frozenset(scope.imports)

    def _other_stacks(self, stack: Stack) -> list[Stack]:
        return [other for other in self._here.stacks() if other.id != stack.id]

    def _export_conflict(self, stack: Stack, exports: Mapping[str, str]) -> str:
        """What cannot be exported, because another stack does it; empty when all can."""
        taken = ((name, other) for other in self._other_stacks(stack) for name in other.exports if name in exports)
        return next((f"Export with name {name} is already exported by stack {other.name}" for name, other in taken), "")

    def _import_conflict(self, stack: Stack, exports: Mapping[str, str]) -> str:
        """What another stack has imported and would lose by these exports; empty when it would lose nothing."""
        used = (
            (name, other) for other in self._other_stacks(stack) for name in sorted(other.imports & set(stack.exports))
        )
        lost = ((name, other) for name, other in used if exports.get(name) != stack.exports[name])
        return next(
            (f"Export {name} cannot be changed or deleted, as it is in use by {o.name}" for name, o in lost), ""
        )

    def _create_or_update(
        self, stack: Stack, name: str, resource: Mapping[str, Any], scope: language.Scope, needs: frozenset[str]
    ) -> StackResource:
        """Make a resource, change it, or leave it, so that it is as the template says."""
        kind = resource["Type"]
        there = stack.resources.get(name)
        old = there if there and there.type == kind else None
        verb = "UPDATE" if old else "CREATE"
        physical_id = there.made.id if there else ""
        policies = {key: resource.get(key, "Delete") for key in ("DeletionPolicy", "UpdateReplacePolicy")}
        new = StackResource(name, kind, {}, Made(""), needs, *policies.values())
        in_place = False
        try:
            new = replace(new, properties=scope.value(resource.get("Properties", {})))
            if old and old.properties == new.properties:
                return replace(new, made=old.made)
            type_ = self._here.types(kind)
            type_.check(name, new.properties)
            self._record(stack, f"{verb}_IN_PROGRESS", logical_id=name, type=kind, physical_id=physical_id)
            context = self._here.context(stack, name)
            if old and type_.update and not type_.replaces(old.properties, new.properties):
                in_place = True
                made = type_.update(context, old.made.id, old.properties, new.properties)
            else:
                made = type_.create(context, new.properties)
        except Exception as error:
            reason = _reason(error)
            with self._lock:
                if old and in_place:
                    # Nobody knows how far it came: the way back has to change it again.
                    stack.resources[name] = replace(old, properties=new.properties)
                elif isinstance(error, HalfMade):
                    stack.resources[name] = replace(new, made=Made(error.id))
            self._record(stack, f"{verb}_FAILED", reason, logical_id=name, type=kind, physical_id=physical_id)
            raise Failed(name, reason) from error
        self._record(stack, f"{verb}_COMPLETE", logical_id=name, type=kind, physical_id=made.id)
        return replace(new, made=made)

    def _delete_all(
        self, stack: Stack, going: Mapping[str, StackResource], kept: Callable[[StackResource], bool]
    ) -> list[Failed]:
        """Delete resources, each after all that need it; what could not be deleted stays, and what it needs."""
        users: dict[str, set[str]] = {name: set() for name in going}
        for name, resource in going.items():
            for needed in resource.needs & set(going):
                users[needed].add(name)

        def step(name: str) -> None:
            resource = going[name]
            self._delete_resource(stack, resource, kept=kept(resource))
            with self._lock:
                if stack.resources.get(name) is resource:
                    del stack.resources[name]

        return _in_order(users, step, on_failure="go on beside")

    def _delete_resource(self, stack: Stack, resource: StackResource, *, kept: bool) -> None:
        about = {"logical_id": resource.logical_id, "type": resource.type, "physical_id": resource.made.id}
        if kept:
            self._record(stack, "DELETE_SKIPPED", **about)
            return
        self._record(stack, "DELETE_IN_PROGRESS", **about)
        try:
            type_ = self._here.types(resource.type)
            type_.delete(self._here.context(stack, resource.logical_id), resource.made.id, resource.properties)
        except Exception as error:
            self._record(stack, "DELETE_FAILED", _reason(error), **about)
            raise Failed(resource.logical_id, _reason(error)) from error
        self._record(stack, "DELETE_COMPLETE", **about)

    def _scope_of(self, stack: Stack) -> language.Scope:
        scope = self._scope(stack, stack.parsed, stack.parameters)
        scope.resources.update({name: resource.made for name, resource in stack.resources.items()})
        return scope

    def _scope(self, stack: Stack, parsed: Mapping[str, Any], parameters: Mapping[str, Any]) -> language.Scope:
        pseudo = {**self._here.pseudo, "AWS::StackName": stack.name, "AWS::StackId": stack.id}
        pseudo["AWS::NotificationARNs"] = []
        conditions, mappings = parsed.get("Conditions", {}), parsed.get("Mappings", {})
        others = self._other_stacks(stack)
        return language.Scope(
            pseudo,
            parameters,
            conditions,
            mappings,
            self._here.zones,
            outputs={other.name: other.outputs for other in others},
            exports={name: value for other in others for name, value in other.exports.items()},
        )

    def _record(
        self,
        stack: Stack,
        status: str,
        reason: str = "",
        *,
        logical_id: str = "",
        type: str = "",
        physical_id: str = "",
    ) -> None:
        event = Event(
            id=str(uuid.uuid4()),
            time=datetime.now(timezone.utc),
            stack_id=stack.id,
            stack_name=stack.name,
            logical_id=logical_id or stack.name,
            physical_id=physical_id or ("" if logical_id else stack.id),
            type=type or "AWS::CloudFormation::Stack",
            status=status,
            reason=reason,
        )
        with self._lock:
            stack.events.append(event)
            if not logical_id:
                stack.status, stack.reason = status, reason
        self._here.heard(event)


def _in_order(
    waits_for: Mapping[str, Iterable[str]], step: Callable[[str], None], *, on_failure: str = "stop"
) -> list[Failed]:
    """Take each step after those it waits for, several at once; the failures, first one first.

    After a failure no new step is taken (`stop`), or only what does not wait for the failed one (`go on beside`).
    """
    order = TopologicalSorter(waits_for)
    order.prepare()
    failures: list[Failed] = []
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while order.is_active() or running:
            if not failures or on_failure != "stop":
                running.update({pool.submit(step, name): name for name in order.get_ready()})
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                error = future.exception()
                if error is None:
                    order.done(name)
                elif isinstance(error, Failed):
                    failures.append(error)
                else:
                    raise error
    return failures


def _kept_of_new(resource: StackResource) -> bool:
    """Whether what was made stays although the making of the whole is undone."""
    return resource.policy == "Retain"


def _superseded(old: Mapping[str, StackResource], new: Mapping[str, StackResource]) -> dict[str, StackResource]:
    """What stood in `old` and is no longer, or is another one, in `new`."""
    return {
        name: resource
        for name, resource in old.items()
        if name not in new or new[name].made.id != resource.made.id or new[name].type != resource.type
    }


def _not_deleted(failures: list[Failed]) -> str:
    names = ", ".join(failure.logical_id for failure in failures)
    return f"The following resource(s) failed to delete: [{names}]." if failures else ""


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def new_id(name: str, *, partition: str, region: str, account: str) -> str:
    """The ARN of a new stack."""
    return f"arn:{partition}:cloudformation:{region}:{account}:stack/{name}/{uuid.uuid4()}"
