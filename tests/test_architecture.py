import ast
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import eks_rehearsal
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


def test_what_is_public_is_what_is_there():
    there = {
        name
        for name, value in vars(karpenter_gpu).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(karpenter_gpu.__all__) == there - {"annotations", "TYPE_CHECKING"} | {"EksGpuStack", "Karpenter"}
    assert set(dir(karpenter_gpu)) == {*karpenter_gpu.__all__, "__version__"}


def test_the_version_is_the_distributions():
    assert karpenter_gpu.__version__ == metadata.version("karpenter-gpu")


def test_without_node_the_constructs_say_what_is_missing():
    script = "import karpenter_gpu; karpenter_gpu.Karpenter"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "JSII_NODE": "/nowhere/node"},
        capture_output=True,
        text=True,
        check=False,
    )
    last = ran.stderr.strip().splitlines()[-1]
    assert last.endswith(
        "the CDK runs on Node.js, and '/nowhere/node' is not found; install Node.js, or run: pip install "
        "'karpenter-gpu[node]'"
    )


# The properties of one resource or document, or the options of a command, a line each.
TABLES = {
    "account.__init__",
    "attachment._rights",
    "charts.controller_values",
    "command.command",
    "controller_role.__init__",
    "karpenter.__init__",
    "karpenter._begin",
    "kube.kubeconfig",
    "pool.__init__",
    "kubectl.answer_for_kubectl",
    "metrics._pod",
    "node_class.ec2_node_class",
    "stack.__init__",
}
# To be taken apart; no other may join them.
LONG = {"attachment.__init__", "launching.launch"}


def lines(function):
    """Those of a function, without its docstring."""
    first, *rest = function.body
    begins = first if ast.get_docstring(function) is None or not rest else rest[0]
    return function.end_lineno - function.lineno + 1 - (begins.lineno - first.lineno)


def test_functions_are_short_but_for_those_named_here():
    houses = (Path(karpenter_gpu.__file__).parent, Path(eks_rehearsal.__file__).parent)
    long = {
        f"{path.parent.name if path.stem == '__init__' else path.stem}.{node.name}"
        for house in houses
        for path in house.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and lines(node) >= 40
    }
    assert long <= TABLES | LONG
