"""Says why instances of a cluster's Karpenter pools are alive: what Kubernetes shows that their drain waits for.

It is apart from the drain, so that the drain needs no way into the cluster: what cannot be asked here is left out of the
answer, and the drain is still right about what EC2 shows. It reads, and removes finalizers that nobody else would.
"""

import traceback
from urllib.parse import quote

import aws
from botocore.exceptions import ClientError
from cluster_api import Api, maker

DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
KARPENTERS_OWN = "karpenter.sh/termination"
CLASS_FINALIZER = "karpenter.k8s.aws/termination"
NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"
NODE_CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
NODE_CLASSES = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses"
BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
# Instances that are looked at in one question.
MOST = 20


def handler(event, _context):
    """The reasons by instance, and what is said of Karpenter itself."""
    cluster = event["ClusterName"]
    try:
        aws.client("eks").describe_cluster(name=cluster)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        ids = " ".join(event.get("Instances", ()))
        return {
            "cluster": "gone",
            "karpenter": [
                f"cluster {cluster} is gone, so nothing terminates them; run aws ec2 terminate-instances --instance-ids {ids}"
            ],
        }
    api = Api(cluster, event.get("KubectlRoleArn"))
    if why := silent(api):
        pools = " ".join(sorted(set(event.get("Instances", {}).values())))
        said = (
            f"the API server of cluster {cluster} does not answer ({why}), and Karpenter needs it; NodePools whose deletion it did "
            f"not hear of are still there, so when it answers again run kubectl delete nodepool {pools}"
        )
        return {"cluster": "there", "karpenter": [said]}
    seen = Seen(api)
    if "Release" in event:
        released = seen.released(event["Release"], event["Stack"], event["Namespace"])
        return {"cluster": "there", "released": list(released)}
    found = {id: list(seen.why(id, pool)) for id, pool in list(event["Instances"].items())[:MOST]}
    return {"cluster": "there", "karpenter": list(seen.controller(event["Namespace"])), "instances": found}


def silent(api):
    """Why the API server does not answer at all; nothing when it does, be it with a refusal."""
    try:
        api.call("GET", "/version")
    except PermissionError:
        return ""
    except OSError as error:
        return str(error)
    return ""


