"""`eks-rehearse`: what a person types, and what the terminal shows."""

from __future__ import annotations

import fnmatch
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.result import FAILED, PASSED, Result
from eks_rehearsal.timeline import Moment

if TYPE_CHECKING:  # With these comes moto: --help need not wait for it.
    from eks_rehearsal.account import Account
    from eks_rehearsal.iam.evaluator import Policy
    from eks_rehearsal.stories import DestroyStory, Story

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
# Those of STORIES, in that order.
NAMES = ("scale", "pools", "interruption", "plugin", "ceiling", "sharing", "reserved", "repair", "upgrade")
# Those of DESTROYS, in that order.
DESTROYS = tuple(
    f"destroy-{name}"
    for name in (
        "no-api",
        "no-controller",
        "no-nodes",
        "do-not-disrupt",
        "budget",
        "pods",
        "interfaces",
        "slow",
        "throttled",
        "cancelled",
        "never-initialized",
    )
)
STYLES = {
    "story": "bold",
    "stack": "dim",
    "pod": "cyan",
    "nodeclaim": "magenta",
    "node": "blue",
    "instance": "yellow",
    "event": "dim",
    "karpenter": "dim",
}
# Where there is no terminal to show a bar, a line is written this often: CI ends what is silent.
LINE_EVERY_SECONDS = 30.0
PLAIN_STATES = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE", "ROLLBACK_COMPLETE")


