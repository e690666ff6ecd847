"""Reads every error out of the code, with the rule that it stands for, for the page of errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
HOLE = "…"
# A sentence, and neither a path, a pattern nor a name.
SENTENCE = re.compile(r"(?!/|<|arn:\[|\[)(?=(?:.*? ){3}).*[a-z]{2} ?.*")
RAISED = re.compile(r"Fault|\w*Error|CannotLook|NodeMissing|NotEmulated|NotBuilt|NoRoom|StoryFailed")


class Place(NamedTuple):
    """Where a person meets errors, and the code that has them.

    Args:
        title: Of the section.

        about: A sentence.

        files: Patterns below the root.

        all: Whether every sentence of a function counts, not only of those that raise or yield faults.
    """

    title: str
    about: str
    files: tuple[str, ...]
    all: bool = False


PLACES = (
    Place(
        "Settings",
        "At synthesis, before anything exists. Each line begins with the setting: its dotted path in `cdk.json`, its keyword in Python.",
        ("karpenter_gpu/settings/*.py",),
    ),
    Place(
        "Constructs and look-ups",
        "At synthesis, of the cluster, the network and the arguments of `Karpenter` and `EksGpuStack`.",
        ("karpenter_gpu/cdk/*.py", "karpenter_gpu/stack.py", "karpenter_gpu/_node.py", "app.py"),
    ),
    Place(
        "Deployment",
        "In the events of the stack, as the reason of a resource that failed.",
        ("karpenter_gpu/cdk/functions/*.py",),
        all=True,
    ),
    Place(
        "verify-clean",
        "From `karpenter-gpu verify-clean`.",
        ("karpenter_gpu/leftovers/*.py", "karpenter_gpu/commands.py"),
    ),
    Place(
        "Rehearsal",
        "From `eks-rehearse`; what the emulated AWS answers is AWS's own text.",
        (
            "eks_rehearsal/*.py",
            "eks_rehearsal/account/*.py",
            "eks_rehearsal/cloudformation/*.py",
            "eks_rehearsal/cloudformation/types/calls.py",
            "eks_rehearsal/cluster/*.py",
            "eks_rehearsal/functions/*.py",
            "eks_rehearsal/programs/*.py",
        ),
    ),
)


class Error(NamedTuple):
    """A sentence with its values left open, and the rule where one is written down beside it."""

    text: str
    rule: str


def errors(place: Place) -> list[Error]:
    """Every error of a place, each once, in the order of the code."""
    files = sorted({file for pattern in place.files for file in ROOT.glob(pattern)})
    found = {error.text: error for file in files for error in _of_file(file, all=place.all)}
    return list(found.values())


def _of_file(file: Path, *, all: bool) -> Iterator[Error]:
    for scope in ast.walk(ast.parse(file.read_text())):
        if isinstance(scope, (ast.FunctionDef, ast.Module)):
            # Elsewhere a docstring is about the function.
            has_rule = isinstance(scope, ast.FunctionDef) and file.name == "rules.py"
            rule = (ast.get_docstring(scope) or "").partition("\n")[0] if has_rule else ""
            for text in _of_scope(scope, all=all):
                yield Error(text, rule)


def _of_scope(scope: ast.FunctionDef | ast.Module, *, all: bool) -> Iterator[str]:
    own = list(_own(scope))
    strings: list[ast.expr] = []
    if isinstance(scope, ast.Module):
        tables = (node for node in own if isinstance(node, ast.Dict))
        strings = [value for table in tables if _is_table(table) for value in table.values]
    elif all or _is_text(scope.returns) or any(map(_is_raised, own)):
        strings = [node for node in own if isinstance(node, ast.expr)]
    for text in map(_text, strings):
        if SENTENCE.fullmatch(text) and len(re.findall(r"[a-z]{2,}", text)) > 2:
            yield text


def _is_text(returned: ast.expr | None) -> bool:
    """Whether a function gives text, which may be put into an error."""
    return returned is not None and ast.unparse(returned).partition(" ")[0] == "str"


def _is_raised(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and bool(RAISED.fullmatch(_called(node)))


def _is_table(node: ast.Dict) -> bool:
    return sum(bool(_text(value)) for value in node.values) > 3


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """What is in a scope, without what is in functions within, or within a text."""
    for child in ast.iter_child_nodes(scope):
        is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if is_docstring or isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            continue
        yield child
        if not isinstance(child, ast.JoinedStr):
            yield from _own(child)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"\{\w*\}", HOLE, node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    else:
        return ""
    return " ".join(text.split())
