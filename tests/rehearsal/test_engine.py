"""The engine with resource types that only write down what is asked of them."""

import copy
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from eks_rehearsal.cloudformation.engine import (
    Engine,
    Event,
    Failed,
    Stack,
    Surroundings,
    new_id,
)
from eks_rehearsal.cloudformation.resource import HalfMade, Made, ResourceType
from eks_rehearsal.errors import NotEmulated, RehearsalError
from eks_rehearsal.processes import wait_for

PROPERTIES = frozenset({"Name", "Size", "Uses"})


class World:
    """Resource types `Thing` (a new Name replaces) and `Fixed` (every change does), and what is asked of them.

    `breaks` has what fails: 'create A', 'update A', 'delete A', with the error.
    """

    def __init__(self):
        self.calls = []
        self.breaks = {}
        self.standing = {}
        self.count = Counter()
        self.lock = threading.Lock()
        self.heard: list[Event] = []
        self.hooks = {}
        types = {
            "Thing": ResourceType("Thing", PROPERTIES, self.create, self.delete, self.update, frozenset({"Name"})),
            "Fixed": ResourceType("Fixed", PROPERTIES, self.create, self.delete),
        }
        self.engine = Engine(
            Surroundings(
                context=lambda stack, logical_id: SimpleNamespace(logical_id=logical_id, stack=stack),
                pseudo={"AWS::Region": "eu-west-1"},
                zones=("eu-west-1a",),
                public=lambda name: f"value of {name}",
                types=lambda name: types[name] if name in types else unknown(name),
                heard=self.heard.append,
                stacks=lambda: self.stacks,
            )
        )
        self.stack = Stack("S", new_id("S", partition="aws", region="eu-west-1", account="1"))
        self.stacks = [self.stack]

    def below(self, **outputs):
        """Another stack, which stands, with a thing and outputs."""
        made = Stack("Below", new_id("Below", partition="aws", region="eu-west-1", account="1"))
        made.parsed = {"Resources": {"Base": thing()}, "Outputs": outputs}
        self.stacks.append(made)
        self.engine.create(made)
        assert made.status == "CREATE_COMPLETE"
        return made

    def note(self, what):
        with self.lock:
            self.calls.append(what)
        if what in self.hooks:
            self.hooks[what]()
        if what in self.breaks:
            raise self.breaks[what]

    def create(self, context, properties):
        with self.lock:
            self.count[context.logical_id] += 1
            id = f"{context.logical_id}-{self.count[context.logical_id]}"
        try:
            self.note(f"create {context.logical_id}")
        except HalfMade as half:
            self.standing[half.id] = properties
            raise
        self.standing[id] = properties
        return Made(id, {"Arn": f"arn:{id}", "Size": properties.get("Size", 0)})

    def update(self, context, id, _, new):
        self.note(f"update {context.logical_id}")
        self.standing[id] = new
        return Made(id, {"Arn": f"arn:{id}", "Size": new.get("Size", 0)})

    def delete(self, _, id, __):
        self.note(f"delete {id}")
        del self.standing[id]

    def deploy(self, resources, **more):
        """Create the stack, or update it to other resources; what was called."""
        before = copy.copy(self.stack)
        self.stack.parsed = {"Resources": resources, **more}
        self.stack.template = str(resources)
        self.calls.clear()
        if before.parsed:
            self.engine.update(self.stack, before)
        else:
            self.engine.create(self.stack)
        return self.calls

    def statuses(self, logical_id=None):
        return [event.status for event in self.heard if event.logical_id == (logical_id or "S")]

    def reason(self, status):
        return next(event.reason for event in self.heard if event.status == status)


def unknown(name):
    raise NotEmulated(f"the rehearsal does not know the resource type {name}")


def thing(*uses, kind="Thing", **properties):
    attributes = {
        key: properties.pop(key) for key in ("DeletionPolicy", "UpdateReplacePolicy", "Condition") if key in properties
    }
    said = {**properties, **({"Uses": [{"Ref": use} for use in uses]} if uses else {})}
    return {"Type": kind, "Properties": said, **attributes}


@pytest.fixture
def world():
    return World()


CHAIN = {"C": thing("B"), "B": thing("A"), "A": thing()}


# Creation


def test_a_resource_is_made_after_those_it_names(world):
    assert world.deploy(CHAIN) == ["create A", "create B", "create C"]
    assert world.stack.status == "CREATE_COMPLETE"
    assert world.standing["C-1"] == {"Uses": ["B-1"]}


