"""Looks for a Karpenter that is on the cluster already, and either says so or makes it this stack's.

Looks for objects of others with the names of this stack's, too, whenever there are new names.

To take it over is to hand its CRDs and the objects of its chart to the Helm releases that this stack installs; NodePools,
NodeClaims and nodes are not touched. Nothing is changed while anything stands against it.
"""

import re
import traceback
import urllib.error

import aws
from answer import answer
from cluster_api import METADATA_ALONE, Api, maker

CHART, CRD_CHART = "karpenter", "karpenter-crd"
HOW_TO = "docs/existing-karpenter.md of karpenter-gpu"
IMAGE = re.compile(r"karpenter/controller(?::v?(\d+)\.(\d+)\.(\d+))?")
QUEUE = "INTERRUPTION_QUEUE"
# What chart and release put on the Deployment, whose selector cannot be changed.
SELECTOR = {"app.kubernetes.io/name": CHART, "app.kubernetes.io/instance": CHART}

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD_GROUPS = (".karpenter.sh", ".karpenter.k8s.aws")
# Of another group, and in the chart since this minor.
CRD_SINCE = {"capacitybuffers.autoscaling.x-k8s.io": (1, 14)}
# Auto Mode's own kind of EC2NodeClass, which stays behind with NodePools and NodeClaims when it is turned off.
OF_AUTO_MODE = "nodeclasses.eks.amazonaws.com"
# The CRDs that there were before v1.
OLD_CRDS = ("nodepools.karpenter.sh", "nodeclaims.karpenter.sh", "ec2nodeclasses.karpenter.k8s.aws")

RELEASES = f"/api/v1/secrets?labelSelector=owner%3Dhelm%2Cname%20in%20%28{CHART}%2C{CRD_CHART}%29"
DEPLOYMENTS = "/apis/apps/v1/deployments"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
# The kinds of the chart's objects, 1.0 to 1.15.
CHART_KINDS = (
    "/api/v1/configmaps",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/services",
    DEPLOYMENTS,
    "/apis/policy/v1/poddisruptionbudgets",
    f"{RBAC}/clusterroles",
    f"{RBAC}/clusterrolebindings",
    f"{RBAC}/roles",
    f"{RBAC}/rolebindings",
    "/apis/monitoring.coreos.com/v1/servicemonitors",
)
OF_CHART = "?labelSelector=app.kubernetes.io%2Finstance%3Dkarpenter"

# What others put on what they install again whenever it is changed, and how to take it from them.
KEEPERS = {
    "argocd.argoproj.io/tracking-id": "Argo CD; remove it from its Application first, without pruning",
    "helm.toolkit.fluxcd.io/name": "Flux; suspend its HelmRelease and delete that without uninstalling first",
}
ATTEMPTS = 5


def handler(event, context):
    """Answer CloudFormation."""
    try:
        why = verdict(event)
    except Exception as error:
        traceback.print_exc()
        why = f"looking for Karpenter on the cluster failed: {error}"
    answer(event, context, why, name=f"takeover-{event['ResourceProperties']['ClusterName']}")
    if not why and event["RequestType"] != "Delete":
        release(event["ResourceProperties"])


def release(wanted):
    """Remove cluster-admin from this function's own access entry, after the one use of it.

    After the answer, because until then Lambda may deliver the event once more.
    """
    admin = wanted.get("UntilHandedOver")
    if not admin:
        return
    eks = aws.client("eks")
    try:
        eks.disassociate_access_policy(
            clusterName=wanted["ClusterName"], principalArn=admin["PrincipalArn"], policyArn=admin["PolicyArn"]
        )
    except Exception:
        # CloudFormation has its answer, and the next update tries again.
        traceback.print_exc()


def verdict(event):
    """Why the request must fail, or nothing."""
    wanted, before = event["ResourceProperties"], event.get("OldResourceProperties")
    if event["RequestType"] == "Delete":
        return ""
    # Once it has looked, the existing Karpenter is this stack's, and Helm reports what is wrong with it.
    is_known = bool(before) and before["ClusterName"] == wanted["ClusterName"]
    names = [path for path in wanted["Objects"] if not is_known or path not in before["Objects"]]
    if is_known and not names:
        return ""
    api = Api(wanted["ClusterName"], wanted.get("KubectlRoleArn"))
    faults = [*of_others(api, names, wanted["Stack"])]
    return "; ".join(faults) if is_known else first(api, wanted, faults)


