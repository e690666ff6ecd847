"""The slow proof of a cluster by its name alone: the CDK's real command line looks it up in an emulated account."""

import json
import os
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import jmespath
import pytest

from eks_rehearsal import premade
from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.rehearse import Options, rehearse
from eks_rehearsal.stories import STORIES
from tests.rehearsal.test_rehearsals import Quiet
from tests.shapes import ACCOUNT, ROOT
from tests.until import until

pytestmark = pytest.mark.rehearsal

REGION = "us-west-2"
ISSUER = f"https://oidc.eks.{REGION}.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
BIN = Path(sys.executable).parent
# As the walk-through has it: Kubernetes 1.30, and access entries beside aws-auth.
WALKTHROUGH = {"Name": "mine", "KubernetesVersion": "1.30", "AuthenticationMode": "API_AND_CONFIG_MAP"}
PLATFORM = WALKTHROUGH | {"Name": "platform", "KubernetesVersion": "1.36"}
AS_WALKTHROUGH = ("-c", "profile=walkthrough-existing", "-c", "cluster.name=mine")
OWN_GROUP = "sg-0123456789abcdef1"


class Account:
    """An emulated account and a folder of a person who has its credentials."""

    def __init__(self, aws, folder):
        self.aws, self.folder = aws, folder
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CDK_"))}
        # The validator is of no interest here, and the command line remembers accounts past HOME.
        own = {"CDK_VALIDATION": "false", "CDK_DISABLE_CLI_TELEMETRY": "true", "CDK_HOME": str(folder / "cdk")}
        self.offline = plain | own | {"AWS_EC2_METADATA_DISABLED": "true"}
        keys = {"AWS_ACCESS_KEY_ID": "AKIAREHEARSALROOT001", "AWS_SECRET_ACCESS_KEY": "rehearsal"}
        self.environment = self.offline | keys | {"AWS_ENDPOINT_URL": aws.endpoint, "AWS_REGION": REGION}

    def has(self, facts, *, nodes=True):
        """Make the cluster as EKS shows it; no control plane is needed for a look-up."""
        client, name = self.aws.client, facts["Name"]
        for role in (f"{name}-cluster", f"{name}-nodes"):
            client("iam").create_role(RoleName=role, AssumeRolePolicyDocument='{"Statement": []}')
        _, subnets = premade.network(client, facts)
        premade.cluster(client, facts, subnets)
        eks = client("eks")
        assert until(lambda: eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE", 5)
        if nodes:
            premade.node_group(client, facts, subnets)

    def synth(self, app, *args, out="cdk.out", environment=None):
        command = [BIN / "cdk", "synth", "--quiet", "--no-notices", "--app", f"{sys.executable} {ROOT / app}"]
        return subprocess.run(
            [*command, "--output", str(self.folder / out), *args],
            cwd=self.folder,
            env=environment or self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def runs(self, command):
        """Run an `aws` command as its own command line does, which the environment does not have, and say its text."""
        program, service, operation, *words = shlex.split(command)
        given = dict(zip(words[::2], words[1::2], strict=True))
        assert (program, given.pop("--output"), given.pop("--region")) == ("aws", "text", REGION)
        query = given.pop("--query")
        assert (service, operation) == ("ec2", "describe-launch-template-versions")
        template, versions = given.pop("--launch-template-id"), given.pop("--versions").split()
        assert not given
        answer = self.aws.client(service).describe_launch_template_versions(
            LaunchTemplateId=template, Versions=versions
        )
        return "\t".join(jmespath.search(f"{query}[]", answer))

    @property
    def kept(self):
        return json.loads((self.folder / "cdk.context.json").read_text())

    @property
    def asked(self):
        return [call.action for call in self.aws.calls if call.service == "cloudcontrolapi"]


@pytest.fixture
def account(tmp_path):
    with emulated(tmp_path) as made:
        yield made


@contextmanager
def emulated(folder):
    def up(name, version, shown):
        return ClusterEndpoint("https://127.0.0.1:6443", "Q0E=", ISSUER)

    with EmulatedAws(region=REGION, account=ACCOUNT, hooks=Hooks(create_cluster=up)) as aws:
        yield Account(aws, folder)


@pytest.fixture(scope="module")
def looked_up(tmp_path_factory):
    """What came of a name alone, in an account that is gone."""
    with emulated(tmp_path_factory.mktemp("person")) as account:
        account.has(PLATFORM)
        ran = account.synth("examples/existing_cluster.py")
        assert ran.returncode == 0, ran.stderr
        account.said = ran.stderr
    return account


def test_a_name_is_looked_up_in_two_turns_and_kept(looked_up):
    # The cluster and the list; then the node group, and whether it has a launch template.
    assert looked_up.asked == ["GetResource", "ListResources", "GetResource", "GetResource"]
    assert looked_up.aws.unknown == []
    # That it has none is an error, which is not kept: the other answer tells it.
    assert len(looked_up.kept) == 3
    assert "launch template" not in looked_up.said


def test_what_was_kept_serves_without_credentials_and_without_aws(looked_up):
    nobody = looked_up.offline | {"CDK_DEFAULT_ACCOUNT": ACCOUNT, "AWS_REGION": REGION}
    ran = looked_up.synth("examples/existing_cluster.py", "--no-lookups", out="again", environment=nobody)
    assert ran.returncode == 0, ran.stderr
    first, again = (looked_up.folder / out / "Platform.template.json" for out in ("cdk.out", "again"))
    assert first.read_bytes() == again.read_bytes()


def scaled(assembly):
    """Play one GPU's coming and going on a cluster made as the template takes it to be; nothing may be left."""
    result = rehearse(assembly, Quiet(), Options(stories=[story for story in STORIES if story.name == "scale"]))
    assert [(one.name, one.verdict, one.reason) for one in result.outcomes] == [
        ("deploy", "passed", ""),
        ("scale", "passed", ""),
        ("destroy", "passed", ""),
    ]
    assert (result.left, result.unknown) == ((), ())
    return result


def test_a_stack_on_a_cluster_known_by_its_name_scales_and_leaves_nothing(looked_up):
    scaled(looked_up.folder / "cdk.out")


def test_the_walkthrough_plays_on_a_cluster_that_was_there(tmp_path):
    with emulated(tmp_path) as account:
        account.has(WALKTHROUGH)
        ran = account.synth("app.py", *AS_WALKTHROUGH)
        assert ran.returncode == 0, ran.stderr
    result = scaled(tmp_path / "cdk.out")
    assert (result.kubernetes, result.karpenter) == ("1.30.14", "1.0.1")


def test_the_security_groups_of_a_launch_template_are_found_by_the_command_that_is_said(account):
    account.has(WALKTHROUGH | {"SecurityGroupIds": [OWN_GROUP]})
    ran = account.synth("app.py", *AS_WALKTHROUGH)
    assert ran.returncode == 0, ran.stderr
    (warning,) = [line for line in ran.stderr.splitlines() if "has a launch template" in line]
    command = warning.partition('run "')[2].partition('"')[0]
    assert account.runs(command) == OWN_GROUP
    ran = account.synth("app.py", *AS_WALKTHROUGH, "-c", f"cluster.security_group_ids={OWN_GROUP}")
    assert ran.returncode == 0, ran.stderr
    assert "has a launch template" not in ran.stderr
    template = json.loads((account.folder / "cdk.out/EksGpuStack.template.json").read_text())
    (attached,) = (
        one["Properties"] for one in template["Resources"].values() if one["Type"] == "Custom::KarpenterGpuAttachment"
    )
    assert attached["SecurityGroupIds"] == [OWN_GROUP]


# What is there; what is asked for besides; and the sentence.
BAD = {
    "not there": (
        None,
        (),
        f"cluster.name: there is no EKS cluster 'mine' in account {ACCOUNT} and region {REGION}; see 'aws eks list-clusters",
    ),
    "in another region": (
        WALKTHROUGH,
        ("-c", "region=eu-west-1"),
        f"cluster.name: there is no EKS cluster 'mine' in account {ACCOUNT} and region eu-west-1; see 'aws eks list-clusters",
    ),
    "no node group": (
        WALKTHROUGH | {"nodes": False},
        (),
        f"cluster.node_group: 'mine' in account {ACCOUNT} and region {REGION} has no managed node group, and the controller",
    ),
    "no such node group": (
        WALKTHROUGH,
        ("-c", "cluster.node_group=sytsem"),
        "cluster.node_group: 'sytsem' is not a node group of cluster 'mine'; see 'aws eks list-nodegroups --cluster-name mine",
    ),
    "too old": (
        WALKTHROUGH | {"KubernetesVersion": "1.28"},
        (),
        "cluster.kubernetes_version: 'mine' runs Kubernetes 1.28, and this package knows 1.29 to 1.37; upgrade the cluster",
    ),
    "another version than was said": (
        WALKTHROUGH | {"KubernetesVersion": "1.31"},
        ("-c", "cluster.kubernetes_version=1.30"),
        "cluster.kubernetes_version: '1.30' was said, and 'mine' runs Kubernetes 1.31; say that, or leave it out",
    ),
    "aws-auth alone": (
        WALKTHROUGH | {"AuthenticationMode": "CONFIG_MAP"},
        (),
        "cluster.kubectl_role_arn: 'mine' lets in by aws-auth alone, where what runs kubectl has no entry; name a role",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_cluster_that_will_not_do_is_one_sentence_and_nothing_that_could_be_deployed(account, fault):
    facts, args, sentence = BAD[fault]
    if facts:
        account.has(facts, nodes=facts.get("nodes", True))
    ran = account.synth("app.py", *AS_WALKTHROUGH, *args)
    assert ran.returncode == 1
    said = [line.strip() for line in ran.stderr.splitlines() if line.startswith("  cluster.")]
    assert [line for line in said if line.startswith(sentence)] == said
    assert len(said) == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (account.folder / "cdk.out/manifest.json").exists()
    assert not list((account.folder / "cdk.out").glob("*.template.json"))
