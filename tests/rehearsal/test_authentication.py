import base64
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from eks_rehearsal.cluster.authentication import PREFIX, Authenticator, NotAuthenticated, RoleSession, User
from eks_rehearsal.cluster.nodes import eks_token

ROLE = "arn:aws:iam::123456789012:role/path/to/Karpenter"
NODE = "arn:aws:iam::123456789012:role/node"
KEYS = {"AWS_ACCESS_KEY_ID": "ASIAKEY", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "to/ken=+"}
HUMAN = RoleSession(ROLE, "session")
NOT_FOUND = type("ResourceNotFoundException", (Exception,), {})


class World:
    """An EKS of one cluster `gpu`, its aws-auth, and who holds the key ASIAKEY."""

    def __init__(self, mode="API_AND_CONFIG_MAP", *, caller=HUMAN, entries=None, roles=None, creator=""):
        self.mode = mode
        self.entries = entries or {}
        self.policies = []
        self.exceptions = SimpleNamespace(ResourceNotFoundException=NOT_FOUND)
        self.roles = roles
        self.who = Authenticator(
            caller=lambda key: caller if key == "ASIAKEY" else None,
            eks=self,
            private_dns=lambda instance: f"ip-{instance}.ec2.internal",
            kube=lambda _: self,
            creator=lambda cluster: creator if cluster == "gpu" else "",
        )

    def describe_cluster(self, name):
        assert name == "gpu"
        return {"cluster": {"accessConfig": {"authenticationMode": self.mode}}}

    def describe_access_entry(self, clusterName, principalArn):  # noqa: N803
        assert clusterName == "gpu"
        if principalArn not in self.entries:
            raise NOT_FOUND(principalArn)
        return {"accessEntry": {"type": "STANDARD", **self.entries[principalArn]}}

    def list_associated_access_policies(self, clusterName, principalArn):  # noqa: N803
        assert (clusterName, principalArn) == ("gpu", ROLE)
        return {"associatedAccessPolicies": self.policies}

    def find(self, path):
        assert path == "/api/v1/namespaces/kube-system/configmaps/aws-auth"
        return self.roles if self.roles is None else {"data": {"mapRoles": self.roles}}

    def user(self, token=None):
        return self.who.user("gpu", token or eks_token(KEYS, "gpu", "eu-west-1"))


def policy(name, scope="cluster"):
    return {"policyArn": f"arn:aws:eks::aws:cluster-access-policy/{name}", "accessScope": {"type": scope}}


# Access entries


def test_an_access_entry_gives_its_user_and_groups():
    entry = {"username": "me:{{SessionName}}", "kubernetesGroups": ["viewers", "others"]}
    assert World(entries={ROLE: entry}).user() == User("me:session", ("viewers", "others"))


def test_an_entrys_policies_are_groups_that_the_control_plane_binds():
    world = World(entries={ROLE: {"username": "me", "kubernetesGroups": ["viewers"]}})
    world.policies = [policy("AmazonEKSClusterAdminPolicy"), policy("AmazonEKSViewPolicy")]
    assert world.user().groups == ("viewers", "eks:AmazonEKSClusterAdminPolicy", "eks:AmazonEKSViewPolicy")


@pytest.mark.parametrize("kind", ["EC2_LINUX", "EC2_WINDOWS"])
def test_an_entry_for_nodes_makes_an_instance_its_node(kind):
    world = World(caller=RoleSession(NODE, "i-1"), entries={NODE: {"type": kind}})
    assert world.user() == User("system:node:ip-i-1.ec2.internal", ("system:nodes",))


def test_an_entry_for_fargate_makes_a_pods_role_the_node_that_its_session_names():
    world = World(caller=RoleSession(NODE, "fargate-ip-10-0-0-4"), entries={NODE: {"type": "FARGATE_LINUX"}})
    assert world.user() == User("system:node:fargate-ip-10-0-0-4", ("system:nodes",))


# aws-auth

NODES = f"""
- rolearn: {NODE}
  username: system:node:{{{{EC2PrivateDNSName}}}}
  groups: [system:bootstrappers, system:nodes]
- rolearn: arn:aws:iam::123456789012:role/Karpenter
  username: admin:{{{{SessionName}}}}
  groups: [system:masters]
- rolearn: arn:aws:iam::123456789012:role/plain
  username: plain
"""


def test_aws_auth_maps_a_nodes_role_to_its_node():
    world = World(caller=RoleSession(NODE, "i-1"), roles=NODES)
    assert world.user() == User("system:node:ip-i-1.ec2.internal", ("system:bootstrappers", "system:nodes"))


def test_aws_auth_names_a_role_without_its_path():
    assert World(roles=NODES).user() == User("admin:session", ("system:masters",))


def test_aws_auth_with_the_path_maps_nothing():
    with pytest.raises(NotAuthenticated):
        World(roles=NODES.replace("role/Karpenter", "role/path/to/Karpenter")).user()