def first(api, wanted, faults):
    """Why the stack must not come to this cluster, or nothing; then it may have been taken over."""
    if api.cluster.get("computeConfig", {}).get("enabled"):
        return (
            f"cluster {api.name} is in Auto Mode, which brings a Karpenter and CRDs of its own that a second one cannot share; "
            f"use its own NodePools for GPUs, or turn Auto Mode off ({HOW_TO})"
        )
    there = Found(api, version=numbers(wanted["Version"]))
    if there.has_queue(wanted["InterruptionQueue"]):
        return "; ".join(faults)
    faults += associations(wanted)
    if there.nothing:
        return "; ".join(faults)
    faults += [*elsewhere(there, wanted["Namespace"]), *versions(there, wanted["Version"])]
    if wanted["Adopt"] != "true":
        also = "".join(f"; then {fault}" for fault in faults)
        return (
            f"cluster {api.name} has a Karpenter already: {there}. To take it over and keep its nodes, set karpenter.adopt "
            f"to true ({HOW_TO}){also}"
        )
    if not faults:
        hand_over(api, there, wanted["Namespace"])
    return "; ".join(faults)


def of_others(api, paths, stack):
    """Objects that this stack did not create, and would overwrite."""
    for path in paths:
        one = api.call("GET", path)
        if one is None or maker(one) == stack:
            continue
        about = one["metadata"]
        name = about["name"]
        if one.get("spec", {}).get("selector", {}).get("matchLabels") == {"app.kubernetes.io/name": name}:
            # A device plugin as this stack's own, which another stack, or an earlier one, left.
            continue
        kind = one["kind"]
        where = f" -n {about['namespace']}" if "namespace" in about else ""
        rename = "" if where else "give the pool another name, or "
        yield (
            f"the {kind} {name} is on cluster {api.name} already and is not of stack {stack}, which has one of the same name; "
            f"{rename}remove it with 'kubectl delete {kind} {name}{where}' and deploy again"
        )


def associations(wanted):
    """What gives the controller another role: Pod Identity goes before IRSA, and a service account has one association.

    Source: amazon-eks-pod-identity-webhook#189; EKS API reference, CreatePodIdentityAssociation.
    """
    of = {"clusterName": wanted["ClusterName"], "namespace": wanted["Namespace"], "serviceAccount": CHART}
    for one in aws.client("eks").list_pod_identity_associations(**of)["associations"]:
        why = (
            "and it can have one alone"
            if wanted["Identity"] == "pod-identity"
            else "which goes before IRSA, so that the controller would keep its role"
        )
        command = f"--cluster-name {wanted['ClusterName']} --association-id {one['associationId']}"
        yield (
            f"the service account {wanted['Namespace']}/{CHART} has the Pod Identity association {one['associationId']}, "
            f"{why}; run 'aws eks delete-pod-identity-association {command}' and deploy again at once: a controller that runs "
            f"keeps its credentials for some hours ({HOW_TO})"
        )


class Found:
    """What of Karpenter is on a cluster.

    Args:
        api: The cluster's.

        version: Of the charts to come, as numbers.
    """

    def __init__(self, api, version):
        labels = [
            (one["metadata"]["namespace"], one["metadata"]["labels"]) for one in api.items(RELEASES, METADATA_ALONE)
        ]
        self.releases = sorted({(one["name"], where) for where, one in labels if one.get("status") != "uninstalled"})
        self.deployments = [one for one in api.items(DEPLOYMENTS) if image_of(one)]
        names = [one["metadata"]["name"] for one in api.items(CRDS, METADATA_ALONE)]
        self.crds = [name for name in names if name.endswith(CRD_GROUPS) or CRD_SINCE.get(name, (99,)) <= version]
        self.of_auto_mode = OF_AUTO_MODE in names
        self.old_crds = [one for name in OLD_CRDS if name in names and (one := api.call("GET", f"{CRDS}/{name}"))]

    @property
    def nothing(self):
        """Whether there is none."""
        return not (self.releases or self.deployments or self.crds)

    def has_queue(self, queue):
        """Whether a controller has this stack's own queue, and so is this stack's."""
        containers = [box for one in self.deployments for box in one["spec"]["template"]["spec"]["containers"]]
        return any(
            (env["name"], env.get("value")) == (QUEUE, queue) for box in containers for env in box.get("env") or []
        )

    def __str__(self):
        found = [f"the Helm release {name} in namespace {where}" for name, where in self.releases]
        found += [f"the Deployment {called(one)} with {image_of(one)[0]}" for one in self.deployments]
        found += [f"the CRDs {', '.join(self.crds)}"] if self.crds else []
        return ", ".join(found) + (" (EKS Auto Mode was here)" if self.of_auto_mode else "")


