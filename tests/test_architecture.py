import subprocess
import sys
from pathlib import Path

import pytest

import karpenter_gpu
from tests.shapes import ROOT


def test_the_doors_open_one_way():
    lint = Path(sys.executable).parent / "lint-imports"
    ran = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_settings_need_neither_the_cdk_nor_node():
    script = (
        "import sys, karpenter_gpu\n"
        "karpenter_gpu.GpuPool(name='a', gpu_names=('l4',), gpu_limit=1)\n"
        "sys.exit(any(name in sys.modules for name in ('aws_cdk', 'jsii', 'constructs')))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_every_public_name_is_there_and_in_order():
    assert sorted(karpenter_gpu.__all__, key=lambda name: (not name.isupper(), name)) == karpenter_gpu.__all__
    for name in karpenter_gpu.__all__:
        assert getattr(karpenter_gpu, name)


def test_a_name_that_is_not_there_is_said_to_be_missing():
    with pytest.raises(AttributeError, match="module 'karpenter_gpu' has no attribute 'GpuPol'"):
        _ = karpenter_gpu.GpuPol
