"""Break one thing at a time in the code that does the most harm when it is wrong, and see that a test fails: make mutants.

mutmut and cosmic-ray were considered. Each mutant of cosmic-ray is a process that imports moto and boto3 again, some seconds each;
mutmut calls what it changed through a function of its own, which Lambda functions that are loaded from their file do not have.
Here a process that has imported all but the code itself is forked for each mutant, and nothing is written to disk.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import importlib.machinery
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import botocore.loaders
import botocore.session
import pytest

ROOT = Path(__file__).parents[1]
FUNCTIONS = "karpenter_gpu/cdk/functions"
# What is broken, in the order of the harm that it could do, and the tests that concern it; none of them needs the CDK.
CONCERNED = {
    f"{FUNCTIONS}/attach.py": ["tests/cdk/test_attach_handler.py", "tests/cdk/test_lifecycle.py"],
    f"{FUNCTIONS}/drain.py": ["tests/cdk/test_drain_handler.py"],
    f"{FUNCTIONS}/aws_auth.py": ["tests/cdk/test_aws_auth_handler.py", "tests/cdk/test_lifecycle.py"],
    f"{FUNCTIONS}/takeover.py": ["tests/cdk/test_takeover_handler.py"],
    f"{FUNCTIONS}/node_access.py": ["tests/cdk/test_node_access_handler.py", "tests/cdk/test_lifecycle.py"],
    f"{FUNCTIONS}/sweep.py": ["tests/cdk/test_sweep_handler.py"],
    "karpenter_gpu/policies/controller.py": ["tests/policies/test_controller.py"],
    "karpenter_gpu/policies/interruption.py": ["tests/policies/test_interruption.py"],
    "karpenter_gpu/settings/rules.py": ["tests/settings"],
}
IMPORTED = ("boto3", "eks_rehearsal.aws.server", "moto", "yaml")
# Those that change nothing that anybody could see, by file and line, with the reason.
EQUIVALENT: dict[tuple[str, str], str] = {}
# Fields of nodes that type checkers read.
TYPES = ("returns", "annotation", "decorator_list")
# What is said for a log alone, whose absence nobody notices.
LOGS = ("print", "traceback.print_exc")
SWAPPED: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.Mult: ast.Div,
}  # fmt: skip


class Mutant(NamedTuple):
    """One thing broken: what stands in a field of a node instead, and what a person is told of it."""

    line: int
    words: str
    parent: ast.AST
    field: str
    value: Any


def mutants(tree: ast.AST) -> Iterator[Mutant]:
    """Every mutant of a module."""
    for parent in _run_code(tree):
        for field, value in ast.iter_fields(parent):
            if field in TYPES:
                continue
            if isinstance(value, list):
                yield from _of_list(parent, field, value)
            elif isinstance(value, ast.AST):
                for words, other in _others(value, parent, field):
                    yield Mutant(_line(value, parent), words, parent, field, other)


def _run_code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of what is run, without sentences for people."""
    yield node
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if field not in TYPES and isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from _run_code(child)


def _line(node: ast.AST, parent: ast.AST) -> int:
    return getattr(node, "lineno", getattr(parent, "lineno", 0))


def _of_list(parent: ast.AST, field: str, value: list[Any]) -> Iterator[Mutant]:
    for place, one in enumerate(value):
        for words, other in _others(one, parent, field):
            yield Mutant(_line(one, parent), words, parent, field, [*value[:place], other, *value[place + 1 :]])
        left_out = [*value[:place], *value[place + 1 :]]
        is_literal = isinstance(parent, ast.List | ast.Tuple | ast.Set) and not isinstance(
            getattr(parent, "ctx", None), ast.Store
        )
        if (is_literal and field == "elts") or (field == "keywords" and one.arg):
            yield Mutant(_line(one, parent), f"without {ast.unparse(one)}", parent, field, left_out)


