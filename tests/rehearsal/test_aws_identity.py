import base64
import hmac
import json
import time

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.iam.evaluator import Caller, refusal
from tests.until import until

ACCOUNT = "123456789012"
ISSUER = "https://oidc.eks.us-east-1.amazonaws.com/id/ABC"
SUBJECT = "system:serviceaccount:kube-system:karpenter"
KEY = rsa.generate_private_key(65537, 2048)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks(issuer):
    numbers = KEY.public_key().public_numbers()
    e, n = (encoded(value.to_bytes((value.bit_length() + 7) // 8, "big")) for value in (numbers.e, numbers.n))
    return {"keys": [{"kty": "RSA", "kid": "k", "e": e, "n": n}]} if issuer == ISSUER else {"keys": []}


def token(key=KEY, **claims):
    said = {"iss": ISSUER, "sub": SUBJECT, "aud": ["sts.amazonaws.com"], "exp": time.time() + 600, **claims}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "k"}, said))
    return f"{signed}.{encoded(key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


def forged():
    """Signed with the public key as the secret of a keyed hash, which a library that is careless takes."""
    secret = json.dumps(jwks(ISSUER)).encode()
    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "k"}, {"iss": ISSUER}))
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"


def allow(principal, action, **condition):
    statement = {"Effect": "Allow", "Principal": principal, "Action": action}
    return {"Version": "2012-10-17", "Statement": [{**statement, **({"Condition": condition} if condition else {})}]}


def role(aws, name, trust):
    return aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]


@pytest.fixture(scope="module")
def aws():
    hooks = Hooks(create_cluster=lambda *_: ClusterEndpoint("https://127.0.0.1:1", "", ISSUER), jwks=jwks)
    with EmulatedAws(region="us-east-1", hooks=hooks) as emulated:
        yield emulated


@pytest.fixture(scope="module")
def irsa(aws):
    provider = aws.client("iam").create_open_id_connect_provider(
        Url=ISSUER, ClientIDList=["sts.amazonaws.com"], ThumbprintList=["0" * 40]
    )["OpenIDConnectProviderArn"]
    keys = {
        f"{ISSUER.removeprefix('https://')}:{claim}": value
        for claim, value in (("sub", SUBJECT), ("aud", "sts.amazonaws.com"))
    }
    return role(aws, "karpenter", allow({"Federated": provider}, "sts:AssumeRoleWithWebIdentity", StringEquals=keys))


def assume(aws, arn, bearer):
    return aws.client("sts").assume_role_with_web_identity(RoleArn=arn, RoleSessionName="pod", WebIdentityToken=bearer)


