import json
from pathlib import Path

import pytest

from eks_rehearsal import existing_cluster
from eks_rehearsal.assembly import CLUSTER_V1, HELM_CHART, Assembly, Chart
from eks_rehearsal.errors import NotEmulated, RehearsalError
from eks_rehearsal.rehearse import rehearse


def stack(environment="aws://111122223333/eu-west-1", resources=None, **properties):
    return {"environment": environment, "resources": resources or {}, "properties": properties}


@pytest.fixture
def written(tmp_path):
    """Writes a cdk.out and reads it."""

    def write(**stacks):
        artifacts = {"Tree": {"type": "cdk:tree", "properties": {"file": "tree.json"}}}
        for id, made in stacks.items():
            file = f"{id}.template.json"
            (tmp_path / file).write_text(json.dumps({"Resources": made["resources"]}))
            artifacts[id] = {
                "type": "aws:cloudformation:stack",
                "environment": made["environment"],
                "properties": {"templateFile": file, **made["properties"]},
                **({"displayName": f"App/{id}"} if id.startswith("Nested") else {}),
            }
        (tmp_path / "manifest.json").write_text(json.dumps({"version": "1", "artifacts": artifacts}))
        return Assembly.read(tmp_path)

    return write


def helm(repository="oci://public.ecr.aws/karpenter/karpenter", version="1.14.3", release="karpenter"):
    properties = {"Repository": repository, "Release": release, "Chart": release}
    return {"Type": HELM_CHART, "Properties": {**properties, **({"Version": version} if version else {})}}


def test_a_stack_has_its_names_its_environment_and_its_template(written):
    assembly = written(Gpu=stack(stackName="gpu-stack", resources={"A": {"Type": "T", "Properties": {"P": 1}}}))
    (one,) = assembly.stacks
    assert (one.id, one.name, one.account, one.region) == ("Gpu", "gpu-stack", "111122223333", "eu-west-1")
    assert list(one.resources("T")) == [{"P": 1}]
    assert list(one.resources("Other")) == []


def test_a_stack_without_a_name_has_its_ids_and_one_deep_in_the_app_its_path(written):
    named, deep = written(Gpu=stack(), NestedGpu=stack()).stacks
    assert (named.id, named.name) == ("Gpu", "Gpu")
    assert (deep.id, deep.name) == ("App/NestedGpu", "NestedGpu")


def test_the_assembly_is_for_the_environment_of_its_stacks(written):
    assembly = written(A=stack(), B=stack("aws://unknown-account/unknown-region"))
    assert (assembly.region, assembly.account) == ("eu-west-1", "111122223333")


def test_an_assembly_for_any_environment_gets_one(written):
    assembly = written(A=stack("aws://unknown-account/unknown-region"))
    assert (assembly.region, assembly.account) == ("us-east-1", "123456789012")


def test_two_regions_are_refused_by_name(written):
    assembly = written(A=stack(), B=stack("aws://111122223333/us-west-2"))
    assert assembly.account == "111122223333"
    with pytest.raises(RehearsalError, match="more than one region: eu-west-1, us-west-2"):
        _ = assembly.region


