"""User data as Karpenter 1.14 writes it: its own golden files are the examples."""

import pytest

from eks_rehearsal.cluster.user_data import registration
from eks_rehearsal.errors import NotEmulated

NODE_CONFIG = """\
# Karpenter Generated NodeConfig
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
metadata: {}
spec:
  cluster:
    apiServerEndpoint: https://127.0.0.1:6443
    certificateAuthority: Y2EtYnVuZGxlCg==
    cidr: 10.100.0.0/16
    name: gpu
  containerd: {}
  instance:
    localStorage: {}
  kubelet:
    config:
      clusterDNS:
      - 10.0.100.10
      registerWithTaints:
      - effect: NoSchedule
        key: nvidia.com/gpu
        value: "true"
      - effect: NoExecute
        key: karpenter.sh/unregistered
    flags:
    - --node-labels="karpenter.sh/capacity-type=spot,karpenter.sh/nodepool=inference"
"""
LABELS = {"karpenter.sh/capacity-type": "spot", "karpenter.sh/nodepool": "inference"}
TAINTS = (
    {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"},
    {"key": "karpenter.sh/unregistered", "effect": "NoExecute"},
)


def mime(*parts):
    whole = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="//"\n\n'
    return whole + "".join(f"--//\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts) + "--//--\n"


NODEADM = "application/node.eks.aws"
SHELL = 'text/x-shellscript; charset="us-ascii"'


def test_al2023_says_all_in_a_node_config():
    told = registration(mime((NODEADM, NODE_CONFIG)))
    assert (told.cluster, told.endpoint) == ("gpu", "https://127.0.0.1:6443")
    assert told.labels == LABELS
    assert told.taints == TAINTS
    assert not told.brings_device_plugin


def test_al2023_takes_a_script_and_a_node_config_of_the_users_own_beside_karpenters():
    own = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  cluster:\n    name: other\n  kubelet:\n    flags:\n    - --node-labels=team=ml\n"
    told = registration(mime((SHELL, "#!/bin/bash\necho kind: NodeConfig"), (NODEADM, own), (NODEADM, NODE_CONFIG)))
    assert told.cluster == "gpu"
    assert told.labels == {"team": "ml", **LABELS}


def test_a_node_config_need_not_be_in_mime():
    assert registration(NODE_CONFIG).taints == TAINTS


def test_a_node_config_without_taints_or_labels_has_none():
    empty = "kind: NodeConfig\nspec:\n  cluster: {name: gpu}\n  kubelet:\n    config:\n      registerWithTaints: null\n    flags: null\n"
    told = registration(empty)
    assert (told.cluster, told.endpoint, told.labels, told.taints) == ("gpu", "", {}, ())


AL2 = """\
#!/bin/bash -xe
exec > >(tee /var/log/user-data.log|logger -t user-data -s 2>/dev/console) 2>&1
/etc/eks/bootstrap.sh 'gpu' --apiserver-endpoint 'https://127.0.0.1:6443' --b64-cluster-ca 'Y2EtYnVuZGxlCg==' \\
--dns-cluster-ip '10.0.100.10' \\
--use-max-pods false \\
--kubelet-extra-args '--node-labels="karpenter.sh/capacity-type=spot,karpenter.sh/nodepool=inference" --register-with-taints="nvidia.com/gpu=true:NoSchedule,karpenter.sh/unregistered:NoExecute" --max-pods=110'
"""


@pytest.mark.parametrize("user_data", [AL2, mime((SHELL, "#!/bin/bash\necho hello"), (SHELL, AL2))])
def test_al2_calls_bootstrap(user_data):
    told = registration(user_data)
    assert (told.cluster, told.endpoint) == ("gpu", "https://127.0.0.1:6443")
    assert told.labels == LABELS
    assert told.taints == TAINTS
    assert not told.brings_device_plugin


def test_bootstraps_cluster_may_stand_last():
    told = registration("/etc/eks/bootstrap.sh --kubelet-extra-args '--node-labels=a=b' gpu\n")
    assert (told.cluster, told.labels, told.endpoint) == ("gpu", {"a": "b"}, "")


def test_taints_of_a_flag_that_is_given_again_are_the_last_ones():
    told = registration(
        "/etc/eks/bootstrap.sh gpu --kubelet-extra-args "
        "'--register-with-taints=a:NoSchedule --register-with-taints=b=:NoExecute'"
    )
    assert told.taints == ({"key": "b", "effect": "NoExecute"},)


BOTTLEROCKET = """\
[settings]
[settings.kubernetes]
api-server = 'https://127.0.0.1:6443'
cluster-certificate = 'Y2EtYnVuZGxlCg=='
cluster-name = 'gpu'
max-pods = 110

[settings.kubernetes.node-labels]
'karpenter.sh/capacity-type' = 'spot'
'karpenter.sh/nodepool' = 'inference'

[settings.kubernetes.node-taints]
'nvidia.com/gpu' = ['true:NoSchedule', 'true:NoExecute']
'karpenter.sh/unregistered' = [':NoExecute']
"""


def test_bottlerocket_says_all_in_toml():
    told = registration(BOTTLEROCKET)
    assert (told.cluster, told.endpoint) == ("gpu", "https://127.0.0.1:6443")
    assert told.labels == LABELS
    assert told.taints == (
        {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "value": "true", "effect": "NoExecute"},
        {"key": "karpenter.sh/unregistered", "effect": "NoExecute"},
    )


def test_bottlerocket_runs_nvidias_device_plugin_itself():
    assert registration(BOTTLEROCKET).brings_device_plugin


@pytest.mark.parametrize("user_data", ["", "#!/bin/bash\necho hello", "<powershell>Start-EKSBootstrap</powershell>"])
def test_user_data_of_no_known_family_is_refused_with_its_beginning(user_data):
    with pytest.raises(NotEmulated, match="neither a NodeConfig .* begins with") as refused:
        registration(user_data)
    assert repr(user_data[:60]) in str(refused.value)


def test_a_taint_that_is_none_is_refused():
    with pytest.raises(NotEmulated, match="taint 'gpu', which is none"):
        registration("/etc/eks/bootstrap.sh gpu --kubelet-extra-args '--register-with-taints=gpu'")
