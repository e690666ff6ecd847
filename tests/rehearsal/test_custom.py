import json
import threading
import time
from types import SimpleNamespace
from urllib.parse import urlparse

import pytest

from eks_rehearsal.cloudformation.custom import HOST, CustomResources, find
from eks_rehearsal.cloudformation.resource import HalfMade, Made, ResourceType
from eks_rehearsal.errors import NotEmulated, RehearsalError
from eks_rehearsal.functions import Answer

TOKEN = "arn:aws:lambda:eu-west-1:1:function:provider"
GOOD = {"Status": "SUCCESS", "PhysicalResourceId": "made-1", "Data": {"Value": "v"}}


class World:
    """Functions that answer as told: a mapping by PUT, an `Answer` by failing, nothing by silence."""

    def __init__(self, answer=GOOD):
        self.answer = answer
        self.events = []
        self.accepted = []
        self.custom = CustomResources(lambda: self)
        self.type = self.custom.type("Custom::Thing")
        self.context = SimpleNamespace(
            role="", region="eu-west-1", stack_id="arn:stack", logical_id="Thing", name=lambda _: "S-Thing-ABC"
        )

    def invoke_later(self, name, event, failed):
        self.events.append((name, event))
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Answer):
            failed(self.answer)
        elif self.answer is not None:
            body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
            self.accepted.append(self.put(event, body))

    def put(self, event, body=b"{}"):
        return self.custom.answered(urlparse(event["ResponseURL"]).path, body)

    @property
    def event(self):
        return self.events[-1][1]

    def create(self, **properties):
        return self.type.create(self.context, {"ServiceToken": TOKEN, **properties})

    def update(self, old, new):
        return self.type.update(self.context, "made-1", {"ServiceToken": TOKEN, **old}, {"ServiceToken": TOKEN, **new})

    def delete(self, **properties):
        return self.type.delete(self.context, "made-1", {"ServiceToken": TOKEN, **properties})


def test_a_creation_is_asked_of_the_function_that_the_service_token_names():
    world = World()
    world.create(Count=2)
    assert world.events[-1][0] == TOKEN
    event = dict(world.event)
    assert event.pop("RequestId") != ""
    assert event.pop("ResponseURL").startswith(f"https://{HOST}euwest1.s3.eu-west-1.amazonaws.com/")
    assert event == {
        "RequestType": "Create",
        "ServiceToken": TOKEN,
        "StackId": "arn:stack",
        "LogicalResourceId": "Thing",
        "ResourceType": "Custom::Thing",
        "ResourceProperties": {"ServiceToken": TOKEN, "Count": "2"},
    }


def test_the_answer_is_what_ref_and_getatt_give():
    assert World().create() == Made("made-1", {"Value": "v"})


def test_an_answer_may_have_no_data():
    assert World({"Status": "SUCCESS", "PhysicalResourceId": "made-1"}).create() == Made("made-1", {})


def test_numbers_and_truth_values_are_text_to_the_function():
    world = World()
    world.create(Deep=[{"On": True, "Off": False, "Half": 0.5, "Text": "as it is"}, 7])
    assert world.event["ResourceProperties"]["Deep"] == [
        {"On": "true", "Off": "false", "Half": "0.5", "Text": "as it is"},
        "7",
    ]


def test_an_update_has_the_id_and_the_old_properties():
    world = World()
    assert world.update({"Size": 1}, {"Size": 2}) == Made("made-1", {"Value": "v"})
    assert (world.event["RequestType"], world.event["PhysicalResourceId"]) == ("Update", "made-1")
    assert world.event["ResourceProperties"] == {"ServiceToken": TOKEN, "Size": "2"}
    assert world.event["OldResourceProperties"] == {"ServiceToken": TOKEN, "Size": "1"}


def test_an_updates_other_id_is_another_resource():
    assert World({**GOOD, "PhysicalResourceId": "made-2"}).update({}, {}).id == "made-2"


def test_a_deletion_has_the_id():
    world = World()
    world.delete(Size=1)
    assert (world.event["RequestType"], world.event["PhysicalResourceId"]) == ("Delete", "made-1")
    assert world.event["ResourceProperties"] == {"ServiceToken": TOKEN, "Size": "1"}
    assert "OldResourceProperties" not in world.event


def test_each_request_has_its_own_address():
    world = World()
    world.create()
    world.create()
    (_, first), (_, second) = world.events
    assert first["ResponseURL"] != second["ResponseURL"]
    assert first["RequestId"] != second["RequestId"]