def test_two_accounts_are_refused_by_name(written):
    assembly = written(A=stack(), B=stack("aws://444455556666/eu-west-1"))
    with pytest.raises(RehearsalError, match="more than one account: 111122223333, 444455556666"):
        _ = assembly.account


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(RehearsalError, match="holds no manifest.json, so it is not what 'cdk synth' writes") as refused:
        Assembly.read(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_an_assembly_without_a_stack_is_refused(written):
    with pytest.raises(RehearsalError, match="holds no stack"):
        written()


def test_charts_are_those_of_oci_registries(written):
    resources = {
        "Karpenter": helm(),
        "Web": helm("https://charts.example.com"),
        "Local": {"Type": HELM_CHART, "Properties": {"ChartAssetURL": "s3://x", "Release": "local"}},
        "Plugin": helm("oci://ghcr.io/nvidia/plugin", "", "plugin"),
    }
    karpenter, plugin = written(A=stack(resources=resources)).charts
    assert karpenter == Chart("oci://public.ecr.aws/karpenter/karpenter", "karpenter", "1.14.3")
    assert (karpenter.host, karpenter.path) == ("public.ecr.aws", "karpenter/karpenter")
    assert (plugin.host, plugin.path, plugin.version) == ("ghcr.io", "nvidia/plugin", "")


def test_karpenter_is_the_chart_of_that_name(written):
    crd = helm("oci://public.ecr.aws/karpenter/karpenter-crd", "1.0.0", "crd")
    assert written(A=stack(resources={"Crd": crd, "K": helm()})).karpenter == "1.14.3"


def test_an_assembly_without_karpenter_is_refused(written):
    with pytest.raises(RehearsalError, match="installs the chart 'karpenter'"):
        _ = written(A=stack()).karpenter


@pytest.mark.parametrize(
    "cluster",
    [
        {"Type": "AWS::EKS::Cluster", "Properties": {"Version": "1.34"}},
        {"Type": CLUSTER_V1, "Properties": {"Config": {"version": "1.34"}}},
    ],
)
def test_kubernetes_is_the_clusters_version(written, cluster):
    assert written(A=stack(), B=stack(resources={"Cluster": cluster})).kubernetes == "1.34"


@pytest.mark.parametrize("version", [{}, {"Version": {"Ref": "Version"}}])
def test_a_cluster_without_a_literal_version_is_refused(written, version):
    cluster = {"Type": "AWS::EKS::Cluster", "Properties": version}
    with pytest.raises(RehearsalError, match="makes an EKS cluster of a literal version"):
        _ = written(A=stack(resources={"Cluster": cluster})).kubernetes


def test_a_broken_file_is_said_with_the_way_out(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RehearsalError, match=r"manifest\.json cannot be read .*; run cdk synth again"):
        Assembly.read(tmp_path)


def test_an_app_with_container_images_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "S.assets.json").write_text('{"dockerImages": {"a": {}}}')
    with pytest.raises(RehearsalError, match="1 container image"):
        Assembly.read(tmp_path)


def test_an_app_that_attaches_to_a_cluster_says_which_and_its_kubernetes(written, tmp_path):
    written(Gpu=stack(), Other=stack())
    facts = {"Version": 1, "Name": "there", "KubernetesVersion": "1.36", "AuthenticationMode": "API"}
    for id in ("Gpu", "Other"):
        text = json.dumps({"Resources": {}, "Metadata": {existing_cluster.KEY: facts}})
        (tmp_path / f"{id}.template.json").write_text(text)
    assembly = Assembly.read(tmp_path)
    assert assembly.existing == (facts,)
    assert assembly.kubernetes == "1.36"


def test_an_app_that_waits_for_look_ups_is_refused(written, tmp_path):
    written(Gpu=stack())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    missing = [{"key": "k", "provider": "cc-api-provider", "props": {"typeName": "AWS::EKS::Cluster"}}]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"missing": missing}))
    with pytest.raises(
        RehearsalError, match=r"waits for look-ups \(AWS::EKS::Cluster\).*run cdk synth with credentials"
    ):
        Assembly.read(tmp_path)


def names(tmp_path, **ids):
    """The templates of those names, each with ids of a network in it."""
    for id, named in ids.items():
        text = json.dumps({"Resources": {"Cluster": {"Type": "AWS::EKS::Cluster", "Properties": {"Named": named}}}})
        (tmp_path / f"{id}.template.json").write_text(text)
    return Assembly.read(tmp_path)


def test_a_network_that_is_named_by_id_was_there_before(written, tmp_path):
    written(Gpu=stack(), Other=stack())
    subnets = ["subnet-0123456789abcdef1", "subnet-0123456789abcdef0"]
    terms = json.dumps([{"id": "subnet-0123456789abcdef2"}, {"id": "sg-0123456789abcdef0"}])
    assembly = names(tmp_path, Gpu=[*subnets, "vpc-0123456789abcdef0"], Other=[terms, subnets[0], "addon vpc-cni"])
    assert assembly.network == {
        "VpcId": "vpc-0123456789abcdef0",
        "SubnetIds": [*subnets, "subnet-0123456789abcdef2"],
        "SecurityGroupIds": ["sg-0123456789abcdef0"],
    }


