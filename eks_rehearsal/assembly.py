"""A cloud assembly: what `cdk synth` left, and what a rehearsal must know of it before it begins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eks_rehearsal import existing_cluster
from eks_rehearsal.cloudformation import template as language
from eks_rehearsal.cloudformation.types import TYPES
from eks_rehearsal.errors import NotEmulated, RehearsalError
from eks_rehearsal.existing_cluster import ExistingCluster
from eks_rehearsal.labels import CAPACITY_TYPE, INSTANCE_TYPE, ZONE

HELM_CHART = "Custom::AWSCDK-EKS-HelmChart"
MANIFEST = "Custom::AWSCDK-EKS-KubernetesResource"
# Where an EC2NodeClass names reservations.
SELECTED = "capacityReservationSelectorTerms"
CLUSTER_V1 = "Custom::AWSCDK-EKS-Cluster"
# Of a network, named in a template as only what was there before it is.
NETWORK_ID = re.compile(r"\b(vpc|subnet|sg)-[0-9a-f]{8,17}\b")
PRINCIPAL = re.compile(
    # Where a template joins an ARN, its beginning is a text of its own.
    r"(?:arn:[\w-]+)?:iam::(?P<account>\d{12}):(?P<kind>role|user|policy)(?P<path>/(?:[\w+=,.@-]+/)*)(?P<name>[\w+=,.@-]+)"
)
BOOTSTRAPPED = re.compile(r"^/cdk-bootstrap/(?P<qualifier>[^/]+)/version$")
DEFAULT_QUALIFIER = "hnb659fds"
EVERY_STAGE = "all"
NESTED_STACK = "AWS::CloudFormation::Stack"
# Types that a function or another template decides.
ANY_PROPERTIES = re.compile(r"Custom::|AWS::CloudFormation::(CustomResource|Stack)$")
DEFAULT_REGION = "us-east-1"
DEFAULT_ACCOUNT = "123456789012"
ENVIRONMENT = re.compile(r"^aws://(?P<account>[^/]+)/(?P<region>[^/]+)$")


@dataclass(frozen=True)
class Chart:
    """A Helm chart that a template installs.

    Args:
        repository: Where from; `oci://host/path`.

        name: Its release.

        version: Its version.
    """

    repository: str
    name: str
    version: str

    @property
    def host(self) -> str:
        """The registry's host."""
        return self.repository.removeprefix("oci://").split("/")[0]

    @property
    def path(self) -> str:
        """The repository within the registry."""
        return self.repository.removeprefix("oci://").partition("/")[2]


@dataclass(frozen=True)
class NamedReservation:
    """A capacity reservation that a pool names.

    Args:
        id: `cr-…`.

        instance_type: The first that its pool may launch; empty where the pool names none.

        zone: The first that its pool may use; empty where it names none.

        is_block: Whether it is taken for a Capacity Block, because its pool launches nothing else.
    """

    id: str
    instance_type: str
    zone: str
    is_block: bool


@dataclass(frozen=True)
class StackArtifact:
    """A stack of the assembly.

    Args:
        id: Its id in the app, as `cdk deploy` takes it.

        name: Its name in CloudFormation.

        template: Its template.

        account: The account that it is for; `unknown-account` when it is for any.

        region: The region that it is for; `unknown-region` when it is for any.

        qualifier: That of the bootstrap it is deployed with.

        nested: The templates of the stacks in it, however deep.
    """

    id: str
    name: str
    template: Mapping[str, Any]
    account: str
    region: str
    qualifier: str = DEFAULT_QUALIFIER
    nested: tuple[Mapping[str, Any], ...] = ()

    @property
    def templates(self) -> tuple[Mapping[str, Any], ...]:
        """Its own template, and those of the stacks in it."""
        return (self.template, *self.nested)

    def resources(self, type: str) -> Iterator[Mapping[str, Any]]:
        """The properties of its resources of a type, those of the stacks in it, too."""
        for template in self.templates:
            for resource in template.get("Resources", {}).values():
                if resource["Type"] == type:
                    yield resource.get("Properties", {})