def elsewhere(there, namespace):
    """What is not where, or not called as, this stack's is going to be."""
    spaces = {where for _, where in there.releases} | {one["metadata"]["namespace"] for one in there.deployments}
    for other in sorted(spaces - {namespace}):
        yield f"set karpenter.namespace to {other}, where it runs, because this stack's goes to {namespace}"
    for one in there.deployments:
        about, selector = one["metadata"], one["spec"]["selector"].get("matchLabels", {})
        marks = {**(about.get("labels") or {}), **(about.get("annotations") or {})}
        for mark in KEEPERS.keys() & marks.keys():
            yield f"the Deployment {called(one)} is kept by {KEEPERS[mark]}"
        if (about["name"], selector) != (CHART, SELECTOR):
            release = marks.get("meta.helm.sh/release-name")
            remove = f"helm uninstall {release}" if release else f"kubectl delete deployment {about['name']}"
            yield (
                f"the Deployment {called(one)} is not called as this stack's, {CHART} of release {CHART}, which cannot be "
                f"changed; run '{remove} -n {about['namespace']}', which leaves NodePools and nodes, and deploy again"
            )


def versions(there, wanted):
    """What would be an upgrade that Karpenter does not make, or a step back."""
    for one in there.deployments:
        text, running = image_of(one)
        if running and running < (1, 0):
            yield f"{text} is older than 1.0, from which alone 1.x can be reached; upgrade it to 1.0 first"
        elif running and running > numbers(wanted):
            yield f"{text} is newer than the {wanted} of this stack; set karpenter.version to that or a later one"
    for one in there.old_crds:
        name, served = one["metadata"]["name"], [each["name"] for each in one["spec"]["versions"] if each["served"]]
        stored = [each for each in one.get("status", {}).get("storedVersions", []) if each != "v1"]
        if "v1" not in served:
            yield f"the CRD {name} serves {', '.join(served)} and not v1; upgrade Karpenter to 1.0 first"
        elif stored:
            yield (
                f"the CRD {name} still stores {', '.join(stored)}; run the newest Karpenter 1.0 until its storedVersions say "
                "v1 alone"
            )


def hand_over(api, there, namespace):
    """Make it Helm's, of the releases that this stack installs."""
    for name in there.crds:
        give(api, f"{CRDS}/{name}", CRD_CHART, namespace)
    for kind in CHART_KINDS:
        for one in api.items(kind + OF_CHART):
            give(api, path_of(kind, one), CHART, namespace)
    # eksctl and the CDK make it apart from the chart.
    give(api, f"/api/v1/namespaces/{namespace}/serviceaccounts/{CHART}", CHART, namespace)


def give(api, path, release, namespace):
    """Give one object to a release, if it is there; again when somebody else wrote in between."""
    marks = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}
    for attempt in range(ATTEMPTS):
        one = api.call("GET", path)
        if one is None:
            return
        about = one["metadata"]
        labels, annotations = about.get("labels") or {}, about.get("annotations") or {}
        if labels.get("app.kubernetes.io/managed-by") == "Helm" and marks.items() <= annotations.items():
            return
        about["labels"] = {**labels, "app.kubernetes.io/managed-by": "Helm"}
        about["annotations"] = {**annotations, **marks}
        about["managedFields"] = helms(one["apiVersion"], about.get("managedFields") or [])
        try:
            api.call("PUT", f"{path}?fieldManager=helm", one)
        except urllib.error.HTTPError as error:
            if error.code != 409 or attempt == ATTEMPTS - 1:
                raise
        else:
            print(f"{path} is of release {release} now")
            return


def helms(version, entries):
    """Field ownership with Helm in the place of whoever wrote the object.

    Helm 4 applies on the server, where a field of another manager is a conflict.
    """
    ours, fields = [one for one in entries if not one.get("subresource")], {}
    for one in ours:
        join(fields, one.get("fieldsV1", {}))
    entry = {
        "manager": "helm",
        "operation": "Apply",
        "apiVersion": version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return [*(one for one in entries if one.get("subresource")), *([entry] if fields else [])]


def join(into, more):
    """Two trees as one."""
    for key, value in more.items():
        join(into.setdefault(key, {}), value)


def image_of(deployment):
    """The image of Karpenter's controller that a Deployment runs, and its version where its tag says it."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        if match := IMAGE.search(container["image"]):
            found = tuple(int(number) for number in match.groups() if number)
            return (f"Karpenter {'.'.join(map(str, found))}" if found else f"image {container['image']}"), found
    return None


def numbers(version):
    """A version's numbers."""
    return tuple(int(number) for number in version.split("."))


def called(one):
    """Namespace and name."""
    return f"{one['metadata']['namespace']}/{one['metadata']['name']}"


def path_of(kind, one):
    """Where an object of a kind is."""
    api, _, plural = kind.rpartition("/")
    space = one["metadata"].get("namespace")
    return f"{api}/{f'namespaces/{space}/' if space else ''}{plural}/{one['metadata']['name']}"