def test_depends_on_orders_what_names_nothing(world):
    assert world.deploy({"B": {**thing(), "DependsOn": "A"}, "A": thing()}) == ["create A", "create B"]


def test_independent_resources_are_made_at_once(world):
    meet = threading.Barrier(3)
    world.hooks = {f"create {name}": lambda: meet.wait(5) for name in "ABC"}
    world.deploy({name: thing() for name in "ABC"})
    assert world.stack.status == "CREATE_COMPLETE"


def test_a_resource_whose_condition_does_not_hold_is_not_made(world):
    conditions = {"Never": {"Fn::Equals": ["a", "b"]}}
    assert world.deploy({"A": thing(), "B": thing(Condition="Never")}, Conditions=conditions) == ["create A"]


def test_outputs_are_evaluated_when_all_stand(world):
    outputs = {
        "Arn": {"Value": {"Fn::GetAtt": ["A", "Arn"]}},
        "Text": {"Value": {"Fn::Sub": "${AWS::StackName} in ${AWS::Region}"}},
        "Never": {"Value": "x", "Condition": "Never"},
    }
    world.deploy({"A": thing()}, Outputs=outputs, Conditions={"Never": {"Fn::Equals": ["a", "b"]}})
    assert world.stack.outputs == {"Arn": "arn:A-1", "Text": "S in eu-west-1"}


def test_an_output_without_a_value_fails_the_stack(world):
    world.deploy({"A": thing()}, Outputs={"O": {"Value": {"Fn::GetAtt": ["A", "Colour"]}}})
    assert world.stack.status == "ROLLBACK_COMPLETE"
    assert "A has no attribute Colour" in world.reason("ROLLBACK_IN_PROGRESS")
    assert world.standing == {}


EXPORTED = {"Value": {"Fn::GetAtt": ["Base", "Arn"]}, "Export": {"Name": {"Fn::Sub": "${AWS::StackName}:Arn"}}}


def test_what_another_stack_exports_is_imported_by_its_name(world):
    world.below(Arn=EXPORTED)
    world.deploy({"A": thing(Size={"Fn::ImportValue": "Below:Arn"})})
    assert world.standing["A-1"] == {"Size": "arn:Base-1"}


def test_what_another_stack_gives_is_had_by_the_names_of_stack_and_output(world):
    world.below(Arn={"Value": {"Fn::GetAtt": ["Base", "Arn"]}})
    asked = {"StackName": "Below", "OutputName": "Arn", "Region": {"Ref": "AWS::Region"}}
    world.deploy({"A": thing(Size={"Fn::GetStackOutput": asked})})
    assert world.standing["A-1"] == {"Size": "arn:Base-1"}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"Fn::ImportValue": "Below:Other"}, "No export named Below:Other found"),
        ({"Fn::GetStackOutput": {"StackName": "Below", "OutputName": "O"}}, "stack Below has no output O"),
        (
            {"Fn::GetStackOutput": {"StackName": "Below", "OutputName": "Arn", "Region": "us-east-1"}},
            "stacks of its own region and account alone",
        ),
    ],
)
def test_what_no_stack_gives_fails_the_one_that_asks_for_it(world, asked, reason):
    world.below(Arn=EXPORTED)
    world.deploy({"A": thing(Size=asked)})
    assert world.stack.status == "ROLLBACK_COMPLETE"
    assert reason in world.reason("CREATE_FAILED")


def test_a_stack_whose_export_is_in_use_is_not_deleted(world):
    below = world.below(Arn=EXPORTED)
    world.deploy({"A": thing(Size={"Fn::ImportValue": "Below:Arn"})})
    world.engine.delete(below)
    assert below.status == "DELETE_FAILED"
    assert below.reason == "Export Below:Arn cannot be changed or deleted, as it is in use by S"
    assert "Base-1" in world.standing
    world.deploy({"A": thing()})
    world.engine.delete(below)
    assert below.status == "DELETE_COMPLETE"


def test_an_export_that_another_stack_has_fails_the_second(world):
    world.below(Arn=EXPORTED)
    world.deploy({"A": thing()}, Outputs={"O": {"Value": "x", "Export": {"Name": "Below:Arn"}}})
    assert world.stack.status == "ROLLBACK_COMPLETE"
    assert "Export with name Below:Arn is already exported by stack Below" in world.reason("ROLLBACK_IN_PROGRESS")


