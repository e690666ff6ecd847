"""CloudFormation's API through boto3, over HTTP, on an engine whose only type writes down what is asked of it."""

import http.server
import json
import threading
import time
from types import SimpleNamespace
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from eks_rehearsal.cloudformation.api import NOTHING_CHANGED, CloudFormation, bucket_and_key
from eks_rehearsal.cloudformation.engine import Engine, Surroundings
from eks_rehearsal.cloudformation.resource import Made, ResourceType
from eks_rehearsal.errors import NotEmulated, RehearsalError

WHERE = {"partition": "aws", "region": "eu-west-1", "account": "123456789012"}


class World:
    """The account; `hold` keeps every creation under way, `held` is set when one is."""

    def __init__(self):
        self.hold, self.held = threading.Event(), threading.Event()
        self.hold.set()
        self.fails = ""
        self.held_parameters = {"/version": "30"}
        self.templates = {}
        kind = ResourceType("Thing", frozenset({"Size"}), self.create, self.delete, self.update)
        engine = Engine(
            Surroundings(
                context=lambda _, logical_id: SimpleNamespace(logical_id=logical_id),
                pseudo={"AWS::Region": "eu-west-1"},
                zones=(),
                public=self.public,
                types=lambda name: kind if name == "Thing" else unknown(name),
            )
        )
        self.cloudformation = CloudFormation(engine, where=WHERE, read=self.templates.__getitem__, public=self.public)

    def public(self, name):
        if name not in self.held_parameters:
            raise RehearsalError(f"the Systems Manager has no parameter {name}")
        return self.held_parameters[name]

    def create(self, context, properties):
        self.held.set()
        assert self.hold.wait(5)
        if self.fails:
            raise ValueError(self.fails)
        return Made(f"{context.logical_id}-id", {"Size": properties.get("Size")})

    def update(self, _, id, __, new):
        return Made(id, {"Size": new.get("Size")})

    def delete(self, context, id, properties):
        pass


