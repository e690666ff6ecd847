"""Every function that changes something, driven as CloudFormation drives it: repeated, replaced, half done, rolled back."""

import copy
import urllib.error

import pytest
import yaml
from botocore.exceptions import ClientError

from tests.cdk.lifecycle import Resource, load
from tests.cdk.test_attach_handler import DISCOVERY, ISSUER, PROVIDER, aws, world  # noqa: F401 - fixtures
from tests.cdk.test_node_access_handler import Eks

ROLE = "arn:aws:iam::111122223333:role/nodes"
OTHERS = "- rolearn: arn:aws:iam::111122223333:role/theirs\n  username: theirs\n"


class Maps:
    """The aws-auth config maps of two clusters, either of which may be gone or refuse."""

    def __init__(self, text=OTHERS):
        self.maps = {
            name: {"metadata": {"name": "aws-auth", "resourceVersion": "1"}, "data": {"mapRoles": text}}
            for name in ("there", "other")
        }
        self.broken = False
        self.fails_after_write = False

    def api(self, cluster, _role):
        if cluster not in self.maps:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeCluster")
        if self.broken:
            raise PermissionError("the API answered 403")
        return type("Api", (), {"call": lambda _, *asked: self.call(cluster, *asked)})()

    def call(self, cluster, method, _path, body=None):
        if method == "GET":
            return copy.deepcopy(self.maps[cluster])
        self.maps[cluster] = copy.deepcopy(body)
        if self.fails_after_write:
            self.fails_after_write = False
            raise urllib.error.HTTPError("", 504, "Gateway Timeout", {}, None)
        return body

    def roles(self, cluster="there"):
        return [one["rolearn"].rpartition("/")[2] for one in yaml.safe_load(self.maps[cluster]["data"]["mapRoles"])]


def of(role, cluster="there"):
    return {"ClusterName": cluster, "RoleArn": f"arn:aws:iam::111122223333:role/{role}"}


@pytest.fixture(params=[False, True], ids=["once", "twice"])
def twice(request):
    return request.param


@pytest.fixture
def aws_auth(monkeypatch, twice):
    (module,) = load(monkeypatch, "aws_auth")
    maps = Maps()
    monkeypatch.setenv("KUBECTL_ROLE_ARN", "ops")
    monkeypatch.setattr(module, "Api", maps.api)
    return maps, Resource(monkeypatch, module.handler, twice=twice)


def test_an_entry_comes_once_and_goes_however_often_it_is_asked_for(aws_auth):
    maps, entry = aws_auth
    assert entry.create(of("nodes"))
    assert maps.roles() == ["nodes", "theirs"]
    assert entry.delete()
    assert maps.maps["there"]["data"]["mapRoles"] == OTHERS
    assert entry.delete()


@pytest.mark.parametrize("fails_later", [False, True])
def test_an_update_with_the_same_role_keeps_its_entry(aws_auth, fails_later):
    maps, entry = aws_auth
    entry.create(of("nodes"))
    entry.update(of("nodes") | {"More": "x"}, fails_later=fails_later)
    assert maps.roles() == ["nodes", "theirs"]
    assert entry.delete()
    assert maps.roles() == ["theirs"]


def test_another_role_replaces_the_entry_and_a_rollback_puts_it_back(aws_auth):
    maps, entry = aws_auth
    entry.create(of("nodes"))
    assert not entry.update(of("more"), fails_later=True)
    assert maps.roles() == ["nodes", "theirs"]
    assert entry.update(of("more"))
    assert maps.roles() == ["more", "theirs"]
    assert entry.delete()
    assert maps.roles() == ["theirs"]


def test_another_cluster_gets_the_entry_and_the_first_one_loses_it(aws_auth):
    maps, entry = aws_auth
    entry.create(of("nodes"))
    assert entry.update(of("nodes", "other"))
    assert (maps.roles(), maps.roles("other")) == (["theirs"], ["nodes", "theirs"])


