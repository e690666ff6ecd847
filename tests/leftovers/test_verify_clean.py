"""The command itself: what it refuses, what it could not look at, and what it says of an account where little is left."""

import subprocess
import sys
from pathlib import Path

import pytest
from botocore.config import Config

from eks_rehearsal.aws.wire import AwsError
from karpenter_gpu import cli
from karpenter_gpu.leftovers.kinds import KINDS
from tests.leftovers.command import asking, document, run
from tests.leftovers.plants import (
    Ground,
    Plant,
    cluster,
    emulated,
    launch_template,
    log_group,
    queue,
    snapshot,
    stack,
    volume,
)

ROOT = Path(__file__).parents[2]
DENIED, EXPIRED, UNKNOWN = "AccessDenied", "ExpiredToken", "InvalidClientTokenId"


@pytest.fixture(scope="module")
def aws():
    with emulated() as running, asking(running) as patch:
        # A service that cannot be reached is asked once.
        config = {"retries": {"total_max_attempts": 1}}
        patch.setattr("karpenter_gpu.leftovers.account._CONFIG", Config(**config))
        running.ground = Ground(running)
        yield running


@pytest.fixture
def answer(aws):
    """Answers one operation otherwise while a test runs."""
    before = dict(aws.extensions.operations)

    def set_(service, action, said):
        aws.extensions.operations[service, action] = said

    yield set_
    aws.extensions.operations.clear()
    aws.extensions.operations.update(before)


def refusing(code, status=403):
    def refuse(call):
        raise AwsError(code, "no", status=status)

    return refuse


def test_nothing_left_is_clean_and_a_cluster_that_eks_does_not_know_is_said(aws):
    code, said = run(cluster="never")
    assert code == 0, said
    assert "EKS knows no cluster never in eu-west-1; it has none" in said


def test_data_stays_until_it_is_asked_for(aws):
    one = Plant(aws.ground, "data", {"kubernetes.io/cluster/data": "owned"})
    volume(one)
    snapshot(one)
    log_group(one)
    launch_template(one)
    claimed = Plant(aws.ground, "claim", {**one.tags, "CSIVolumeName": "pvc-1"})
    volume(claimed)
    code, said = document("--delete", "--yes", cluster="data")
    assert code == 1
    assert sorted(one["kind"] for one in said["removed"]) == ["launch template", "volume"]
    assert {one["kept"] for one in said["left"]} == {"it holds data; --with-data deletes it"}
    assert sorted(one["kind"] for one in said["left"]) == ["log group", "snapshot", "volume"]
    code, said = document("--delete", "--yes", "--with-data", cluster="data")
    assert (code, said["left"], said["clean"]) == (0, [], True)


def test_one_that_cannot_be_deleted_says_why_and_the_others_go(aws, answer):
    one = Plant(aws.ground, "part", {"kubernetes.io/cluster/part": "owned"})
    launch_template(one)
    queue(one)
    answer("ec2", "DeleteLaunchTemplate", refusing("UnauthorizedOperation"))
    code, said = document("--delete", "--yes", cluster="part")
    assert code == 1
    assert [one["kept"] for one in said["left"]] == ["these credentials may not call DeleteLaunchTemplate"]
    assert [one["kind"] for one in said["removed"]] == ["queue"]


# What is looked at, what is answered, and what is said of it.
UNSEEN = [
    ("role", "iam", "ListRoles", refusing(DENIED), "these credentials may not call ListRoles"),
    ("volume", "ec2", "DescribeVolumes", refusing("UnauthorizedOperation"), "these credentials may not call DescribeVolumes"),
    ("queue, log group, KMS key", "tagging", "GetResources", refusing("AccessDeniedException"), "these credentials may not call GetResources"),
    ("instance", "ec2", "DescribeInstances", refusing("RequestExpired"), "the credentials have expired; get new ones"),
    ("KMS alias", "kms", "ListAliases", refusing("DisabledException", 400), "ListAliases fails with DisabledException: no"),
    ("NAT gateway", "ec2", "DescribeNatGateways", lambda _: {"NatGateways": [{"State": "available"}]}, "it failed with KeyError: 'NatGatewayId'"),
]  # fmt: skip