def test_a_service_account_named_by_the_trust_policy_becomes_the_role(aws, irsa):
    keys = assume(aws, irsa, token())["Credentials"]
    assert aws.role_of(keys["AccessKeyId"]) == irsa
    mine = {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"]}
    sts = aws.client("sts", **mine, aws_session_token=keys["SessionToken"])
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/karpenter/pod"
    assert aws.calls[-1].principal == irsa


@pytest.mark.parametrize(
    ("bearer", "code", "reason"),
    [
        (lambda: token(sub="system:serviceaccount:default:other"), "AccessDenied", "Not authorized to perform"),
        (lambda: token(aud=["pods.eks.amazonaws.com"]), "InvalidIdentityToken", "Incorrect token audience"),
        (lambda: token(iss="https://elsewhere.test"), "InvalidIdentityToken", "no key of"),
        (lambda: token(rsa.generate_private_key(65537, 2048)), "InvalidIdentityToken", "no key of"),
        (lambda: token(exp=time.time() - 1), "ExpiredTokenException", "Token expired"),
        (lambda: "not-a-token", "InvalidIdentityToken", "not a JSON web token"),
        (forged, "InvalidIdentityToken", "signed with HS256, not RS256 or ES256"),
        (lambda: token(exp=None), "InvalidIdentityToken", "'exp'"),
    ],
    ids=[
        "another subject",
        "another audience",
        "another issuer",
        "another key",
        "too late",
        "no token",
        "another way",
        "no end",
    ],
)
def test_any_other_token_is_refused_with_the_reason(aws, irsa, bearer, code, reason):
    with pytest.raises(ClientError, match=rf"\({code}\).*{reason}"):
        assume(aws, irsa, bearer())


def test_a_role_that_does_not_exist_is_assumed_by_nobody(aws, irsa):
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(aws, f"{irsa}-not", token())
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.client("sts").assume_role(RoleArn=f"{irsa}-not", RoleSessionName="cdk")


def test_a_role_is_assumed_by_whom_its_trust_names(aws):
    of_account = role(aws, "deploy", allow({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "sts:AssumeRole"))
    of_service = role(aws, "service", allow({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole"))
    sts = aws.client("sts")
    keys = sts.assume_role(RoleArn=of_account, RoleSessionName="cdk")["Credentials"]
    assert aws.role_of(keys["AccessKeyId"]) == of_account
    with pytest.raises(ClientError, match=rf"AccessDenied.*{of_service}"):
        sts.assume_role(RoleArn=of_service, RoleSessionName="cdk")


def test_a_program_is_given_the_credentials_of_a_role(aws):
    arn = role(aws, "function", allow({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole"))
    environment = aws.credentials_for(arn, "invocation")
    assert aws.role_of(environment["AWS_ACCESS_KEY_ID"]) == arn
    assert (environment["AWS_REGION"], aws.role_of("AKIAUNKNOWN")) == ("us-east-1", None)


@pytest.fixture(scope="module")
def cluster(aws):
    subnets = [subnet["SubnetId"] for subnet in aws.client("ec2").describe_subnets()["Subnets"][:2]]
    made = role(aws, "control-plane", allow({"Service": "eks.amazonaws.com"}, "sts:AssumeRole"))
    eks = aws.client("eks")
    eks.create_cluster(name="gpu", roleArn=made, resourcesVpcConfig={"subnetIds": subnets})
    assert until(lambda: eks.describe_cluster(name="gpu")["cluster"]["status"] == "ACTIVE", 5)
    return "gpu"


def pod_token(name="karpenter", **claims):
    account = {"namespace": "kube-system", "serviceaccount": {"name": name}}
    return token(**{"aud": ["pods.eks.amazonaws.com"], "kubernetes.io": account, **claims})


def test_pod_identity_gives_the_associated_role_to_its_service_account_only(aws, cluster):
    trust = allow({"Service": "pods.eks.amazonaws.com"}, ["sts:AssumeRole", "sts:TagSession"])
    arn, eks, auth = role(aws, "pods", trust), aws.client("eks"), aws.client("eks-auth")
    named = {"clusterName": cluster, "namespace": "kube-system", "serviceAccount": "karpenter", "roleArn": arn}
    made = eks.create_pod_identity_association(**named)["association"]
    with pytest.raises(ClientError, match="ResourceInUseException"):
        eks.create_pod_identity_association(**named)
    answer = auth.assume_role_for_pod_identity(clusterName=cluster, token=pod_token())
    assert aws.role_of(answer["credentials"]["accessKeyId"]) == arn
    assert answer["subject"] == {"namespace": "kube-system", "serviceAccount": "karpenter"}
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        auth.assume_role_for_pod_identity(clusterName=cluster, token=pod_token("other"))
    with pytest.raises(ClientError, match="InvalidTokenException"):
        auth.assume_role_for_pod_identity(clusterName=cluster, token=pod_token(aud=["sts.amazonaws.com"]))
    eks.delete_pod_identity_association(clusterName=cluster, associationId=made["associationId"])
    assert eks.list_pod_identity_associations(clusterName=cluster)["associations"] == []


def test_pod_identity_needs_a_trust_that_lets_it_tag_the_session(aws, cluster):
    arn = role(aws, "untagged", allow({"Service": "pods.eks.amazonaws.com"}, "sts:AssumeRole"))
    aws.client("eks").create_pod_identity_association(
        clusterName=cluster, namespace="kube-system", serviceAccount="untagged", roleArn=arn
    )
    with pytest.raises(ClientError, match=r"AccessDeniedException.*sts:TagSession"):
        aws.client("eks-auth").assume_role_for_pod_identity(clusterName=cluster, token=pod_token("untagged"))


def test_a_role_that_has_left_an_instance_profile_cannot_leave_it_again(aws):
    iam = aws.client("iam")
    role(aws, "leaving", allow({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole"))
    iam.create_instance_profile(InstanceProfileName="left")
    iam.add_role_to_instance_profile(InstanceProfileName="left", RoleName="leaving")
    iam.remove_role_from_instance_profile(InstanceProfileName="left", RoleName="leaving")
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.remove_role_from_instance_profile(InstanceProfileName="left", RoleName="leaving")


def test_an_instance_profiles_tags_are_listed(aws):
    iam, tags = aws.client("iam"), [{"Key": "of", "Value": "a class"}]
    iam.create_instance_profile(InstanceProfileName="tagged", Tags=tags)
    assert iam.list_instance_profile_tags(InstanceProfileName="tagged")["Tags"] == tags
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.list_instance_profile_tags(InstanceProfileName="no-such")


def test_instance_profiles_are_listed_by_path(aws):
    iam = aws.client("iam")
    for path in ("/karpenter/us-east-1/a/", "/karpenter/us-east-1/b/"):
        iam.create_instance_profile(InstanceProfileName=path.strip("/").replace("/", "_"), Path=path)
    listed = iam.list_instance_profiles(PathPrefix="/karpenter/us-east-1/a/")["InstanceProfiles"]
    assert [profile["Path"] for profile in listed] == ["/karpenter/us-east-1/a/"]


@pytest.mark.parametrize("name", ["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"])
def test_awss_managed_policies_can_be_attached(aws, name):
    iam = aws.client("iam")
    arn = role(aws, f"with-{name}", allow({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole"))
    iam.attach_role_policy(RoleName=arn.rpartition("/")[2], PolicyArn=f"arn:aws:iam::aws:policy/{name}")
    assert iam.get_policy(PolicyArn=f"arn:aws:iam::aws:policy/{name}")["Policy"]["AttachmentCount"] == 1


CALLER = Caller({"Service": frozenset({"s"})}, {"k": ("value",)})


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"StringEquals": {"k": ["other", "value"]}}, True),
        ({"StringLike": {"K": "val*"}}, True),
        ({"StringNotEquals": {"k": "value"}}, False),
        ({"StringEquals": {"absent": "x"}}, False),
        ({"StringEqualsIfExists": {"absent": "x"}}, True),
        ({"Null": {"absent": "true"}}, True),
        ({"ForAllValues:StringEquals": {"absent": "x"}}, True),
        ({"NumericLessThan": {"k": "1"}}, False),
    ],
)
def test_a_condition_holds_as_iam_has_it(condition, allowed):
    policy = allow({"Service": "s"}, "sts:*", **condition)
    assert (refusal(policy, "sts:AssumeRole", CALLER) == "") is allowed


def test_a_denial_wins():
    policy = allow({"Service": "s"}, "sts:*")
    policy["Statement"].append({"Effect": "Deny", "Principal": "*", "Action": "*"})
    assert refusal(policy, "sts:AssumeRole", CALLER) == "statement 2 of the trust policy denies it"