def test_an_update_that_fails_behind_its_write_leaves_nothing(aws_auth, twice):
    maps, entry = aws_auth
    entry.create(of("nodes"))
    maps.fails_after_write = True
    entry.update(of("more"), fails_later=twice)
    assert maps.roles() == ["nodes", "theirs"]


def test_an_entry_of_others_is_used_through_every_update_and_stays(monkeypatch, aws_auth):
    maps, entry = aws_auth
    entry.create(of("theirs"))
    assert entry.update(of("nodes"))
    assert entry.update(of("theirs"))
    assert entry.delete()
    assert maps.maps["there"]["data"]["mapRoles"] == OTHERS


def test_what_was_never_made_keeps_no_rollback(aws_auth):
    maps, entry = aws_auth
    maps.broken = True
    assert not entry.create(of("nodes"))
    entry.id = "Platform-Entry-0A1B2C"  # as CloudFormation calls what never answered
    assert entry.delete()


def test_what_cannot_be_removed_is_said(aws_auth):
    maps, entry = aws_auth
    entry.create(of("nodes"))
    maps.broken = True
    assert not entry.delete()
    assert "answered 403" in entry.reasons[-1]
    maps.broken = False
    assert entry.delete()
    assert maps.roles() == ["theirs"]


def test_with_the_cluster_its_entries_are_gone(aws_auth):
    maps, entry = aws_auth
    entry.create(of("nodes"))
    maps.maps.clear()
    assert entry.delete()


@pytest.fixture
def node_access(monkeypatch, twice):
    (module,) = load(monkeypatch, "node_access")
    eks = Eks()
    monkeypatch.setattr(module.aws, "client", lambda _: eks)
    return eks, Resource(monkeypatch, module.handler, twice=twice)


def entries(eks):
    return sorted(role.rpartition("/")[2] for _, role in eks.entries)


def test_an_access_entry_follows_its_role_and_is_put_back_by_a_rollback(node_access):
    eks, entry = node_access
    assert entry.create(of("nodes") | {"Stack": "Platform"})
    assert not entry.update(of("more") | {"Stack": "Platform"}, fails_later=True)
    assert entries(eks) == ["nodes"]
    assert entry.update(of("more") | {"Stack": "Platform"})
    assert entries(eks) == ["more"]
    assert entry.update(of("more") | {"Stack": "Platform", "More": "x"})
    assert entry.delete()
    assert entry.delete()
    assert entries(eks) == []


def test_an_access_entry_of_an_update_that_never_answered_goes_with_its_rollback(node_access):
    eks, entry = node_access
    entry.create(of("nodes") | {"Stack": "Platform"})
    eks.create_access_entry(
        clusterName="there", principalArn=f"{ROLE}-2", type="EC2_LINUX", tags={"karpenter-gpu/made-by": "Platform"}
    )
    half = of("nodes-2") | {"Stack": "Platform"}
    assert entry._send("Update", entry.properties, half, entry.id) == (True, entry.id)
    assert entries(eks) == ["nodes"]


@pytest.fixture
def attachment(world, monkeypatch):  # noqa: F811
    (module,) = load(monkeypatch, "attach")
    monkeypatch.setattr(module.aws, "status_of", lambda _: "UPDATE_IN_PROGRESS")
    return Resource(monkeypatch, module.handler, twice=True), module


def tagged(world):  # noqa: F811
    return [id for id in (*world.subnets, world.group) if DISCOVERY in world.tags(id)]