def test_what_could_not_be_looked_at_is_said_and_is_not_clean(aws, answer, monkeypatch):
    for _, service, action, said, _ in UNSEEN:
        answer(service, action, said)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", "http://127.0.0.1:9")
    code, told = run(cluster="never")
    assert code == 2
    for kinds, *_, why in UNSEEN:
        assert f"not looked at: {kinds}: {why}" in told
    assert 'not looked at: event rule: Could not connect to the endpoint URL: "http://127.0.0.1:9/"' in told
    assert "nothing is left" not in told


def test_one_service_that_could_not_be_looked_at_is_enough_for_that(aws, answer):
    answer("iam", "ListRoles", refusing(DENIED))
    assert document(cluster="never")[0] == 2


def test_a_person_who_may_not_list_clusters_still_hears_that_nothing_is_left(aws, answer):
    answer("eks", "ListClusters", refusing("AccessDeniedException"))
    code, said = run(cluster="never")
    assert code == 0
    assert "EKS knows no cluster never in eu-west-1; others: these credentials may not call ListClusters" in said


def test_whether_the_cluster_exists_must_be_seen_before_anything_is_deleted(aws, answer):
    launch_template(Plant(aws.ground, "blind", {"kubernetes.io/cluster/blind": "owned"}))
    answer("eks", "DescribeCluster", refusing("AccessDeniedException"))
    code, said = run("--delete", "--yes", cluster="blind")
    assert code == 2
    assert (
        "whether cluster blind still exists could not be seen (these credentials may not call DescribeCluster)" in said
    )
    assert aws.client("ec2").describe_launch_templates(LaunchTemplateNames=["blind"])["LaunchTemplates"]


def answered(monkeypatch, meanwhile):
    """Somebody at a terminal, who says yes after something has happened."""
    monkeypatch.setattr("karpenter_gpu.commands._check", lambda *_, **__: None)
    monkeypatch.setattr("typer.confirm", lambda _: meanwhile() or True)


def test_a_cluster_that_came_while_it_asked_is_not_deleted_from(aws, monkeypatch):
    one = Plant(aws.ground, "back", {"kubernetes.io/cluster/back": "owned"}, "back")
    launch_template(one)
    answered(monkeypatch, lambda: cluster(one))
    code, said = run("--delete", cluster="back")
    assert code == 2
    assert "cluster back exists in eu-west-1 and is ACTIVE, so nothing is deleted" in said
    assert aws.client("ec2").describe_launch_templates(LaunchTemplateNames=["back"])["LaunchTemplates"]


def test_of_what_was_asked_about_only_that_is_deleted_which_still_may_be(aws, monkeypatch):
    """One volume gets the mark of a stack that lives, another one is made, and the third goes."""
    goes, marked, new = (Plant(aws.ground, "slow", {"kubernetes.io/cluster/slow": "owned"}) for _ in range(3))
    volume(goes)
    volume(marked)
    stack(Plant(aws.ground, "lives", {}))

    def meanwhile():
        mark = [{"Key": "karpenter-gpu/made-by", "Value": "lives"}]
        aws.client("ec2").create_tags(Resources=[marked._seen["volume"]], Tags=mark)
        volume(new)

    answered(monkeypatch, meanwhile)
    code, said = run("--delete", cluster="slow")
    assert code == 1
    assert f"deleted volume {goes._seen['volume']}" in said
    left = {one["id"]: one["kept"] for one in document(cluster="slow")[1]["left"]}
    living = "stack lives made it and is in CREATE_COMPLETE: delete that stack"
    assert left == {marked._seen["volume"]: living, new._seen["volume"]: ""}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--cluster", "a/b"), "'a/b' is not the name of an EKS cluster"),
        (("--region", "eu-wst-1"), "boto3 knows no region eu-wst-1; did you mean eu-west-1?"),
        (
            ("--region", "moon-base-1"),
            "boto3 knows no region moon-base-1; a region newer than your boto3 needs a newer one",
        ),
        (("--region", ""), "there is no region; give --region, or set AWS_REGION or the profile's region"),
        (("--yes", "--with-data"), "--yes and --with-data mean something with --delete alone"),
        (("--delete",), "there is no terminal to ask on; add --yes"),
    ],
)
def test_bad_input_is_one_sentence(aws, args, sentence):
    code, said = run(*args)
    assert (code, sentence in said) == (2, True), said
    assert len(said.splitlines()) == 1