def _others(node: Any, parent: ast.AST, field: str) -> Iterator[tuple[str, ast.AST]]:
    """What could stand instead of a node."""
    if type(node) in SWAPPED:
        yield f"{type(node).__name__} is {SWAPPED[type(node)].__name__}", SWAPPED[type(node)]()
    if field in ("test", "ifs") and not isinstance(parent, ast.Assert):
        yield from ((f"{ast.unparse(node)} is {value}", ast.Constant(value)) for value in (True, False))
    match node:
        case ast.UnaryOp(ast.Not(), operand):
            yield f"without not: {ast.unparse(operand)}", operand
        case ast.Constant() if not isinstance(parent, ast.Expr):
            yield from _other_constants(node.value)
        case ast.Dict(keys, values) if keys:
            for place, key in enumerate(keys):
                left = ast.Dict(keys[:place] + keys[place + 1 :], values[:place] + values[place + 1 :])
                yield f"without {ast.unparse(key or values[place])}", left
        case ast.Return(value) if value and not (isinstance(value, ast.Constant) and value.value is None):
            yield f"{ast.unparse(node)} is return None", ast.Return(ast.Constant(None))
        case ast.Expr(ast.Call()) | ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign() if not _is_log(node):
            yield f"without {ast.unparse(node)}", ast.Pass()
    if isinstance(node, ast.expr) and field == "values" and isinstance(parent, ast.BoolOp):
        yield f"without {ast.unparse(node)}", ast.Constant(isinstance(parent.op, ast.And))


def _is_log(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in LOGS


def _other_constants(value: Any) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(value, bool):
        yield f"{value} is {not value}", ast.Constant(not value)
    elif isinstance(value, int):
        yield f"{value} is {value + 1}", ast.Constant(value + 1)
    elif isinstance(value, str) and re.fullmatch(r"\S*\w\S*|", value):
        yield f"{value!r} is another text", ast.Constant(f"x{value}x")


def is_killed(path: Path, tree: ast.Module, tests: list[str], seconds: float) -> bool:
    """Whether a test fails, or none ends in time, with a module that is another one."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os._exit(_run(path, tree, tests))
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status != 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _run(path: Path, tree: ast.Module, tests: list[str]) -> int:
    code = importlib.machinery.SourceFileLoader.get_code

    def changed(self: Any, name: str) -> Any:
        found = self.get_filename(name)
        return compile(tree, found, "exec") if Path(found) == path else code(self, name)

    importlib.machinery.SourceFileLoader.get_code = changed  # type: ignore[method-assign]
    for name in [name for name in sys.modules if name.partition(".")[0] == "karpenter_gpu"]:
        del sys.modules[name]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return pytest.main(["-x", "-q", "--noconftest", "-p", "no:xdist", "-p", "no:syrupy", *tests])


def score(name: str, sample: int) -> tuple[int, int]:
    """How many mutants of a file are killed, of how many; those that live are printed."""
    path, tests = ROOT / name, [str(ROOT / test) for test in CONCERNED[name]]
    text = path.read_text()
    tree, lines = ast.parse(text), text.splitlines()
    began = time.monotonic()
    if is_killed(path, tree, tests, 600):
        sys.exit(f"{name}: its tests fail without a mutant; mend them first: pytest {' '.join(CONCERNED[name])}")
    patience = 10 * (time.monotonic() - began) + 10
    found = [one for one in mutants(tree) if (name, lines[one.line - 1].strip()) not in EQUIVALENT]
    if sample:
        # The same ones as long as the file is the same.
        found = random.Random(name).sample(found, min(sample, len(found)))
    killed = 0
    for one in found:
        before = getattr(one.parent, one.field)
        setattr(one.parent, one.field, one.value)
        if is_killed(path, ast.fix_missing_locations(tree), tests, patience):
            killed += 1
        else:
            print(f"lives: {name}:{one.line}: {one.words}\n       {lines[one.line - 1].strip()}", flush=True)
        setattr(one.parent, one.field, before)
    print(f"{name}: {killed} of {len(found)} killed", flush=True)
    return killed, len(found)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("files", nargs="*", default=[], help="which of the files; all of them without")
    asked.add_argument("--sample", type=int, default=0, help="how many mutants of each file; all of them without")
    given = asked.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    botocore.session.create_loader = functools.cache(botocore.loaders.create_loader)
    for name in IMPORTED:
        importlib.import_module(name)
    for service in ("ec2", "eks", "iam", "ssm"):
        importlib.import_module("boto3").client(service, region_name="eu-west-1")
    names = [name for name in CONCERNED if not given.files or any(one in name for one in given.files)]
    scores = [score(name, given.sample) for name in names]
    killed, of = (sum(one[place] for one in scores) for place in (0, 1))
    print(f"{killed} of {of} killed, {100 * killed / max(of, 1):.1f} %")
    return killed < 0.95 * of


if __name__ == "__main__":
    sys.exit(main())