def test_a_network_of_its_own_was_not_there_before(written, tmp_path):
    written(Gpu=stack())
    assert names(tmp_path, Gpu=[{"Ref": "Vpc"}, "addon vpc-cni"]).network == {}


def test_two_networks_that_were_there_before_are_refused(written, tmp_path):
    written(Gpu=stack(), Other=stack())
    assembly = names(tmp_path, Gpu=["vpc-0123456789abcdef0"], Other=["vpc-0123456789abcdef1"])
    with pytest.raises(RehearsalError, match="more than one existing VPC: vpc-0123456789abcdef0, vpc-"):
        _ = assembly.network


def test_roles_users_and_policies_that_are_named_and_not_made_were_there_before(written, tmp_path):
    written(Gpu=stack())
    named = [
        f"arn:aws:iam::111122223333:{name}" for name in ("role/team/admins", "user/eve", "role/made", "role/any-*")
    ]
    named.insert(2, ":iam::111122223333:policy/Boundary")
    made = {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "made"}}
    entry = {"Type": "AWS::EKS::AccessEntry", "Properties": {"PrincipalArn": [{"In": named}, f"not {named[0]}"]}}
    (tmp_path / "Gpu.template.json").write_text(json.dumps({"Resources": {"Made": made, "Entry": entry}}))
    assembly = Assembly.read(tmp_path)
    assert [match[0] for match in assembly.principals] == named[:3]


def test_an_app_for_any_account_is_rehearsed_in_that_of_whom_it_names(written, tmp_path):
    written(Gpu=stack(environment="aws://unknown-account/unknown-region"))
    entry = {"Type": "AWS::EKS::AccessEntry", "Properties": {"PrincipalArn": "arn:aws:iam::210987654321:role/admins"}}
    (tmp_path / "Gpu.template.json").write_text(json.dumps({"Resources": {"Entry": entry}}))
    assert Assembly.read(tmp_path).account == "210987654321"


# Other people's apps; what of each a whole rehearsal showed is in eks_rehearsal/README.md.
FOREIGN = Path(__file__).parent / "foreign"


@pytest.fixture(params=["cdk_eks_karpenter", "eks_blueprints"])
def foreign(request, tmp_path):
    for name, document in json.loads((FOREIGN / f"{request.param}.json").read_text()).items():
        (tmp_path / name).write_text(json.dumps(document))
    return tmp_path


def test_the_apps_of_other_projects_have_nothing_that_a_rehearsal_does_not_know(foreign):
    assembly = Assembly.read(foreign)
    assert (assembly.kubernetes, assembly.karpenter) == ("1.36", "1.14.3")
    assert len(assembly.stacks[0].nested) == 2
    assert assembly.not_emulated == ()


def test_what_a_rehearsal_does_not_know_is_named_all_of_it_before_anything_is_built(foreign):
    (file,) = (one for one in foreign.glob("*.template.json") if ".nested." not in one.name)
    template = json.loads(file.read_text())
    template["Resources"]["Db"] = {"Type": "AWS::RDS::DBCluster"}
    template["Resources"]["Never"] = {"Type": "AWS::RDS::DBCluster", "Condition": "No"}
    template["Resources"]["Role"] = {"Type": "AWS::IAM::Role", "Properties": {"Fame": {"Fn::Shout": "x"}}}
    file.write_text(json.dumps(template))
    with pytest.raises(NotEmulated) as refused:
        rehearse(foreign, None)
    said = str(refused.value)
    assert said.startswith("this app cannot be rehearsed: ")
    assert "Role: the rehearsal does not know the intrinsic function Fn::Shout" in said
    assert "the rehearsal does not know the resource type AWS::RDS::DBCluster" in said
    assert "Role (AWS::IAM::Role): the rehearsal does not know Fame; it knows" in said
    assert "Never" not in said
