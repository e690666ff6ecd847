"""What a look found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from karpenter_gpu.leftovers import prices
from karpenter_gpu.leftovers.account import Account, sentence
from karpenter_gpu.leftovers.look import Findings, Leftover


def document(account: Account, findings: Findings, removed: Sequence[Leftover]) -> dict[str, Any]:
    """All of it, for `--json`."""
    return {
        "cluster": account.owner.cluster,
        "region": account.owner.region,
        "account": account.id,
        "cluster_status": _status(account, findings),
        "clean": not findings.left and not findings.unseen,
        "left": [{**_named(one), **_facts(one)} for one in findings.left],
        "unseen": [{"kinds": list(one.kinds), "why": one.why} for one in findings.unseen],
        "removed": [_named(one) for one in removed],
    }


def _named(one: Leftover) -> dict[str, str]:
    return {"kind": one.kind.name, "id": one.thing.id}


def _facts(one: Leftover) -> dict[str, Any]:
    return {
        "name": one.thing.name,
        "because": one.because,
        "created": one.born.isoformat() if one.born else None,
        "usd_per_day": one.usd_per_day,
        "kept": one.kept,
    }


def _status(account: Account, findings: Findings) -> str | None:
    """EKS's, or why nobody knows; None when there is no such cluster."""
    if any("cluster" in one.kinds for one in findings.unseen):
        return "unknown"
    return str(account.cluster["status"]) if account.cluster else None


def print_findings(console: Console, account: Account, findings: Findings) -> None:
    """All of it, on a terminal."""
    where = f"cluster {account.owner.cluster} in {account.owner.region}, account {account.id}"
    if findings.left:
        console.print(_table(findings.left, where))
        console.print(f"[dim]{escape(_sum(findings.left))}[/]")
    if _status(account, findings) not in (None, "unknown"):
        console.print("The cluster exists, so what is listed is in use: this is what it would leave.")
    for unseen in findings.unseen:
        console.print(f"[yellow]not looked at[/]: {escape(', '.join(unseen.kinds))}: {escape(unseen.why)}")
    if not findings.left and not findings.unseen:
        console.print(f"[green]nothing is left[/] of {escape(where)}")
        console.print(f"[dim]{escape(_unknown(account))}[/]")


def _table(left: Sequence[Leftover], title: str) -> Table:
    table = Table(title=f"left of {escape(title)}", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("kind", "id", "age", "$ a day", "whose", "--delete"):
        table.add_column(name, overflow="fold", justify="right" if name in ("age", "$ a day") else "left")
    for one in left:
        price = one.usd_per_day
        cells = (
            one.kind.name,
            one.shown,
            _age(one.born),
            "not priced" if price is None else f"{price:.2f}",
            one.because,
            f"stays: {one.kept}" if one.kept else "deletes it",
        )
        table.add_row(*map(escape, cells))
    return table


def _age(born: datetime | None) -> str:
    if born is None:
        return "-"
    hours = max(0.0, (datetime.now(timezone.utc) - born).total_seconds() / 3600)
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} d"


def _sum(left: Sequence[Leftover]) -> str:
    priced = [one.usd_per_day for one in left]
    known, unknown = sum(one for one in priced if one is not None), priced.count(None)
    more = f", and {unknown} not priced" if unknown else ""
    return f"{len(left)} left, ${known:.2f} a day{more}; {prices.NOTE}"


def _unknown(account: Account) -> str:
    """A name that was mistyped looks like a cluster that is gone."""
    try:
        others = account.clusters
    except Exception as error:  # noqa: BLE001 - all else was seen; which clusters there are only helps with a name
        return f"EKS knows no cluster {account.owner.cluster} in {account.owner.region}; others: {sentence(error)}"
    names = f"it has {', '.join(others[:8])}{' and more' if len(others) > 8 else ''}" if others else "it has none"
    return f"EKS knows no cluster {account.owner.cluster} in {account.owner.region}; {names}"


def print_deleted(console: Console, removed: Sequence[Leftover]) -> None:
    """What a deletion did; the table that follows says what stays, and why."""
    for one in removed:
        console.print(f"[green]deleted[/] {escape(one.kind.name)} {escape(one.shown)}")