def test_events_tell_of_the_stack_and_of_each_resource(world):
    world.deploy({"A": thing()})
    assert [(event.logical_id, event.type, event.status) for event in world.heard] == [
        ("S", "AWS::CloudFormation::Stack", "CREATE_IN_PROGRESS"),
        ("A", "Thing", "CREATE_IN_PROGRESS"),
        ("A", "Thing", "CREATE_COMPLETE"),
        ("S", "AWS::CloudFormation::Stack", "CREATE_COMPLETE"),
    ]
    assert [event.physical_id for event in world.heard] == [world.stack.id, "", "A-1", world.stack.id]
    assert world.stack.events == world.heard


# A creation that fails


def test_a_failed_creation_deletes_what_was_made_in_reverse(world):
    world.breaks = {"create C": ValueError("too few")}
    calls = world.deploy({**CHAIN, "D": thing("C")})
    assert calls == ["create A", "create B", "create C", "delete B-1", "delete A-1"]
    assert world.stack.status == "ROLLBACK_COMPLETE"
    assert (world.standing, world.stack.resources) == ({}, {})


def test_the_events_of_a_failed_creation_name_the_resource_and_the_reason(world):
    world.breaks = {"create B": ValueError("too few")}
    world.deploy(CHAIN)
    assert world.statuses() == ["CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE"]
    assert world.statuses("B") == ["CREATE_IN_PROGRESS", "CREATE_FAILED"]
    assert world.reason("CREATE_FAILED") == "too few"
    assert "B: too few" in world.reason("ROLLBACK_IN_PROGRESS")


def test_what_is_under_way_beside_a_failure_is_made_and_then_deleted(world):
    begun = threading.Event()

    def slow():
        begun.set()
        wait_for("the failure", lambda: "CREATE_FAILED" in world.statuses("Bad"), seconds=5, every=0.01)
        time.sleep(0.05)

    world.hooks = {"create Slow": slow, "create Bad": lambda: begun.wait(5)}
    world.breaks = {"create Bad": ValueError("bad")}
    calls = world.deploy({"Slow": thing(), "Bad": thing(), "After": thing("Slow")})
    assert calls[-1] == "delete Slow-1"
    assert "create After" not in calls
    assert world.stack.status == "ROLLBACK_COMPLETE"


def test_what_was_half_made_is_deleted_too(world):
    world.breaks = {"create B": HalfMade("half", ValueError("not ready"))}
    assert world.deploy(CHAIN) == ["create A", "create B", "delete half", "delete A-1"]
    assert (world.stack.status, world.standing) == ("ROLLBACK_COMPLETE", {})
    assert world.reason("CREATE_FAILED") == "not ready"


def test_a_rollback_that_fails_says_what_is_left(world):
    world.breaks = {"create C": ValueError("bad"), "delete B-1": ValueError("in use")}
    world.deploy(CHAIN)
    assert world.stack.status == "ROLLBACK_FAILED"
    assert world.stack.reason == "The following resource(s) failed to delete: [B]."
    assert list(world.standing) == ["A-1", "B-1"]


def test_a_property_that_has_no_value_fails_its_resource(world):
    world.deploy({"A": thing(), "B": {"Type": "Thing", "Properties": {"Name": {"Fn::GetAtt": ["A", "Colour"]}}}})
    assert world.stack.status == "ROLLBACK_COMPLETE"
    assert world.statuses("B") == ["CREATE_FAILED"]


def test_a_failure_without_words_is_named_by_its_kind(world):
    world.breaks = {"create A": KeyError()}
    world.deploy({"A": thing()})
    assert world.reason("CREATE_FAILED") == "KeyError"


# Deletion


def test_a_stack_is_deleted_in_reverse(world):
    world.deploy(CHAIN)
    world.calls.clear()
    world.engine.delete(world.stack)
    assert world.calls == ["delete C-1", "delete B-1", "delete A-1"]
    assert world.stack.status == "DELETE_COMPLETE"
    assert world.stack.deleted is not None


def test_a_deletion_that_fails_names_the_resource_and_keeps_what_it_needs(world):
    world.deploy({**CHAIN, "Beside": thing()})
    world.breaks = {"delete B-1": ValueError("in use")}
    world.engine.delete(world.stack)
    assert world.stack.status == "DELETE_FAILED"
    assert world.stack.reason == "The following resource(s) failed to delete: [B]."
    assert world.reason("DELETE_FAILED") == "in use"
    assert list(world.stack.resources) == ["A", "B"]
    assert world.stack.deleted is None