@dataclass(frozen=True)
class Assembly:
    """The whole of `cdk.out`.

    Args:
        folder: Where it is.

        stacks: Its stacks.
    """

    folder: Path
    stacks: tuple[StackArtifact, ...]

    @classmethod
    def read(cls, folder: Path) -> Assembly:
        """Read an assembly.

        Raises:
            RehearsalError: There is none, or it holds no stack.
        """
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            raise RehearsalError(
                f"{folder} holds no manifest.json, so it is not what 'cdk synth' writes; give the path of a cdk.out"
            )
        document = _json(manifest)
        if missing := document.get("missing"):
            asked = ", ".join(sorted({str(one["props"].get("typeName", one["provider"])) for one in missing}))
            raise RehearsalError(
                f"{folder} waits for look-ups ({asked}), and stands-in are in their place; run cdk synth with credentials "
                "once, or say what would be looked up"
            )
        artifacts = document.get("artifacts", {})
        for assets in folder.glob("*.assets.json"):
            if images := _json(assets).get("dockerImages"):
                raise RehearsalError(
                    f"{assets.name} has {len(images)} container image(s) to build, which a rehearsal cannot; it runs no containers"
                )
        stacks = tuple(
            _stack(folder, id, artifact)
            for id, artifact in artifacts.items()
            if artifact["type"] == "aws:cloudformation:stack"
        )
        if not stacks:
            raise RehearsalError(f"{folder} holds no stack")
        return cls(folder.resolve(), stacks)

    @property
    def not_emulated(self) -> tuple[str, ...]:
        """What the rehearsal does not know of its templates, each named; what stands under a condition is not looked at."""
        templates = (template for stack in self.stacks for template in stack.templates)
        return tuple(dict.fromkeys(fault for template in templates for fault in _not_emulated(template)))

    @property
    def root(self) -> Path:
        """The outermost assembly that it is a stage of: its assets lie there. Its own folder when it is none's."""
        folder = self.folder
        while (folder.parent / "manifest.json").is_file():
            folder = folder.parent
        return folder

    @property
    def qualifiers(self) -> tuple[str, ...]:
        """The qualifiers of the bootstraps that its stacks are deployed with."""
        return tuple(sorted({stack.qualifier for stack in self.stacks}))

    @property
    def region(self) -> str:
        """The region it is for, or the default one when it is for any.

        Raises:
            RehearsalError: Its stacks are for more than one.
        """
        return self._one("region", {stack.region for stack in self.stacks} - {"unknown-region"}, DEFAULT_REGION)

    @property
    def account(self) -> str:
        """The account it is for; when it is for any, that of the principals it names, or else a made-up one."""
        named = next((principal["account"] for principal in self.principals), DEFAULT_ACCOUNT)
        return self._one("account", {stack.account for stack in self.stacks} - {"unknown-account"}, named)

    @property
    def principals(self) -> tuple[re.Match[str], ...]:
        """The roles, users and policies that its templates name by ARN and do not make, as PRINCIPAL matches them."""
        names = (("AWS::IAM::Role", "RoleName"), ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"))
        made = {props.get(name) for stack in self.stacks for kind, name in names for props in stack.resources(kind)}
        found = {
            text: PRINCIPAL.fullmatch(text)
            for stack in self.stacks
            for template in stack.templates
            for text in _texts(template.get("Resources"))
        }
        return tuple(match for match in found.values() if match and match["name"] not in made)

    @property
    def charts(self) -> tuple[Chart, ...]:
        """The charts that are pulled from a registry."""
        return tuple(
            Chart(props["Repository"], props["Release"], props.get("Version", ""))
            for stack in self.stacks
            for props in stack.resources(HELM_CHART)
            if str(props.get("Repository", "")).startswith("oci://")
        )

    @property
    def karpenter(self) -> str:
        """The version of Karpenter that it installs.

        Raises:
            RehearsalError: It installs none.
        """
        for chart in self.charts:
            if chart.path.rpartition("/")[2] == "karpenter":
                return chart.version
        raise RehearsalError(
            f"no stack of {self.folder} installs the chart 'karpenter' from an OCI registry, so there is nothing to rehearse"
        )

    @property
    def existing(self) -> tuple[ExistingCluster, ...]:
        """What its templates take for granted of existing clusters, one of a name.

        Raises:
            RehearsalError: A template says it in another way than the contract has it.
        """
        found = [
            existing_cluster.read(template, f"stack {stack.name}")
            for stack in self.stacks
            for template in stack.templates
        ]
        return tuple({facts["Name"]: facts for facts in found if facts}.values())

    @property
    def network(self) -> Mapping[str, Any]:
        """The network that its templates name by id, in the words of `existing`; empty where they make their own.

        Raises:
            RehearsalError: They name more than one VPC.
        """
        text = json.dumps([one.get("Resources", {}) for stack in self.stacks for one in stack.templates])
        named: dict[str, dict[str, None]] = {"vpc": {}, "subnet": {}, "sg": {}}
        for match in NETWORK_ID.finditer(text):
            named[match[1]][match[0]] = None
        if not any(named.values()):
            return {}
        vpc = self._one("existing VPC", set(named["vpc"]), "")
        return {"VpcId": vpc, "SubnetIds": list(named["subnet"]), "SecurityGroupIds": list(named["sg"])}

    @property
    def kubernetes(self) -> str:
        """The minor of Kubernetes of the cluster that it makes, or attaches to.

        Raises:
            RehearsalError: It does neither, or does not say the version.
        """
        for facts in self.existing:
            return str(facts["KubernetesVersion"])
        for stack in self.stacks:
            for props in stack.resources("AWS::EKS::Cluster"):
                if isinstance(props.get("Version"), str):
                    return str(props["Version"])
            for props in stack.resources(CLUSTER_V1):
                if isinstance(props.get("Config", {}).get("version"), str):
                    return str(props["Config"]["version"])
        raise RehearsalError(
            f"no stack of {self.folder} makes an EKS cluster of a literal version, or says in its metadata which one it attaches "
            "to, as Karpenter on an imported cluster and ExistingCluster do"
        )

    @property
    def reservations(self) -> tuple[NamedReservation, ...]:
        """The capacity reservations that its pools name by id, and that must be there before them."""
        found = [_document(one) for stack in self.stacks for one in stack.resources(MANIFEST)]
        documents = [document for listed in found for document in listed]
        pools = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "NodePool"}
        classes = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "EC2NodeClass"}
        return tuple(
            _named_reservation(term["id"], pool)
            for pool in pools.values()
            for term in classes.get(pool["template"]["spec"]["nodeClassRef"]["name"], {}).get(SELECTED, ())
            if str(term.get("id", "")).startswith("cr-")
        )

    def _one(self, what: str, found: set[str], default: str) -> str:
        if len(found) > 1:
            raise RehearsalError(
                f"the stacks of {self.folder} are for more than one {what}: {', '.join(sorted(found))}"
            )
        return next(iter(found), default)