REFUSED = {"Status": "FAILED", "Reason": "no such chart", "PhysicalResourceId": "half-1"}


def test_a_refusal_says_the_functions_reason():
    with pytest.raises(RehearsalError, match=r"response status \[FAILED\] .* Message returned: no such chart"):
        World(REFUSED).update({}, {})


def test_a_refused_deletion_fails():
    with pytest.raises(RehearsalError, match="no such chart"):
        World(REFUSED).delete()


def test_a_refused_creation_is_to_be_deleted_by_the_id_it_gave():
    with pytest.raises(HalfMade, match="no such chart") as half:
        World(REFUSED).create()
    assert half.value.id == "half-1"


def test_a_creation_that_gave_no_id_is_to_be_deleted_by_one_of_cloudformations():
    with pytest.raises(HalfMade, match="no such chart") as half:
        World({"Status": "FAILED", "Reason": "no such chart"}).create()
    assert half.value.id == "S-Thing-ABC"


def test_a_creation_without_an_id_fails():
    with pytest.raises(RehearsalError, match="Invalid PhysicalResourceId"):
        World({"Status": "SUCCESS"}).create()


def test_a_deletion_may_be_answered_without_an_id():
    World({"Status": "SUCCESS"}).delete()


def test_a_function_that_fails_without_an_answer_is_not_waited_for():
    with pytest.raises(RehearsalError, match="the function failed and did not answer: out of memory"):
        World(Answer({"errorMessage": "out of memory"}, "Unhandled")).update({}, {})


@pytest.mark.parametrize("body", [b"not json", b"[]"])
def test_an_answer_that_is_none_fails(body):
    with pytest.raises(RehearsalError, match="not a JSON object"):
        World(body).update({}, {})


def test_no_answer_within_the_service_timeout_fails():
    world = World(None)
    began = time.monotonic()
    with pytest.raises(RehearsalError, match="did not receive a response within 0 s"):
        world.update({}, {"ServiceTimeout": "0.05"})
    assert time.monotonic() - began < 2


def test_a_creation_that_timed_out_is_to_be_deleted():
    with pytest.raises(HalfMade, match="did not receive a response"):
        World(None).create(ServiceTimeout="0.01")


def test_a_function_that_the_stacks_role_may_not_call_is_not_called():
    world = World()
    refusal = lambda role, action, resource: f"{role} {action} {resource}"  # noqa: E731
    world.type = CustomResources(lambda: world, refusal).type("Custom::Thing")
    world.context.role = "arn:role"
    with pytest.raises(HalfMade, match=f"not authorized .*: arn:role lambda:InvokeFunction {TOKEN}"):
        world.create()
    assert world.events == []


def test_an_answer_may_come_later():
    world = World(None)
    later = threading.Timer(0.05, lambda: world.put(world.event, json.dumps(GOOD).encode()))
    later.start()
    assert world.create(ServiceTimeout="5").id == "made-1"
    later.join()


def test_only_an_answer_that_is_waited_for_is_taken():
    world = World()
    world.create()
    assert world.accepted == [True]
    assert not world.put(world.event)
    assert not world.custom.answered("/unknown", b"{}")
    assert not world.custom.answered("/", b"{}")


def test_a_late_answer_is_refused():
    world = World(None)
    with pytest.raises(RehearsalError):
        world.delete(ServiceTimeout="0.01")
    assert not world.put(world.event, json.dumps(GOOD).encode())


def test_a_function_that_is_not_there_fails_and_leaves_no_address():
    world = World(RehearsalError("no function provider"))
    with pytest.raises(RehearsalError, match="no function provider"):
        world.update({}, {})
    assert not world.put(world.event)


def test_a_custom_resource_has_any_property():
    World().type.check("Thing", {"Anything": 1})


def test_another_service_token_is_another_resource():
    kind = World().type
    assert kind.replaces({"ServiceToken": "a"}, {"ServiceToken": "b"})
    assert not kind.replaces({"ServiceToken": "a", "Size": 1}, {"ServiceToken": "a", "Size": 2})


def test_types_are_native_or_custom_or_unknown():
    native = ResourceType("AWS::A::B", frozenset(), None, None)
    found = find({"AWS::A::B": native}, World().custom)
    assert found("AWS::A::B") is native
    assert found("Custom::Anything").properties is None
    assert found("AWS::CloudFormation::CustomResource").name == "AWS::CloudFormation::CustomResource"
    with pytest.raises(NotEmulated, match="does not know the resource type AWS::C::D"):
        found("AWS::C::D")
