"""The commands of `karpenter-gpu`: what a person types. Each imports what it needs when it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from karpenter_gpu.errors import CannotLook

if TYPE_CHECKING:
    from karpenter_gpu.leftovers.account import Account
    from karpenter_gpu.leftovers.look import Findings, Leftover
    from karpenter_gpu.leftovers.remove import Progress

CLEAN, LEFT, NOT_SEEN, STOPPED = 0, 1, 2, 130
# Where there is no terminal, a table is as wide as it needs to be.
WIDE = 4000

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def karpenter_gpu() -> None:
    """GPUs on EKS on demand."""


@app.command()
def verify_clean(
    *,
    cluster: Annotated[str, typer.Option(help="The name the cluster has, or had.")] = "",
    region: Annotated[str, typer.Option(help="Where it was. Default: the region of your profile or environment.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write a JSON document instead of a table.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Ask, then delete what the tags say is this cluster's.")
    ] = False,
    with_data: Annotated[
        bool, typer.Option("--with-data", help="With --delete: also snapshots, logs and volumes of claims.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --delete: do not ask.")] = False,
    policy: Annotated[
        bool,
        typer.Option("--policy", help="Print the IAM policy that looking, or with --delete deleting, needs, and end."),
    ] = False,
) -> None:
    """List what a deleted cluster left in the account, and delete it with --delete.

    Exits with 0 when nothing is left, 1 when something is, 2 when not everything could be looked at.
    """
    if policy:
        from karpenter_gpu.leftovers.kinds import policy as document  # noqa: PLC0415

        typer.echo(json.dumps(document(region, delete=delete), indent=2))
        return
    console = Console(highlight=False, stderr=as_json)
    if not console.is_terminal:
        console.width = WIDE
    try:
        _check(cluster, delete=delete, with_data=with_data, yes=yes, as_json=as_json)
        raise typer.Exit(_run(console, cluster, region, as_json=as_json, delete=delete, with_data=with_data, yes=yes))
    except CannotLook as error:
        console.print(f"[bold red]verify-clean[/]: {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(NOT_SEEN) from None
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where this one was")
        raise typer.Exit(STOPPED) from None


def _check(cluster: str, *, delete: bool, with_data: bool, yes: bool, as_json: bool) -> None:
    """Refuse options that do not go together, all at once."""
    faults = [] if cluster else ["give the cluster's name with --cluster"]
    alone = [name for name, given in (("--yes", yes), ("--with-data", with_data)) if given and not delete]
    if alone:
        faults.append(f"{' and '.join(alone)} mean something with --delete alone; add it, or leave them out")
    if delete and not yes and (as_json or not sys.stdin.isatty()):
        faults.append(
            "--delete asks before it deletes, and there is no terminal to ask on; add --yes, or leave --json out"
        )
    if faults:
        raise CannotLook("; ".join(faults))


def _run(
    console: Console, cluster: str, region: str, *, as_json: bool, delete: bool, with_data: bool, yes: bool
) -> int:
    """Look, delete where that was asked for, look again, and say it all."""
    from karpenter_gpu.leftovers import account as accounts  # noqa: PLC0415
    from karpenter_gpu.leftovers import show  # noqa: PLC0415
    from karpenter_gpu.leftovers.look import keeping_data  # noqa: PLC0415

    account = accounts.account(cluster, region)
    found = _look(account)
    findings = found if with_data else keeping_data(found)
    removed: Sequence[Leftover] = ()
    if delete:
        findings, removed = _delete(console, account, findings, yes=yes, as_json=as_json)
    elif not as_json:
        show.print_findings(console, account, findings)
    if as_json:
        typer.echo(json.dumps(show.document(account, findings, removed), indent=2))
    if findings.unseen:
        return NOT_SEEN
    return LEFT if findings.left else CLEAN


def _look(account: Account) -> Findings:
    """Look at everything, with a bar on a terminal."""
    from rich.progress import Progress  # noqa: PLC0415

    from karpenter_gpu.leftovers.kinds import KINDS  # noqa: PLC0415
    from karpenter_gpu.leftovers.look import look  # noqa: PLC0415

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"looking in {account.owner.region}", total=len(KINDS))
        return look(account, lambda: progress.advance(task))


def _delete(
    console: Console, account: Account, findings: Findings, *, yes: bool, as_json: bool
) -> tuple[Findings, Sequence[Leftover]]:
    """What is left after a deletion, with the reasons, and what was deleted."""
    from karpenter_gpu.leftovers import show  # noqa: PLC0415
    from karpenter_gpu.leftovers.remove import check_deletable, remove  # noqa: PLC0415

    if not as_json:
        show.print_findings(console, account, findings)
    check_deletable(account, findings)
    wanted = [one for one in findings.left if not one.kept]
    if not wanted or not (yes or typer.confirm(f"Delete {len(wanted)} of these {len(findings.left)}?")):
        return findings, ()
    # Whoever was asked may have taken a day to answer.
    now = _look(account)
    check_deletable(account, now)
    asked = {one.key for one in wanted}
    with _progress() as say:
        failed = remove(account, [one for one in now.left if one.key in asked], say)
    after = _look(account)
    why = failed | {one.key: one.kept for one in findings.left if one.kept}
    left = tuple(replace(one, kept=why.get(one.key, one.kept)) for one in after.left)
    there = {one.key for one in left}
    removed = [one for one in wanted if one.key not in there]
    findings = replace(after, left=left)
    if not as_json:
        show.print_deleted(console, removed)
        show.print_findings(console, account, findings)
    return findings, removed


@contextmanager
def _progress() -> Iterator[Progress]:
    """Says what a deletion does: in place on a terminal, line by line elsewhere."""
    console = Console(stderr=True, highlight=False)
    with console.status("deleting") as status:
        yield (lambda text: status.update(escape(text))) if console.is_terminal else console.print