def unknown(name):
    raise NotEmulated(f"the rehearsal does not know the resource type {name}")


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True)
        status, body = self.server.world.cloudformation.answer(form)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front) as running:
        running.daemon_threads = True
        threading.Thread(target=lambda: running.serve_forever(poll_interval=0.01), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def client(server):
    session = boto3.Session("access", "secret", region_name="eu-west-1")
    address = f"http://127.0.0.1:{server.server_address[1]}"
    made = session.client(
        "cloudformation", endpoint_url=address, config=Config(retries={"max_attempts": 0}, proxies={})
    )
    yield made
    made.close()


@pytest.fixture
def world(server):
    server.world = World()
    yield server.world
    server.world.hold.set()


def template(*names, size=1, **more):
    resources = {name: {"Type": "Thing", "Properties": {"Size": size}} for name in names or ("A",)}
    return json.dumps({"Resources": resources, **more})


def change_set(client, body, kind="UPDATE", *, stack="S", name="cs", **more):
    return client.create_change_set(StackName=stack, ChangeSetName=name, ChangeSetType=kind, TemplateBody=body, **more)


def still(client, stack="S"):
    """What a stack is when nothing is under way in it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            return found
        time.sleep(0.005)
    raise AssertionError(found["StackStatus"])


def deploy(client, body, kind="UPDATE", **more):
    change_set(client, body, kind, **more)
    client.execute_change_set(StackName="S", ChangeSetName="cs")
    return still(client)


def delete(client, stack_id):
    client.delete_stack(StackName="S")
    return still(client, stack_id)


def refused(said, code="ValidationError"):
    return pytest.raises(ClientError, match=rf"(?s)\({code}\).*{said}")


# A change set's life


def test_a_new_stack_is_looked_at_before_it_is_made(world, client):
    made = change_set(client, template(), "CREATE")
    assert made["StackId"].startswith("arn:aws:cloudformation:eu-west-1:123456789012:stack/S/")
    assert made["Id"].startswith("arn:aws:cloudformation:eu-west-1:123456789012:changeSet/cs/")
    assert client.describe_stacks(StackName="S")["Stacks"][0]["StackStatus"] == "REVIEW_IN_PROGRESS"
    assert not world.held.is_set()


def test_a_change_set_shows_what_it_would_do(world, client):
    deploy(client, template("Same", "Changed", "Gone"), "CREATE")
    body = json.loads(template("Same", "Changed", "New"))
    body["Resources"]["Changed"]["Properties"]["Size"] = 2
    made = change_set(client, json.dumps(body), Description="next", Tags=[{"Key": "a", "Value": "b"}])
    found = client.describe_change_set(StackName="S", ChangeSetName="cs")
    changes = [change["ResourceChange"] for change in found["Changes"]]
    assert {(one["Action"], one["LogicalResourceId"], one["ResourceType"]) for one in changes} == {
        ("Add", "New", "Thing"),
        ("Remove", "Gone", "Thing"),
        ("Modify", "Changed", "Thing"),
    }
    assert (found["Status"], found["ExecutionStatus"], found["Description"]) == ("CREATE_COMPLETE", "AVAILABLE", "next")
    assert (found["ChangeSetId"], found["StackId"], found["StackName"]) == (made["Id"], made["StackId"], "S")
    assert found["Tags"] == [{"Key": "a", "Value": "b"}]


def test_executing_it_makes_the_stack(world, client):
    outputs = {"O": {"Value": {"Fn::GetAtt": ["A", "Size"]}, "Description": "how large"}}
    stack = deploy(
        client,
        template(Outputs=outputs, Description="mine"),
        "CREATE",
        Capabilities=["CAPABILITY_IAM"],
        Tags=[{"Key": "a", "Value": "b"}],
    )
    assert (stack["StackName"], stack["StackStatus"], stack["Description"]) == ("S", "CREATE_COMPLETE", "mine")
    assert stack["Outputs"] == [{"OutputKey": "O", "OutputValue": "1", "Description": "how large"}]
    assert (stack["Capabilities"], stack["Tags"]) == (["CAPABILITY_IAM"], [{"Key": "a", "Value": "b"}])
    assert stack["EnableTerminationProtection"] is False
    assert "LastUpdatedTime" not in stack


def test_executing_another_updates_it(world, client):
    deploy(client, template(), "CREATE")
    stack = deploy(client, template(size=2, Outputs={"O": {"Value": {"Fn::GetAtt": ["A", "Size"]}}}))
    assert (stack["StackStatus"], stack["Outputs"][0]["OutputValue"]) == ("UPDATE_COMPLETE", "2")
    assert stack["LastUpdatedTime"] >= stack["CreationTime"]


def test_a_change_sets_id_is_enough(world, client):
    made = change_set(client, template(), "CREATE")
    assert client.describe_change_set(ChangeSetName=made["Id"])["StackName"] == "S"
    client.execute_change_set(ChangeSetName=made["Id"])
    assert still(client)["StackStatus"] == "CREATE_COMPLETE"


def test_a_change_set_is_executed_once(world, client):
    deploy(client, template(), "CREATE")
    with pytest.raises(ClientError, match="cannot be executed"):
        client.execute_change_set(StackName="S", ChangeSetName="cs")


def test_a_change_set_can_be_deleted_and_deleting_again_is_no_error(world, client):
    change_set(client, template(), "CREATE")
    assert [one["ChangeSetName"] for one in client.list_change_sets(StackName="S")["Summaries"]] == ["cs"]
    for _ in range(2):
        client.delete_change_set(StackName="S", ChangeSetName="cs")
    assert client.list_change_sets(StackName="S")["Summaries"] == []
    with refused("does not exist", "ChangeSetNotFound"):
        client.describe_change_set(StackName="S", ChangeSetName="cs")


def test_change_sets_of_one_name_belong_to_their_stacks(world, client):
    change_set(client, template(), "CREATE")
    change_set(client, template("B"), "CREATE", stack="Other")
    changes = client.describe_change_set(StackName="S", ChangeSetName="cs")["Changes"]
    assert [one["ResourceChange"]["LogicalResourceId"] for one in changes] == ["A"]
    assert len(client.list_change_sets(StackName="S")["Summaries"]) == 1


def test_a_new_stack_of_an_old_name_has_none_of_its_change_sets(world, client):
    delete(client, deploy(client, template(), "CREATE")["StackId"])
    change_set(client, template(), "CREATE", name="new")
    assert [one["ChangeSetName"] for one in client.list_change_sets(StackName="S")["Summaries"]] == ["new"]


# What fails before it begins


def failed(client):
    found = client.describe_change_set(StackName="S", ChangeSetName="cs")
    assert (found["Status"], found["ExecutionStatus"]) == ("FAILED", "UNAVAILABLE")
    with pytest.raises(ClientError, match=r"cannot be executed in its current status of \[FAILED\]"):
        client.execute_change_set(StackName="S", ChangeSetName="cs")
    return found["StatusReason"]


def test_without_changes_it_fails_with_the_words_that_the_cdk_looks_for(world, client):
    deploy(client, template(), "CREATE")
    change_set(client, template())
    assert failed(client) == NOTHING_CHANGED
    assert NOTHING_CHANGED.startswith("The submitted information didn't contain changes.")


VERSION = {"Version": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/version"}}


@pytest.mark.parametrize("more", [{}, {"Parameters": [{"ParameterKey": "Version", "UsePreviousValue": True}]}])
def test_a_default_that_is_given_again_or_kept_is_no_change(world, client, more):
    deploy(client, template(Parameters=VERSION), "CREATE")
    change_set(client, template(Parameters=VERSION), **more)
    assert failed(client) == NOTHING_CHANGED


def test_a_parameter_that_the_systems_manager_holds_anew_is_a_change(world, client):
    deploy(client, template(Parameters=VERSION), "CREATE")
    world.held_parameters["/version"] = "31"
    change_set(client, template(Parameters=VERSION))
    assert client.describe_change_set(StackName="S", ChangeSetName="cs")["Status"] == "CREATE_COMPLETE"


def test_other_tags_are_a_change(world, client):
    deploy(client, template(), "CREATE")
    change_set(client, template(), Tags=[{"Key": "a", "Value": "b"}])
    assert client.describe_change_set(StackName="S", ChangeSetName="cs")["Status"] == "CREATE_COMPLETE"


def test_what_the_engine_refuses_is_why_it_fails(world, client):
    change_set(client, json.dumps({"Resources": {"A": {"Type": "AWS::New::Thing"}}}), "CREATE")
    assert "does not know the resource type AWS::New::Thing" in failed(client)


def test_a_parameter_that_is_not_there_is_why_it_fails(world, client):
    change_set(
        client,
        template(Parameters=VERSION),
        "CREATE",
        Parameters=[{"ParameterKey": "Version", "ParameterValue": "/lost"}],
    )
    assert "no parameter /lost" in failed(client)


@pytest.mark.parametrize("body", ["{", "just text", "{}", "Resources: {A: !Odd x}"])
def test_what_is_no_template_is_refused(world, client, body):
    with refused("Template format error"):
        change_set(client, body, "CREATE")


def test_a_stack_that_is_there_cannot_be_created(world, client):
    deploy(client, template(), "CREATE")
    with refused(r"Stack \[S\] already exists"):
        change_set(client, template(), "CREATE")


def test_a_stack_that_is_not_there_cannot_be_updated(world, client):
    with refused(r"Stack \[S\] does not exist"):
        change_set(client, template())
    change_set(client, template(), "CREATE")
    with refused(r"Stack \[S\] does not exist"):
        change_set(client, template())


def test_a_stack_that_was_rolled_back_can_only_be_deleted(world, client):
    world.fails = "no capacity"
    stack = deploy(client, template(), "CREATE")
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    with refused("is in ROLLBACK_COMPLETE state and can not be updated"):
        change_set(client, template(size=2))
    assert delete(client, stack["StackId"])["StackStatus"] == "DELETE_COMPLETE"


def test_a_change_set_of_another_kind_is_refused(world, client):
    with refused("type IMPORT"):
        change_set(client, template(), "IMPORT")


def test_nothing_else_begins_while_something_is_under_way(world, client):
    change_set(client, template(), "CREATE", name="first")
    change_set(client, template(size=2), "CREATE", name="second")
    world.hold.clear()
    client.execute_change_set(StackName="S", ChangeSetName="first")
    assert world.held.wait(5)
    with refused("is in CREATE_IN_PROGRESS state"):
        client.execute_change_set(StackName="S", ChangeSetName="second")
    with refused("is in CREATE_IN_PROGRESS state"):
        change_set(client, template())
    with refused("cannot be deleted while in status CREATE_IN_PROGRESS"):
        client.delete_stack(StackName="S")
    world.hold.set()
    assert still(client)["StackStatus"] == "CREATE_COMPLETE"


# Templates


def test_a_template_may_be_read_from_its_address(world, client):
    world.templates["https://s3/t"] = template("B")
    client.create_change_set(StackName="S", ChangeSetName="cs", ChangeSetType="CREATE", TemplateURL="https://s3/t")
    client.execute_change_set(StackName="S", ChangeSetName="cs")
    assert still(client)["StackStatus"] == "CREATE_COMPLETE"
    assert [one["LogicalResourceId"] for one in client.describe_stack_resources(StackName="S")["StackResources"]] == [
        "B"
    ]


def test_the_previous_template_may_be_used_again(world, client):
    size = {"Size": {"Type": "String"}}
    body = {"Parameters": size, "Resources": {"A": {"Type": "Thing", "Properties": {"Size": {"Ref": "Size"}}}}}
    body["Outputs"] = {"O": {"Value": {"Ref": "Size"}}}
    deploy(client, json.dumps(body), "CREATE", Parameters=[{"ParameterKey": "Size", "ParameterValue": "1"}])
    given = [{"ParameterKey": "Size", "ParameterValue": "2"}]
    client.create_change_set(StackName="S", ChangeSetName="cs", UsePreviousTemplate=True, Parameters=given)
    client.execute_change_set(StackName="S", ChangeSetName="cs")
    stack = still(client)
    assert (stack["Outputs"][0]["OutputValue"], stack["Parameters"]) == ("2", given)


def test_a_previous_value_is_kept_when_the_default_changes(world, client):
    def body(default):
        outputs = {"O": {"Value": {"Ref": "P"}}}
        return template(Parameters={"P": {"Type": "String", "Default": default}}, Outputs=outputs, Description=default)

    deploy(client, body("old"), "CREATE")
    kept = deploy(client, body("new"), Parameters=[{"ParameterKey": "P", "UsePreviousValue": True}])
    assert kept["Outputs"][0]["OutputValue"] == "old"
    assert deploy(client, body("newer"))["Outputs"][0]["OutputValue"] == "newer"


def test_the_template_is_given_back_as_it_came(world, client):
    body = template(Description="mine")
    change_set(client, body, "CREATE")
    assert client.get_template(StackName="S")["TemplateBody"] == {}
    assert client.get_template(StackName="S", ChangeSetName="cs")["TemplateBody"] == json.loads(body)
    client.execute_change_set(StackName="S", ChangeSetName="cs")
    still(client)
    assert client.get_template(StackName="S", TemplateStage="Original")["TemplateBody"] == json.loads(body)


def test_a_template_may_be_yaml_whose_dates_are_text(world, client):
    body = "AWSTemplateFormatVersion: 2010-09-09\nResources:\n  A: {Type: Thing, Properties: {Size: 2012-10-17}}\n"
    outputs = "Outputs: {O: {Value: {'Fn::GetAtt': [A, Size]}}}\n"
    assert deploy(client, body + outputs, "CREATE")["Outputs"][0]["OutputValue"] == "2012-10-17"
    assert world.cloudformation.stack("S").parsed["AWSTemplateFormatVersion"] == "2010-09-09"


def test_a_template_is_summed_up(world, client):
    body = template(Parameters=VERSION, Description="mine")
    found = client.get_template_summary(TemplateBody=body)
    assert (found["ResourceTypes"], found["Description"]) == (["Thing"], "mine")
    (parameter,) = found["Parameters"]
    assert (parameter["ParameterKey"], parameter["DefaultValue"]) == ("Version", "/version")
    change_set(client, body, "CREATE")
    assert client.get_template_summary(StackName="S")["ResourceTypes"] == []
    client.execute_change_set(StackName="S", ChangeSetName="cs")
    still(client)
    assert client.get_template_summary(StackName="S")["ResourceTypes"] == ["Thing"]


def test_a_template_is_validated(world, client):
    client.validate_template(TemplateBody=template())
    with refused("section Transform"):
        client.validate_template(TemplateBody=template(Transform="X"))


# Stacks


def test_a_stack_of_an_unknown_name_does_not_exist(world, client):
    with refused("Stack with id Nowhere does not exist"):
        client.describe_stacks(StackName="Nowhere")


def test_all_stacks_are_those_that_stand(world, client):
    gone = deploy(client, template(), "CREATE")["StackId"]
    delete(client, gone)
    change_set(client, template(), "CREATE", stack="Other")
    assert [one["StackName"] for one in client.describe_stacks()["Stacks"]] == ["Other"]
    listed = client.list_stacks(StackStatusFilter=["DELETE_COMPLETE"])["StackSummaries"]
    assert [(one["StackId"], one["StackStatus"]) for one in listed] == [(gone, "DELETE_COMPLETE")]
    assert len(client.list_stacks()["StackSummaries"]) == 2


def test_parameters_are_shown_as_given_or_by_default(world, client):
    declared = {**VERSION, "Size": {"Type": "String", "Default": "1"}}
    given = [{"ParameterKey": "Size", "ParameterValue": "5"}]
    shown = deploy(client, template(Parameters=declared), "CREATE", Parameters=given)["Parameters"]
    assert {one["ParameterKey"]: one["ParameterValue"] for one in shown} == {"Version": "/version", "Size": "5"}


def test_events_come_newest_first(world, client):
    deploy(client, template(), "CREATE")
    events = client.describe_stack_events(StackName="S")["StackEvents"]
    assert [(one["LogicalResourceId"], one["ResourceStatus"]) for one in events] == [
        ("S", "CREATE_COMPLETE"),
        ("A", "CREATE_COMPLETE"),
        ("A", "CREATE_IN_PROGRESS"),
        ("S", "CREATE_IN_PROGRESS"),
    ]
    assert len({one["EventId"] for one in events}) == 4
    assert (events[1]["PhysicalResourceId"], events[1]["ResourceType"]) == ("A-id", "Thing")
    assert events[0]["Timestamp"] >= events[-1]["Timestamp"]


def test_an_event_says_why(world, client):
    world.fails = "no capacity <here> & now"
    stack = deploy(client, template(), "CREATE")
    reasons = [one.get("ResourceStatusReason") for one in client.describe_stack_events(StackName="S")["StackEvents"]]
    assert "no capacity <here> & now" in reasons
    assert "StackStatusReason" not in stack


def test_resources_are_listed_one_by_one_and_all(world, client):
    deploy(client, template("A", "B"), "CREATE")
    listed = client.list_stack_resources(StackName="S")["StackResourceSummaries"]
    assert {(one["LogicalResourceId"], one["PhysicalResourceId"], one["ResourceStatus"]) for one in listed} == {
        ("A", "A-id", "CREATE_COMPLETE"),
        ("B", "B-id", "CREATE_COMPLETE"),
    }
    (one,) = client.describe_stack_resources(StackName="S", LogicalResourceId="B")["StackResources"]
    assert one["PhysicalResourceId"] == "B-id"
    detail = client.describe_stack_resource(StackName="S", LogicalResourceId="A")["StackResourceDetail"]
    assert detail["ResourceType"] == "Thing"
    with refused("Resource C does not exist for stack S"):
        client.describe_stack_resource(StackName="S", LogicalResourceId="C")


# Deletion


def test_a_deleted_stack_is_known_by_its_id_alone(world, client):
    stack_id = deploy(client, template(), "CREATE")["StackId"]
    gone = delete(client, stack_id)
    assert gone["StackStatus"] == "DELETE_COMPLETE"
    assert gone["DeletionTime"] >= gone["CreationTime"]
    with refused("does not exist"):
        client.describe_stacks(StackName="S")


def test_deleting_again_or_what_is_not_there_is_no_error(world, client):
    stack_id = deploy(client, template(), "CREATE")["StackId"]
    delete(client, stack_id)
    client.delete_stack(StackName="S")
    client.delete_stack(StackName=stack_id)
    client.delete_stack(StackName="Nowhere")
    statuses = [one["ResourceStatus"] for one in client.describe_stack_events(StackName=stack_id)["StackEvents"]]
    assert statuses.count("DELETE_COMPLETE") == 2


def test_a_name_is_free_again_after_the_deletion(world, client):
    first = deploy(client, template(), "CREATE")["StackId"]
    delete(client, first)
    assert deploy(client, template(), "CREATE")["StackId"] != first


def test_a_protected_stack_is_not_deleted(world, client):
    stack_id = deploy(client, template(), "CREATE")["StackId"]
    client.update_termination_protection(StackName="S", EnableTerminationProtection=True)
    assert still(client)["EnableTerminationProtection"] is True
    with refused("cannot be deleted while TerminationProtection is enabled"):
        client.delete_stack(StackName="S")
    client.update_termination_protection(StackName="S", EnableTerminationProtection=False)
    assert delete(client, stack_id)["StackStatus"] == "DELETE_COMPLETE"


# The rest


def test_there_are_no_exports_and_no_policies(world, client):
    assert client.list_exports()["Exports"] == []
    deploy(client, template(), "CREATE")
    assert "StackPolicyBody" not in client.get_stack_policy(StackName="S")


def test_an_operation_that_is_not_emulated_is_refused_by_name(world, client):
    with refused("the rehearsal does not know CloudFormation's ListTypes", "InvalidAction"):
        client.list_types()


@pytest.mark.parametrize("form", [{"Action": ["<Odd>"]}, {}])
def test_what_is_no_operation_of_cloudformation_is_refused(world, form):
    status, body = world.cloudformation.answer(form)
    assert status == 400
    assert "<Code>InvalidAction</Code>" in body
    assert "<Odd>" not in body


@pytest.mark.parametrize(
    "address",
    [
        "https://assets.s3.eu-west-1.amazonaws.com/a/key%20b.json",
        "https://s3.eu-west-1.amazonaws.com/assets/a/key b.json",
        "http://127.0.0.1:4566/assets/a/key b.json",
        "https://assets.s3.cn-north-1.amazonaws.com.cn/a/key b.json",
    ],
)
def test_a_templates_address_is_a_bucket_and_a_key(address):
    assert bucket_and_key(address) == ("assets", "a/key b.json")
