"""The API of an EKS cluster, for a function that has nothing but boto3."""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request

import aws
import boto3
from botocore.model import ServiceId
from botocore.signers import RequestSigner

# Kubernetes answers a list with this as names and labels alone, so that no secret's content leaves it.
METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Api:
    """A cluster's API, as this function's own role or as another that lets it in.

    Args:
        cluster: The cluster's name.

        role: ARN of the role to take; its own when left out.
    """

    def __init__(self, cluster, role=None):
        self.name = cluster
        self.cluster = aws.client("eks").describe_cluster(name=cluster)["cluster"]
        self.role = role
        # An access entry, or an entry in aws-auth, that was just created may not let anybody in yet.
        self._until = time.time() + aws.PATIENCE_SECONDS
        authority = base64.b64decode(self.cluster["certificateAuthority"]["data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        # Strict by default since Python 3.13, which refuses the CA, without key identifiers, of a cluster that was created on
        # Kubernetes 1.16 or earlier: https://github.com/kubernetes-client/python/issues/2394. Certificate and host name are
        # verified all the same.
        self._tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._token = token(cluster, role)

    def call(self, method, path, body=None, accept="application/json"):
        """The object that the API answers with; None for one, or a kind, that is not there."""
        request = urllib.request.Request(
            self.cluster["endpoint"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
                "Accept": accept,
            },
        )
        return aws.patiently(lambda: self._answer(request), self._until)

    def items(self, path, accept="application/json"):
        """The objects of a list; none of a kind that is not there."""
        return (self.call("GET", path, accept=accept) or {}).get("items") or []

    def _answer(self, request):
        try:
            with urllib.request.urlopen(request, context=self._tls, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code in {401, 403}:
                who = (
                    f"{self.role}; see that it is mapped to system:masters" if self.role else "the function's own role"
                )
                raise PermissionError(f"the API of cluster {self.name} answered {error.code} to {who}") from None
            raise


def token(cluster, role=None):
    """What `aws eks get-token` gives: a signed question who the caller is."""
    session = boto3.Session()
    if role:
        taken = aws.client("sts", session).assume_role(RoleArn=role, RoleSessionName="karpenter-gpu")["Credentials"]
        session = boto3.Session(taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"])
    sts = session.client("sts")
    region = sts.meta.region_name
    signer = RequestSigner(ServiceId("STS"), region, "sts", "v4", session.get_credentials(), session.events)
    question = {
        "method": "GET",
        "url": f"{sts.meta.endpoint_url}/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": cluster},
        "context": {},
    }
    url = signer.generate_presigned_url(question, region_name=region, expires_in=60, operation_name="")
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def maker(one):
    """The stack that made an object, if one did."""
    return (one["metadata"].get("annotations") or {}).get(aws.MADE_BY)