def test_the_region_of_the_environment_is_taken(aws, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert document(cluster="never", region="")[1]["region"] == "eu-central-1"


def _no_credentials(_, patch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.delenv(name)


def _of_profile(text):
    def set_(folder, patch):
        _no_credentials(folder, patch)
        (folder / "config").write_text(f"[profile dev]\n{text}")
        patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
        patch.setenv("AWS_PROFILE", "dev")
        patch.setenv("HOME", str(folder))

    return set_


SSO = """sso_session = s
sso_account_id = 123456789012
sso_role_name = r
[sso-session s]
sso_region = eu-west-1
sso_start_url = https://x.awsapps.com/start
"""
# What is wrong with who asks, and the way out.
CREDENTIALS = {
    "none": (_no_credentials, "there are no AWS credentials; run aws sso login or aws configure, or set AWS_PROFILE"),
    "half": (lambda _, patch: patch.delenv("AWS_SECRET_ACCESS_KEY"), "Partial credentials found in env, missing: AWS_SECRET"),
    "profile": (lambda _, patch: patch.setenv("AWS_PROFILE", "nobody"), "The config profile (nobody) could not be found"),
    "sso": (_of_profile(SSO), "the SSO session cannot be used; run aws sso login, with your profile"),
    "process": (_of_profile("credential_process = false\n"), "Error when retrieving credentials from custom-process"),
    "url": (lambda _, patch: patch.setenv("AWS_ENDPOINT_URL", "nowhere"), "it failed with ValueError: Invalid endpoint: nowhere"),
    "network": (
        lambda _, patch: patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        'AWS cannot be asked who you are: Could not connect to the endpoint URL: "http://127.0.0.1:9/"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", CREDENTIALS)
def test_who_cannot_ask_is_told_the_way_out_in_one_sentence(aws, monkeypatch, tmp_path, wrong):
    break_, sentence = CREDENTIALS[wrong]
    break_(tmp_path, monkeypatch)
    code, said = run()
    assert (code, sentence in said) == (2, True), said
    assert len(said.splitlines()) == 1


def test_credentials_that_have_expired_are_one_sentence(aws, answer):
    answer("sts", "GetCallerIdentity", refusing(EXPIRED))
    code, said = run()
    assert code == 2
    assert "the credentials have expired; get new ones, with aws sso login" in said


@pytest.mark.parametrize("region", ["ap-east-1", "cn-north-1"])
def test_a_region_that_is_not_enabled_is_told_from_credentials_that_nobody_knows(aws, answer, region):
    known = aws.extensions.operations["sts", "GetCallerIdentity"]
    answer("sts", "GetCallerIdentity", lambda call: refusing(UNKNOWN)(call) if call.region == region else known(call))
    assert f"region {region} is not enabled for this account" in run(region=region)[1]
    answer("sts", "GetCallerIdentity", refusing(UNKNOWN))
    assert "AWS cannot be asked who you are: GetCallerIdentity fails with InvalidClientTokenId" in run(region=region)[1]


def test_every_kind_is_deleted_or_says_why_not():
    assert [kind.name for kind in KINDS if not (kind.delete or kind.kept or kind.names)] == []
    assert [kind.name for kind in KINDS if bool(kind.delete) != bool(kind.writes)] == []


def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(cli, "NEEDED", ("json", "no_such_module"))
    with pytest.raises(SystemExit, match=r"pip install 'karpenter-gpu\[cli\]'"):
        cli.main()


def test_the_command_starts_without_what_takes_long_to_import():
    said = (
        "import sys, karpenter_gpu.cli, karpenter_gpu.commands; print({'aws_cdk', 'jsii', 'boto3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