def _not_emulated(template: Mapping[str, Any]) -> Iterator[str]:
    try:
        language.check(template)
    except RehearsalError as error:
        yield str(error)
    for name, resource in template.get("Resources", {}).items():
        kind = resource.get("Type", "")
        if "Condition" in resource or ANY_PROPERTIES.match(kind):
            continue
        if kind not in TYPES:
            yield f"the rehearsal does not know the resource type {kind}"
            continue
        try:
            TYPES[kind].check(name, resource.get("Properties", {}))
        except NotEmulated as error:
            yield str(error)


def chosen(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The assemblies to rehearse, by the name of their stage.

    Args:
        folder: What `cdk synth` wrote.

        names: The stages that are wanted, or `all` of those with Karpenter; when left out, the app's own stacks or the
            one stage with Karpenter.

    Raises:
        RehearsalError: There is no such stage, or more than one with Karpenter and nobody says which.
    """
    stages = dict(_stages(folder))
    with_karpenter = {name: path for name, path in stages.items() if _has_karpenter(path)}
    if unknown := [name for name in names if name not in (*stages, EVERY_STAGE)]:
        known = f"there are {', '.join(stages)}" if stages else "it has no stages"
        raise RehearsalError(f"{folder} has no stage {', '.join(unknown)}; {known}")
    if EVERY_STAGE in names:
        return with_karpenter or {"": folder}
    if names:
        return {name: stages[name] for name in names}
    if not with_karpenter or _has_karpenter(folder):
        return {"": folder}
    if len(with_karpenter) > 1:
        raise RehearsalError(
            f"{folder} has Karpenter in the stages {', '.join(with_karpenter)}; name one with --stage, or rehearse one after "
            f"the other with --stage {EVERY_STAGE}"
        )
    return with_karpenter


def _stages(folder: Path) -> Iterator[tuple[str, Path]]:
    """The stages of an assembly, those of stages, too, by their names in the app."""
    manifest = folder / "manifest.json"
    artifacts = _json(manifest).get("artifacts", {}) if manifest.is_file() else {}
    for artifact in artifacts.values():
        if artifact["type"] == "cdk:cloud-assembly":
            properties = artifact["properties"]
            path = folder / properties["directoryName"]
            yield properties.get("displayName", properties["directoryName"]), path
            yield from _stages(path)


def _has_karpenter(folder: Path) -> bool:
    try:
        return bool(Assembly.read(folder).karpenter)
    except RehearsalError:
        return False


def _nested(folder: Path, template: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The templates of the stacks in a template, as far as they are assets of this assembly."""
    addresses = [
        json.dumps(resource.get("Properties", {}).get("TemplateURL"))
        for resource in template.get("Resources", {}).values()
        if resource["Type"] == NESTED_STACK
    ]
    files = [one for assets in folder.glob("*.assets.json") for one in _json(assets).get("files", {}).items()]
    for address in addresses:
        for path in sorted({file["source"]["path"] for id, file in files if id in address}):
            inner = _json(folder / path)
            yield inner
            yield from _nested(folder, inner)


def _stack(folder: Path, id: str, artifact: Mapping[str, Any]) -> StackArtifact:
    properties = artifact["properties"]
    match = ENVIRONMENT.match(artifact["environment"])
    bootstrapped = BOOTSTRAPPED.match(properties.get("bootstrapStackVersionSsmParameter", ""))
    template = _json(folder / properties["templateFile"])
    return StackArtifact(
        id=artifact.get("displayName", id),
        name=properties.get("stackName", id),
        template=template,
        qualifier=bootstrapped["qualifier"] if bootstrapped else DEFAULT_QUALIFIER,
        nested=tuple(_nested(folder, template)),
        account=match["account"] if match else "unknown-account",
        region=match["region"] if match else "unknown-region",
    )


def _document(properties: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The documents of a manifest, without what is known at deployment only."""
    said = properties.get("Manifest")
    parts = said["Fn::Join"][1] if isinstance(said, dict) and "Fn::Join" in said else [said]
    try:
        found = json.loads("".join(part if isinstance(part, str) else "" for part in parts))
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _named_reservation(id: str, pool: Mapping[str, Any]) -> NamedReservation:
    rows = pool["template"]["spec"].get("requirements", ())
    said = {row["key"]: row.get("values") or [] for row in rows if row.get("operator") == "In"}
    only = said.get(CAPACITY_TYPE) == ["reserved"]
    kind, zone = (next(iter(said.get(key, ())), "") for key in (INSTANCE_TYPE, ZONE))
    return NamedReservation(id, kind, zone, is_block=only)


def _texts(document: Any) -> Iterator[str]:
    """Every text in a document, wherever it stands."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, (dict, list)):
        for one in document.values() if isinstance(document, dict) else document:
            yield from _texts(one)


def _json(path: Path) -> Any:
    """A file of the assembly.

    Raises:
        RehearsalError: It is not there, or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RehearsalError(f"{path} cannot be read ({error}); run cdk synth again") from None