CHANGES = {
    "fewer subnets": lambda there: {"SubnetIds": there.subnets[:1]},
    "no tags": lambda _: {"Discovery": "ids"},
    "another mode of identity": lambda _: {"OidcIssuer": None, "OidcProviderArn": None},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails_later", [False, True])
def test_what_a_stack_tags_follows_its_properties_and_goes_with_it(world, attachment, change, fails_later):  # noqa: F811
    attached, _ = attachment
    first = world.wanted(OidcIssuer=ISSUER, OidcProviderArn=PROVIDER)
    then = {key: value for key, value in (first | CHANGES[change](world)).items() if value is not None}
    assert attached.create(first)
    assert attached.update(then, fails_later=fails_later) is not fails_later
    now = first if fails_later else then
    wanted = [*now["SubnetIds"], world.group] if now["Discovery"] == "tags" else []
    assert tagged(world) == wanted
    assert world.providers() == ([PROVIDER] if "OidcProviderArn" in now else [])
    assert attached.delete()
    assert attached.delete()
    assert (tagged(world), world.providers()) == ([], [])


def test_an_old_provider_goes_when_another_comes(world, attachment):  # noqa: F811
    attached, module = attachment
    module.cluster_faults = lambda _: ()
    other = PROVIDER.replace("0123456789ABCDEF", "FEDCBA9876543210")
    attached.create(world.wanted(OidcIssuer=ISSUER, OidcProviderArn=PROVIDER))
    there = world.wanted(OidcIssuer=ISSUER.replace("0123456789ABCDEF", "FEDCBA9876543210"), OidcProviderArn=other)
    assert attached.update(there)
    assert world.providers() == [other]
    assert attached.delete()


def test_what_another_stack_marked_stays_tagged(world, attachment):  # noqa: F811
    attached, _ = attachment
    attached.create(world.wanted())
    world.ec2.create_tags(Resources=[world.group], Tags=[{"Key": "karpenter-gpu/made-by", "Value": "another"}])
    assert attached.delete()
    assert tagged(world) == [world.group]
    world.ec2.delete_tags(Resources=[world.group])


def twin(id, status):
    """The stack's list of resources: this one, and one under another construct id."""
    common = {"ResourceType": "Custom::KarpenterGpuAttachment", "PhysicalResourceId": id}
    of_both = {"Resource": "DELETE_IN_PROGRESS", "Old": status}
    listed = [{**common, "LogicalResourceId": name, "ResourceStatus": one} for name, one in of_both.items()]
    return lambda _: {"StackResourceSummaries": listed}


@pytest.mark.parametrize(("status", "stays"), [("CREATE_COMPLETE", True), ("DELETE_IN_PROGRESS", False)])
def test_what_another_attachment_of_the_stack_has_stays_when_one_is_rolled_back(world, attachment, status, stays):  # noqa: F811
    attached, _ = attachment
    attached.create(world.wanted(OidcIssuer=ISSUER, OidcProviderArn=PROVIDER))
    operations = world.aws.extensions.operations
    operations["cloudformation", "ListStackResources"] = twin(attached.id, status)
    assert attached.delete()
    del operations["cloudformation", "ListStackResources"]
    assert (bool(tagged(world)), bool(world.providers())) == (stays, stays)
    assert attached.delete()


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_IN_PROGRESS", ""], ids=["seen", "CloudFormation not reached"])
def test_what_is_found_wrong_keeps_an_update_and_no_rollback(world, attachment, monkeypatch, capsys, status):  # noqa: F811
    attached, module = attachment
    attached.create(world.wanted())
    gone = world.wanted(AuthenticationMode="CONFIG_MAP")
    assert not attached._send("Update", gone, world.wanted(), attached.id)[0]
    monkeypatch.setattr(module.aws, "status_of", lambda _: status)
    capsys.readouterr()
    assert attached._send("Update", gone, world.wanted(), attached.id)[0]
    assert "has authentication mode API_AND_CONFIG_MAP" in capsys.readouterr().out
    assert not attached._send("Create", gone)[0]
    attached.delete()


def test_a_failed_creation_is_rolled_back_and_changes_nothing(world, attachment):  # noqa: F811
    attached, _ = attachment
    assert not attached.create(world.wanted(ClusterName="nowhere"))
    assert tagged(world) == []
