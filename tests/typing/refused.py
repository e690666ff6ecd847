"""What strict type checkers must refuse: each ignored error must be one, or it is an error to ignore it."""

import karpenter_gpu
from karpenter_gpu import EksGpuStack, GpuPol, GpuPool, KarpenterSettings, NewCluster  # type: ignore[attr-defined]

# isort: split
import aws_cdk as cdk

karpenter_gpu.EksGpuStak  # type: ignore[attr-defined]
GpuPool(name="p", gpu_names="l4", gpu_limit=1)  # type: ignore[arg-type]
GpuPool(name="p", gpu_names=["l4"], gpu_limt=1)  # type: ignore[call-arg]
GpuPool(name="p", capacity_types=["sport"], gpu_limit=1)  # type: ignore[list-item]
GpuPool(name="p", architecture="x86", gpu_limit=1)  # type: ignore[arg-type]
GpuPool(name="p", consolidate_after=60, gpu_limit=1)  # type: ignore[arg-type]
GpuPool(gpu_limit=1)  # type: ignore[call-arg]
KarpenterSettings(identity="pod_identity")  # type: ignore[arg-type]
EksGpuStack(cdk.App(), "P", cluster=NewCluster(name="gpu"), pools=[], stackname="p")  # type: ignore[call-arg]