def test_a_deletion_goes_on_beside_what_failed(world):
    def after_the_failure():
        wait_for("the failure", lambda: "DELETE_FAILED" in world.statuses("Bad"), seconds=5, every=0.01)
        time.sleep(0.05)

    world.deploy({"Bad": thing(), "A": thing(), "B": thing("A")})
    world.breaks = {"delete Bad-1": ValueError("in use")}
    world.hooks = {"delete B-1": after_the_failure}
    world.engine.delete(world.stack)
    assert list(world.standing) == ["Bad-1"]


def test_a_second_deletion_finishes(world):
    world.deploy(CHAIN)
    world.breaks = {"delete B-1": ValueError("in use")}
    world.engine.delete(world.stack)
    world.breaks = {}
    world.calls.clear()
    world.engine.delete(world.stack)
    assert world.calls == ["delete B-1", "delete A-1"]
    assert (world.stack.status, world.standing) == ("DELETE_COMPLETE", {})


@pytest.mark.parametrize("policy", ["Retain", "RetainExceptOnCreate"])
def test_what_is_to_be_retained_is_skipped(world, policy):
    world.deploy({"A": thing(), "B": thing("A", DeletionPolicy=policy)})
    world.calls.clear()
    world.engine.delete(world.stack)
    assert world.calls == ["delete A-1"]
    assert world.statuses("B")[-1] == "DELETE_SKIPPED"
    assert world.stack.status == "DELETE_COMPLETE"


@pytest.mark.parametrize(("policy", "left"), [("Retain", ["A-1"]), ("RetainExceptOnCreate", []), ("Delete", [])])
def test_a_failed_creation_retains_only_what_is_retained_always(world, policy, left):
    world.breaks = {"create B": ValueError("bad")}
    world.deploy({"A": thing(DeletionPolicy=policy), "B": thing("A")})
    assert list(world.standing) == left


# Updates


def test_an_update_changes_in_place_what_can_be(world):
    world.deploy({"A": thing(Size=1), "B": thing()})
    assert world.deploy({"A": thing(Size=2), "B": thing()}) == ["update A"]
    assert (world.stack.status, world.standing["A-1"]) == ("UPDATE_COMPLETE", {"Size": 2})
    assert world.statuses("B") == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]


def test_an_update_replaces_with_the_new_one_first_and_the_old_one_deleted_at_the_end(world):
    world.deploy({"A": thing(Name="a"), "B": thing("A")})
    assert world.deploy({"A": thing(Name="b"), "B": thing("A")}) == ["create A", "update B", "delete A-1"]
    assert world.standing == {"A-2": {"Name": "b"}, "B-1": {"Uses": ["A-2"]}}
    assert world.statuses()[2:] == ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE"]
    assert world.stack.resources["A"].made.id == "A-2"


def test_a_type_that_cannot_be_updated_is_replaced_by_any_change(world):
    world.deploy({"A": thing(kind="Fixed", Size=1)})
    assert world.deploy({"A": thing(kind="Fixed", Size=2)}) == ["create A", "delete A-1"]


def test_a_resource_of_another_type_is_another_resource(world):
    world.deploy({"A": thing(Size=1)})
    assert world.deploy({"A": thing(kind="Fixed", Size=1)}) == ["create A", "delete A-1"]


def test_what_left_the_template_goes_in_reverse_after_all_else(world):
    world.deploy(CHAIN)
    assert world.deploy({"A": thing(), "New": thing("A")}) == ["create New", "delete C-1", "delete B-1"]
    assert list(world.stack.resources) == ["A", "New"]


def test_an_update_renews_the_outputs(world):
    output = {"O": {"Value": {"Fn::GetAtt": ["A", "Size"]}}}
    world.deploy({"A": thing(Size=1)}, Outputs=output)
    world.deploy({"A": thing(Size=2)}, Outputs=output)
    assert world.stack.outputs == {"O": "2"}


def test_what_left_the_template_can_no_longer_be_named(world):
    world.deploy({"A": thing(), "B": thing("A")})
    world.deploy({"B": thing("A")})
    assert world.stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert "A is neither a parameter nor a resource" in world.reason("UPDATE_FAILED")