def test_a_mapping_may_have_no_groups():
    world = World(caller=RoleSession("arn:aws:iam::123456789012:role/plain", "s"), roles=NODES)
    assert world.user() == User("plain", ())


# Which of them counts

ENTRY = {ROLE: {"username": "by entry"}}


def test_an_access_entry_comes_before_aws_auth():
    assert World(entries=ENTRY, roles=NODES).user().name == "by entry"


def test_aws_auth_counts_when_there_is_no_entry():
    assert World(roles=NODES).user().name == "admin:session"


def test_entries_do_not_count_in_the_mode_config_map():
    assert World("CONFIG_MAP", entries=ENTRY, roles=NODES).user().name == "admin:session"


def test_aws_auth_does_not_count_in_the_mode_api():
    with pytest.raises(NotAuthenticated):
        World("API", roles=NODES).user()


# Who made the cluster


def test_who_made_a_cluster_that_knows_aws_auth_alone_is_its_administrator_whatever_is_in_there():
    for roles in (None, "[]", NODES.replace("role/Karpenter", "role/other")):
        assert World("CONFIG_MAP", roles=roles, creator=ROLE).user() == User("kubernetes-admin", ("system:masters",))


def test_whom_aws_auth_maps_comes_before_who_made_the_cluster():
    assert World("CONFIG_MAP", roles=NODES, creator=ROLE).user().name == "admin:session"


@pytest.mark.parametrize("mode", ["API", "API_AND_CONFIG_MAP"])
def test_where_there_are_access_entries_who_made_the_cluster_needs_one(mode):
    with pytest.raises(NotAuthenticated):
        World(mode, creator=ROLE).user()


def test_another_than_who_made_the_cluster_is_refused():
    with pytest.raises(NotAuthenticated, match="no aws-auth mapping"):
        World("CONFIG_MAP", creator=NODE).user()


# Who is refused


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        ("API", "access entry"),
        ("CONFIG_MAP", "aws-auth mapping"),
        ("API_AND_CONFIG_MAP", "access entry or aws-auth mapping"),
    ],
)
def test_a_role_that_is_not_mapped_is_refused_with_what_it_lacks_and_where(mode, what):
    with pytest.raises(NotAuthenticated) as refused:
        World(mode).user()
    assert str(refused.value) == f"{ROLE} has no {what} in cluster gpu, so it may not enter"


def test_a_key_of_no_role_is_refused():
    with pytest.raises(NotAuthenticated, match="the access key AKIAOTHER belongs to no role"):
        World().user(eks_token({**KEYS, "AWS_ACCESS_KEY_ID": "AKIAOTHER"}, "gpu", "eu-west-1"))


def encoded(url):
    return PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def url_of(token):
    text = token.removeprefix(PREFIX)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def signed(minutes_ago):
    url = url_of(eks_token(KEYS, "gpu", "eu-west-1"))
    date = url.split("X-Amz-Date=")[1].split("&")[0]
    return encoded(url.replace(date, f"{datetime.now(timezone.utc) - timedelta(minutes=minutes_ago):%Y%m%dT%H%M%SZ}"))


def test_a_token_lives_for_15_minutes():
    world = World(entries=ENTRY)
    assert world.user(signed(14)).name == "by entry"
    with pytest.raises(NotAuthenticated, match="older than 15 minutes"):
        world.user(signed(16))


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("eyJhbGciOiJSUzI1NiJ9.e30.x", "not one of EKS"),
        (PREFIX, "holds no signed URL"),
        (PREFIX + "!", "holds no signed URL"),
        (PREFIX + "a", "holds no signed URL"),
        (PREFIX + "_w", "holds no signed URL"),
        (encoded("https://sts.amazonaws.com/?X-Amz-Date=today&X-Amz-Credential=k"), "holds no signed URL"),
    ],
)
def test_what_is_no_token_is_refused(token, said):
    with pytest.raises(NotAuthenticated, match=said):
        World(entries=ENTRY).user(token)


@pytest.mark.parametrize("part", ["GetCallerIdentity", "x-k8s-aws-id"])
def test_a_signed_url_of_anything_else_is_refused(part):
    with pytest.raises(NotAuthenticated, match="not a GetCallerIdentity that names a cluster"):
        World(entries=ENTRY).user(encoded(url_of(signed(0)).replace(part, "Other")))


# What the API server is told


def review(world, token):
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    return world.who.review("gpu", asked)


def test_the_api_server_is_told_the_user():
    told = review(World(entries=ENTRY), signed(0))
    assert told == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "status": {"authenticated": True, "user": {"username": "by entry", "groups": []}},
    }


def test_the_api_server_is_told_why_not():
    told = review(World(), signed(0))
    assert not told["status"]["authenticated"]
    assert told["status"]["error"].startswith(f"{ROLE} has no access entry or aws-auth mapping in cluster gpu")
