"""Stacks in stacks, on an engine whose only other type writes down what is asked of it."""

import json
from types import SimpleNamespace

import pytest

from eks_rehearsal.cloudformation.api import CloudFormation
from eks_rehearsal.cloudformation.custom import find
from eks_rehearsal.cloudformation.engine import Engine, Stack, Surroundings
from eks_rehearsal.cloudformation.nested import TYPE, NestedStacks
from eks_rehearsal.cloudformation.resource import Made, ResourceType
from eks_rehearsal.errors import NotEmulated

ROLE = "arn:aws:iam::123456789012:role/deployer"
WHERE = {"partition": "aws", "region": "eu-west-1", "account": "123456789012"}


class World:
    """An account with templates, things that stand, and things that fail."""

    def __init__(self):
        self.templates, self.standing, self.fails, self.stays = {}, {}, set(), set()
        thing = ResourceType("Thing", frozenset({"Size"}), self.create, self.delete, self.update)
        nested = NestedStacks(lambda: self.cloudformation).type
        engine = Engine(
            Surroundings(
                context=lambda _, logical_id: SimpleNamespace(
                    logical_id=logical_id, name=lambda _: f"S-{logical_id}", role=ROLE
                ),
                pseudo={"AWS::Region": "eu-west-1"},
                zones=(),
                public=lambda name: name,
                types=find({"Thing": thing, TYPE: nested}, None),
            )
        )
        self.cloudformation = CloudFormation(
            engine, where=WHERE, read=self.templates.__getitem__, public=lambda name: name
        )

    def create(self, context, properties):
        if context.logical_id in self.fails:
            raise ValueError(f"no {context.logical_id} today")
        self.standing[context.logical_id] = properties.get("Size")
        return Made(f"{context.logical_id}-id", {"Size": properties.get("Size")})

    def update(self, context, id, __, new):
        self.standing[context.logical_id] = new.get("Size")
        return Made(id, {"Size": new.get("Size")})

    def delete(self, context, id, properties):
        if context.logical_id in self.stays:
            raise ValueError(f"{context.logical_id} is in use")
        self.standing.pop(context.logical_id, None)

    def outer(self, name="inner.json", **more):
        """A template with a nested stack, and a thing that has what that gives."""
        parsed = {
            "Resources": {
                "Inner": {"Type": TYPE, "Properties": {"TemplateURL": name, "Parameters": {"Size": 7}}},
                "After": {"Type": "Thing", "Properties": {"Size": {"Fn::GetAtt": ["Inner", "Outputs.Size"]}}},
            }
        }
        return {"template": json.dumps(parsed), "parsed": parsed, **more}

    def inner(self, *names, name="inner.json", kind="Thing"):
        sized = {"Type": kind, "Properties": {"Size": {"Ref": "Size"}}}
        self.templates[name] = json.dumps(
            {
                "Parameters": {"Size": {"Type": "String"}},
                "Resources": dict.fromkeys(names, sized),
                "Outputs": {"Size": {"Value": {"Fn::Sub": "${Size}-from-within"}}},
            }
        )


@pytest.fixture
def world():
    made = World()
    made.inner("A")
    return made


def created(world):
    stack = Stack(name="S", id="arn:outer", **world.outer())
    world.cloudformation.engine.create(stack)
    return stack


def test_a_nested_stack_takes_parameters_and_gives_outputs(world):
    assert created(world).status == "CREATE_COMPLETE"
    assert world.standing == {"A": "7", "After": "7-from-within"}
    (nested,) = world.cloudformation.stacks.values()
    assert (nested.name, nested.status) == ("S-Inner", "CREATE_COMPLETE")
    assert nested.role == ROLE


def test_it_goes_with_the_stack_that_has_it_and_after_what_needs_it(world):
    stack = created(world)
    world.cloudformation.engine.delete(stack)
    assert world.standing == {}
    gone = [event.logical_id for event in stack.events if event.status == "DELETE_COMPLETE"]
    assert gone == ["After", "Inner", "S"]


def test_what_fails_within_is_the_reason_of_the_stack_and_nothing_of_it_stays(world):
    world.inner("A", "B")
    world.fails.add("B")
    stack = created(world)
    assert stack.status == "ROLLBACK_COMPLETE"
    (reason,) = [event.reason for event in stack.events if event.status == "CREATE_FAILED"]
    assert "Embedded stack" in reason
    assert "B: no B today" in reason
    assert world.standing == {}


def test_another_template_changes_it_in_place(world):
    stack = created(world)
    world.inner("A", "B", name="other.json")
    before = Stack(**vars(stack))
    vars(stack).update(world.outer("other.json"))
    world.cloudformation.engine.update(stack, before)
    assert stack.status == "UPDATE_COMPLETE"
    assert world.standing == {"A": "7", "B": "7", "After": "7-from-within"}


def test_what_cannot_be_changed_within_is_the_reason_and_all_goes_back(world):
    stack = created(world)
    world.inner("A", "B", name="other.json")
    world.fails.add("B")
    before = Stack(**vars(stack))
    vars(stack).update(world.outer("other.json"))
    world.cloudformation.engine.update(stack, before)
    assert stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert world.standing == {"A": "7", "After": "7-from-within"}


def test_what_does_not_go_keeps_the_stack_that_has_it(world):
    stack = created(world)
    world.stays.add("A")
    world.cloudformation.engine.delete(stack)
    assert stack.status == "DELETE_FAILED"
    (reason,) = [event.reason for event in stack.events if event.status == "DELETE_FAILED" and event.reason][:1]
    assert "A: A is in use" in reason
    assert stack.deleted is None


def test_what_is_not_known_within_is_refused(world):
    world.inner("A", kind="AWS::Else::Where")
    stack = created(world)
    assert stack.status == "ROLLBACK_COMPLETE"
    with pytest.raises(NotEmulated, match="resource type AWS::Else::Where"):
        world.cloudformation.nested("X", address="inner.json", given={"Size": "1"}, tags={})