def test_what_left_the_template_stays_when_it_is_to_be_retained(world):
    world.deploy({"A": thing(DeletionPolicy="Retain"), "B": thing()})
    assert world.deploy({"B": thing()}) == []
    assert "A-1" in world.standing
    assert list(world.stack.resources) == ["B"]


@pytest.mark.parametrize(("policy", "left"), [("Retain", ["A-1", "A-2"]), ("Delete", ["A-2"])])
def test_what_is_replaced_stays_when_its_update_replace_policy_says_so(world, policy, left):
    def resource(name):
        return thing(kind="Fixed", Name=name, UpdateReplacePolicy=policy, DeletionPolicy="Retain")

    world.deploy({"A": resource("a")})
    world.deploy({"A": resource("b")})
    assert list(world.standing) == left


def test_a_cleanup_that_fails_is_told_and_does_not_fail_the_update(world):
    world.deploy({"A": thing(), "B": thing()})
    world.breaks = {"delete B-1": ValueError("in use")}
    world.deploy({"A": thing()})
    assert world.stack.status == "UPDATE_COMPLETE"
    assert world.statuses("B")[-1] == "DELETE_FAILED"


# An update that fails


def test_a_failed_update_goes_back(world):
    world.deploy({"A": thing(Size=1), "B": thing("A", Size=1), "Gone": thing()})
    world.breaks = {"create New": ValueError("bad")}
    calls = world.deploy({"A": thing(Size=2), "B": thing("A", Size=2), "New": thing("B", "Added"), "Added": thing("A")})
    assert world.stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert world.standing == {"A-1": {"Size": 1}, "B-1": {"Size": 1, "Uses": ["A-1"]}, "Gone-1": {}}
    assert calls[-3:] == ["update A", "update B", "delete Added-1"]
    assert sorted(world.stack.resources) == ["A", "B", "Gone"]


def test_after_a_failed_update_the_stack_is_as_it_was(world):
    world.deploy({"A": thing(Size=1)}, Outputs={"O": {"Value": {"Fn::GetAtt": ["A", "Size"]}}})
    template, parsed = world.stack.template, world.stack.parsed
    world.breaks = {"create B": ValueError("bad")}
    world.deploy({"A": thing(Size=2), "B": thing("A")})
    assert (world.stack.template, world.stack.parsed, world.stack.outputs) == (template, parsed, {"O": "1"})
    assert world.statuses()[2:] == [
        "UPDATE_IN_PROGRESS",
        "UPDATE_ROLLBACK_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE",
    ]


def test_a_change_that_failed_half_way_is_changed_back(world):
    world.deploy({"A": thing(Size=1)})
    first = []

    def fail_once():
        if not first:
            first.append(1)
            world.standing["A-1"] = {"Size": "half"}
            raise ValueError("half way")

    world.hooks = {"update A": fail_once}
    assert world.deploy({"A": thing(Size=2)}) == ["update A", "update A"]
    assert (world.stack.status, world.standing) == ("UPDATE_ROLLBACK_COMPLETE", {"A-1": {"Size": 1}})


def test_a_replacement_that_failed_leaves_the_old_one_alone(world):
    world.deploy({"A": thing(Name="a")})
    world.breaks = {"create A": ValueError("no capacity")}
    assert world.deploy({"A": thing(Name="b")}) == ["create A"]
    assert world.stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert world.standing == {"A-1": {"Name": "a"}}
    assert world.stack.resources["A"].properties == {"Name": "a"}


def test_a_replacement_that_was_half_made_is_deleted_and_the_old_one_left_alone(world):
    world.deploy({"A": thing(Name="a")})
    world.breaks = {"create A": HalfMade("half", ValueError("not ready"))}
    assert world.deploy({"A": thing(Name="b")}) == ["create A", "delete half"]
    assert (world.stack.status, world.standing) == ("UPDATE_ROLLBACK_COMPLETE", {"A-1": {"Name": "a"}})


def test_a_replacement_that_was_made_is_undone_and_those_that_use_it_are_told(world):
    world.deploy({"A": thing(Name="a"), "B": thing("A")})
    world.breaks = {"create C": ValueError("bad")}
    calls = world.deploy({"A": thing(Name="b"), "B": thing("A"), "C": thing("B")})
    assert calls == ["create A", "update B", "create C", "update B", "delete A-2"]
    assert world.standing == {"A-1": {"Name": "a"}, "B-1": {"Uses": ["A-1"]}}