@app.command()
def command(
    assembly: Annotated[Path, typer.Argument(help="What `cdk synth` wrote.")] = Path("cdk.out"),
    story: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Play this story alone; may be given more than once: {', '.join(NAMES)}; and of what goes wrong in a destroy, "
            f"played only when asked for: {', '.join(DESTROYS)}. 'destroy-*' is all of these."
        ),
    ] = None,
    stage_of_app: Annotated[
        list[str] | None,
        typer.Option(
            "--stage", help="Rehearse this stage of the app; may be given more than once; all of them with `all`."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running after the stories, until ctrl-C.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show the log of Karpenter's controller, too.")] = False,
    port: Annotated[int, typer.Option(help="The port of the emulated AWS; a free one when 0.", min=0, max=65535)] = 0,
    authorize: Annotated[
        bool,
        typer.Option(
            help="Decide the calls of roles and users by their policies, boundaries and service control policies, as IAM does."
        ),
    ] = True,
    scp: Annotated[
        list[Path] | None,
        typer.Option(
            help="A service control policy, as JSON; may be given more than once. Those that allow nothing stand beside FullAWSAccess."
        ),
    ] = None,
    policy: Annotated[
        list[Path] | None,
        typer.Option(
            help="A policy of the account that templates name, a permissions boundary say: its JSON, in a file of its name; may be given more than once."
        ),
    ] = None,
    spread: Annotated[
        float, typer.Option(help="For how many seconds a change of policies does not count yet.", min=0)
    ] = 0.0,
    report_to: Annotated[Path, typer.Option("--report", help="Where the report goes.")] = Path("rehearsal.html"),
) -> None:
    """Deploy a stack on this machine, with the real Karpenter and an emulated AWS, and play the GPU story on it."""
    terminal = Terminal(Console(highlight=False, soft_wrap=True), follow=follow)
    from eks_rehearsal import report  # noqa: PLC0415 - with these comes moto: --help need not wait for it
    from eks_rehearsal.assembly import chosen  # noqa: PLC0415
    from eks_rehearsal.rehearse import Options, rehearse  # noqa: PLC0415

    passed = True
    try:
        folders = chosen(assembly, stage_of_app or [])
        iam = _Iam(authorize, scp or [], policy or [], spread)
        options = Options(stories=_chosen(story or []), keep=keep, port=port, **iam.options())
        _check_writable(report_to)
        for stage, folder in folders.items():
            path = report_to.with_stem(f"{report_to.stem}-{stage}") if len(folders) > 1 else report_to
            with _ended_by(signal.SIGTERM, signal.SIGHUP):
                result = rehearse(folder, terminal, options)
            terminal.sum_up(result)
            report.write(result, path)
            terminal.say(f"the report is {escape(str(path))}")
            passed &= result.passed
    except KeyboardInterrupt:
        terminal.say("[bold]stopped[/bold]: nothing of the rehearsal runs any more")
        raise typer.Exit(130) from None
    except RehearsalError as error:
        terminal.say(f"[bold red]the rehearsal could not begin[/]: {escape(str(error))}")
        raise typer.Exit(2) from None
    except OSError as error:
        terminal.say(
            f"[bold red]the rehearsal stopped[/]: {escape(error.strerror or str(error))} {escape(str(error.filename or ''))}"
        )
        raise typer.Exit(2) from None
    finally:
        terminal.remove_bar()
    raise typer.Exit(0 if passed else 1)


def _chosen(names: list[str]) -> list[Story | DestroyStory]:
    from eks_rehearsal.stories import DESTROYS, STORIES  # noqa: PLC0415

    known: dict[str, Story | DestroyStory] = {story.name: story for story in (*STORIES, *DESTROYS)}
    found = {name: fnmatch.filter(known, name) for name in names}
    if unknown := [name for name, matches in found.items() if not matches]:
        raise RehearsalError(f"there is no story {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[one] for matches in found.values() for one in matches] or list(STORIES)


class _Iam(NamedTuple):
    """What the command line says of IAM."""

    authorize: bool
    controls: list[Path]
    policies: list[Path]
    spread: float

    def options(self) -> dict[str, Any]:
        """As the rehearsal takes them."""
        if not self.authorize and (self.controls or self.policies or self.spread):
            raise RehearsalError("--scp, --policy and --spread say what IAM decides; leave out --no-authorize")
        return {
            "authorize": self.authorize,
            "controls": [_policy(path, "service control policy; --scp takes") for path in self.controls],
            "policies": {path.stem: _policy(path, "policy; --policy takes").document for path in self.policies},
            "spread": self.spread,
        }


def _policy(path: Path, what: str) -> Policy:
    way_out = f"{path} is not a {what} a policy's JSON"
    from eks_rehearsal.iam.evaluator import Policy  # noqa: PLC0415 - only where one is given

    try:
        policy = Policy.read(str(path), path.read_text(encoding="utf-8"))
        stated = bool(policy.statements)
    except (OSError, ValueError, AttributeError) as error:
        raise RehearsalError(f"{way_out} ({error})") from None
    if not stated:
        raise RehearsalError(f"{way_out} (it has no Statement)")
    return policy


def _check_writable(report_to: Path) -> None:
    """Find out before a rehearsal, and not after it, that its report cannot be written."""
    if report_to.is_dir() or not os.access(report_to if report_to.exists() else report_to.absolute().parent, os.W_OK):
        raise RehearsalError(f"the report cannot be written to {report_to}; name another place with --report")


@contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """Take these signals for ctrl-C, so that everything is cleared away."""
    heeded = [one for one in signals if signal.getsignal(one) is not signal.SIG_IGN]  # As nohup asks.
    before = {one: signal.signal(one, signal.default_int_handler) for one in heeded}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class Terminal:
    """Shows how a rehearsal goes.

    Args:
        console: Where.

        follow: Whether Karpenter's log is shown.
    """

    def __init__(self, console: Console, *, follow: bool) -> None:
        self._console = console
        self._follow = follow
        self._lock = threading.Lock()
        columns = (TextColumn("[dim]{task.description}[/]"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True, refresh_per_second=4)
        self._last_line = 0.0

    def say(self, text: str) -> None:
        """Show a line."""
        with self._lock:
            self._console.print(text)

    def started(self, program: str, why: str) -> None:
        self.say(f"[dim]{escape(program)}: {escape(why)}[/]")
        self._last_line = time.monotonic()

    def advanced(self, program: str, what: str, done: int, of: int) -> None:
        if self._console.is_interactive:
            self._show_bar(f"{escape(program)}: {what}", done, of)
        elif time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self.say(f"[dim]{escape(program)}: {done}{f' of {of}' if of else ''} {what}[/]")

    def _show_bar(self, description: str, done: int, of: int) -> None:
        if not self._bar.tasks:
            self._bar.add_task(description, total=None)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], description=description, completed=done, total=of or None)

    def remove_bar(self) -> None:
        """Leave the terminal as it is without a bar."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
            self._bar.stop()

    def finished(self, program: str, seconds: float) -> None:
        self.remove_bar()
        self.say(f"[dim]{escape(program)}: there after {seconds:.0f} s[/]")

    def log(self, line: str) -> None:
        if self._follow:
            self.say(f"[dim]{escape(line)}[/]")

    def moment(self, moment: Moment) -> None:
        if moment.lane == "karpenter":  # Its own words, which `--follow` shows as they are.
            return
        if moment.lane == "stack" and not self._shown_of_stack(moment):
            return
        style = "bold red" if moment.what == FAILED or "FAILED" in moment.what else STYLES[moment.lane]
        if moment.lane == "story" and moment.what == PASSED:
            style = "bold green"
        self.say(f"[{style}]{escape(str(moment))}[/]")

    @staticmethod
    def _shown_of_stack(moment: Moment) -> bool:
        """A stack's own states, every failure, and the custom resources, which take most of the time."""
        state, _, type = moment.what.partition(" ")
        return not type or "FAILED" in state or (type.startswith(("Custom::", "AWS::EKS::")) and state in PLAIN_STATES)

    def kept(self, account: Account) -> None:
        from eks_rehearsal.rehearse import wait_for_the_person  # noqa: PLC0415

        (plane, *_) = account.clusters.values()
        lines = [f"export {key}={shlex.quote(value)}" for key, value in account.root().items()]
        path = account.processes.folder / "environment.sh"
        tools = ":".join(str(folder) for folder in account.tools())
        lines += [f"export KUBECONFIG={shlex.quote(str(plane.kubeconfig))}", f'export PATH="{tools}:$PATH"']
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.say("")
        self.say("[bold]Everything stays until ctrl-C.[/] In another terminal:")
        self.say(f"    . {path}")
        self.say("    kubectl get nodepools,nodeclaims,nodes       kubectl, helm, aws and cdk are the stack's own")
        self.say("    cdk deploy --app PATH/TO/cdk.out             deploys a changed app over this one")
        wait_for_the_person()

    def sum_up(self, result: Result) -> None:
        """Say the outcome of every act, and what was left."""
        self.say("")
        for outcome in result.outcomes:
            style = {PASSED: "green", FAILED: "red"}.get(outcome.verdict, "yellow")
            reason = f": {outcome.reason}" if outcome.reason else ""
            seconds = outcome.ended - outcome.began
            self.say(f"[{style}]{outcome.verdict:<10}[/] {seconds:6.1f} s  {escape(outcome.title)}{escape(reason)}")
        for one in result.destroyed:
            how = f"failed: {one.reason}" if one.reason else "completed"
            left = ", ".join(one.left) or "no instance"
            self.say(escape(f"destroy    {one.seconds:6.1f} s  {', '.join(one.stories)}: {how}; left: {left}"))
        for note in result.notes:
            self.say(f"[yellow]note[/]       {escape(note)}")
        for sentence in result.permissions.sentences if result.permissions else ("nobody asked: --no-authorize",):
            self.say(f"IAM        {escape(sentence)}")
        if result.left is not None:
            self.say(f"left in the account: {escape(', '.join(result.left)) or 'nothing but what was there before'}")
        self.say(f"{result.seconds:.0f} s, ${result.dollars:.2f} of GPUs at the catalogue's on-demand prices")