class Seen:
    """What the API server shows; what of it may not be seen counts as not there.

    Args:
        api: The cluster's.
    """

    def __init__(self, api):
        self._api = api
        self.pools = {one["metadata"]["name"]: one for one in self._list(NODE_POOLS) or ()}
        self._claim_list = claims = self._list(NODE_CLAIMS)
        self._claims_known = claims is not None
        self._claims = {id_of(one.get("status", {})): one for one in claims or ()}
        self._nodes = {id_of(one["spec"]): one for one in self._list("/api/v1/nodes") or ()}
        self._budgets = self._list(BUDGETS) or []
        self._attachments = self._list(ATTACHMENTS) or []

    def _list(self, path):
        try:
            return self._api.items(path)
        except Exception:
            traceback.print_exc()
            return None

    def controller(self, namespace):
        """Why no controller of Karpenter works, if none does."""
        # By its release: the chart's nameOverride changes its other label.
        pods = self._list(f"/api/v1/namespaces/{namespace}/pods?labelSelector=app.kubernetes.io%2Finstance%3Dkarpenter")
        if pods is None or any(is_true(one, "Ready") for one in pods):
            return
        if not pods:
            yield f"no controller of Karpenter runs in namespace {namespace}, so nothing terminates them; see its Deployment"
        for one in pods[:2]:
            waits = next(
                (c.get("message") for c in conditions(one) if c["type"] == "PodScheduled" and c["status"] == "False"),
                "",
            )
            phase = one.get("status", {}).get("phase", "Unknown")
            yield (
                f"Karpenter's controller does not work, so nothing terminates them: pod {called(one)} is {phase} and not ready"
                + (f", {waits}" if waits else "")
            )

    def released(self, pool, stack, namespace):
        """Take Karpenter's finalizers from what of a pool without instances, or of every pool of a stack, no controller takes them from.

        What they are for is seen to: instances are gone, and the sweep removes launch templates and instance profiles.
        """
        if not any(self.controller(namespace)):
            return
        classes = self._list(NODE_CLASSES) or ()
        # A pool and its class have one name.
        pools = {pool} if pool else {one["metadata"]["name"] for one in classes if maker(one) == stack}
        for one in self._claim_list or ():
            of = one["metadata"].get("labels", {}).get("karpenter.sh/nodepool")
            if of in pools and "deletionTimestamp" in one["metadata"]:
                yield from self._without(NODE_CLAIMS, KARPENTERS_OWN, one)
        for one in classes:
            if one["metadata"]["name"] in pools:
                yield from self._without(NODE_CLASSES, CLASS_FINALIZER, one)

    def _without(self, path, finalizer, one):
        name, there = one["metadata"]["name"], one["metadata"].get("finalizers") or []
        if finalizer not in there:
            return
        others = [each for each in there if each != finalizer]
        version, what = one["metadata"]["resourceVersion"], f"{path.rpartition('/')[2]}/{name}"
        try:
            self._api.call("PATCH", f"{path}/{name}", {"metadata": {"finalizers": others, "resourceVersion": version}})
        except Exception as error:
            # The others must still be let go of.
            traceback.print_exc()
            yield f"finalizer {finalizer} was not removed from {what}: {error}"
        else:
            yield f"finalizer {finalizer} was removed from {what}, because no controller of Karpenter works"

    def why(self, id, pool):
        """Why an instance is alive, most telling first."""
        claim, node = self._claims.get(id), self._nodes.get(id)
        if pool in self.pools and "deletionTimestamp" not in self.pools[pool]["metadata"]:
            yield f"NodePool {pool} exists and is not of this stack, or was created again; run kubectl delete nodepool {pool}"
            if any(budget.get("nodes") in {"0", "0%"} for budget in budgets_of(self.pools[pool])):
                yield f"NodePool {pool} has a disruption budget of 0, so Karpenter does not empty its nodes by itself"
        elif claim is None and self._claims_known:
            yield "no NodeClaim is left of it, so Karpenter terminates it within minutes, if its controller works"
        elif claim and "deletionTimestamp" not in claim["metadata"]:
            yield f"NodeClaim {claim['metadata']['name']} is not being deleted; run kubectl delete nodeclaim {claim['metadata']['name']}"
        if claim and node is None:
            yield f"NodeClaim {claim['metadata']['name']} has no node"
        for one in filter(None, (claim, node)):
            yield from finalizers(one)
        if node:
            yield from self._on(node["metadata"]["name"])

    def _on(self, node):
        """What keeps a node from being emptied."""
        pods = self._list(f"/api/v1/pods?fieldSelector={quote(f'spec.nodeName={node}', safe='')}") or []
        for pod in pods:
            if is_done(pod):
                continue
            if (pod["metadata"].get("annotations") or {}).get(DO_NOT_DISRUPT) in {"true", True}:
                yield f"pod {called(pod)} has {DO_NOT_DISRUPT}; delete it, or let it finish"
            for budget in self._budgets:
                if protects(budget, pod) and not budget.get("status", {}).get("disruptionsAllowed"):
                    yield f"PodDisruptionBudget {called(budget)} allows no disruption of pod {called(pod)}"
            if "deletionTimestamp" in pod["metadata"]:
                seconds = pod["metadata"].get("deletionGracePeriodSeconds")
                yield f"pod {called(pod)} is shutting down and has {seconds} s for it"
        for one in self._attachments:
            if one["spec"]["nodeName"] == node:
                volume = one["spec"]["source"].get("persistentVolumeName", "?")
                yield f"volume {volume} is not detached from node {node} (VolumeAttachment {one['metadata']['name']})"


def budgets_of(pool):
    """A NodePool's disruption budgets."""
    return (pool["spec"].get("disruption") or {}).get("budgets") or []


def finalizers(one):
    """What else than Karpenter must let an object go."""
    others = [each for each in one["metadata"].get("finalizers") or () if each != KARPENTERS_OWN]
    if others and "deletionTimestamp" in one["metadata"]:
        yield f"{one['metadata']['name']} waits for the finalizer {', '.join(others)}"


def is_done(pod):
    """Whether a drain does not wait for a pod: it has ended, or is its node's own."""
    owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences") or ()}
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"} or bool(owners & {"DaemonSet", "Node"})


def protects(budget, pod):
    """Whether a PodDisruptionBudget is about a pod."""
    selector, labels = budget["spec"].get("selector"), pod["metadata"].get("labels") or {}
    if selector is None or budget["metadata"]["namespace"] != pod["metadata"]["namespace"]:
        return False
    return (selector.get("matchLabels") or {}).items() <= labels.items() and all(
        matches(each, labels) for each in selector.get("matchExpressions") or ()
    )


def matches(expression, labels):
    """Whether labels are as an expression of a selector has it."""
    key, values = expression["key"], expression.get("values") or ()
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[expression["operator"]]


def conditions(one):
    """An object's conditions."""
    return one.get("status", {}).get("conditions") or []


def is_true(one, type_):
    """Whether a condition holds."""
    return any(each["type"] == type_ and each["status"] == "True" for each in conditions(one))


def id_of(about):
    """The id of the instance that a node or a NodeClaim is."""
    return str(about.get("providerID", "")).rpartition("/")[2]


def called(one):
    """Namespace and name."""
    return f"{one['metadata']['namespace']}/{one['metadata']['name']}"