def test_a_resource_whose_properties_have_no_value_was_not_touched(world):
    world.deploy({"A": thing(Name="a"), "B": thing()})
    bad = {"Type": "Thing", "Properties": {"Name": {"Fn::GetAtt": ["B", "Colour"]}}}
    assert world.deploy({"A": bad, "B": thing()}) == []
    assert world.stack.status == "UPDATE_ROLLBACK_COMPLETE"


def test_an_update_after_a_failed_one_starts_from_what_stands(world):
    world.deploy({"A": thing(Name="a")})
    world.breaks = {"create B": ValueError("bad")}
    world.deploy({"A": thing(Name="b"), "B": thing("A")})
    world.breaks = {}
    assert world.deploy({"A": thing(Name="c")}) == ["create A", "delete A-1"]
    assert world.standing == {"A-3": {"Name": "c"}}


def test_a_way_back_that_fails_says_so(world):
    world.deploy({"A": thing(Size=1)})
    world.breaks = {"update A": ValueError("throttled")}
    world.deploy({"A": thing(Size=2)})
    assert world.stack.status == "UPDATE_ROLLBACK_FAILED"
    assert "A: throttled" in world.stack.reason


# What is refused before anything is made


def check(world, resources, given=None, **more):
    world.engine.check({"Resources": resources, **more}, given or {})


def test_a_sound_template_is_not_refused(world):
    check(world, CHAIN)
    assert world.calls == []


def test_unknown_types_and_properties_are_refused_all_at_once(world):
    resources = {"A": thing(kind="AWS::New::Thing"), "B": thing(Colour="red", Shape="round"), "C": thing(kind="Other")}
    with pytest.raises(NotEmulated) as refused:
        check(world, resources)
    first, second, third = str(refused.value).split("; the rehearsal ")[0], str(refused.value), str(refused.value)
    assert "resource type AWS::New::Thing" in first
    assert "B (Thing): the rehearsal does not know Colour, Shape" in second
    assert "resource type Other" in third


def test_what_a_condition_leaves_out_is_not_refused(world):
    check(world, {"A": thing(kind="Other", Condition="Never")}, Conditions={"Never": {"Fn::Equals": ["a", "b"]}})


def test_resources_that_wait_for_each_other_are_refused(world):
    with pytest.raises(RehearsalError, match="wait for each other: .*A -> .*B|wait for each other: .*B -> .*A"):
        check(world, {"A": thing("B"), "B": thing("A"), "C": thing()})


def test_a_resource_that_waits_for_itself_is_refused(world):
    with pytest.raises(RehearsalError, match="wait for each other: A -> A"):
        check(world, {"A": thing("A")})


def test_a_parameter_without_a_value_is_refused(world):
    with pytest.raises(RehearsalError, match="parameter Size"):
        check(world, {}, Parameters={"Size": {"Type": "String"}})


def test_a_rule_that_does_not_hold_is_refused(world):
    rule = {"Assertions": [{"Assert": {"Fn::Equals": [{"Ref": "Size"}, "1"]}, "AssertDescription": "only one"}]}
    template = {"Parameters": {"Size": {"Type": "String"}}, "Rules": {"Rule": rule}}
    check(world, {}, {"Size": "1"}, **template)
    with pytest.raises(RehearsalError, match="only one"):
        check(world, {}, {"Size": "2"}, **template)


def test_an_unknown_section_is_refused(world):
    with pytest.raises(NotEmulated, match="section Transform"):
        check(world, {}, Transform="AWS::Serverless")


# The stack


@pytest.mark.parametrize(
    ("status", "busy"),
    [
        ("CREATE_IN_PROGRESS", True),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", True),
        ("REVIEW_IN_PROGRESS", False),
        ("CREATE_COMPLETE", False),
    ],
)
def test_a_stack_is_busy_while_something_is_under_way(status, busy):
    assert Stack("S", "id", status=status).busy is busy


def test_a_stacks_id_is_an_arn():
    made = new_id("S", partition="aws-cn", region="cn-north-1", account="1")
    assert made.startswith("arn:aws-cn:cloudformation:cn-north-1:1:stack/S/")
    assert made != new_id("S", partition="aws-cn", region="cn-north-1", account="1")


def test_a_failure_says_what_failed_and_why():
    assert str(Failed("A", "too few")) == "A: too few"
