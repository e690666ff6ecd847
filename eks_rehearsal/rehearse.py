"""A rehearsal, from the assembly to the report."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from eks_rehearsal import diagnosis, premade
from eks_rehearsal.account import Account, CommandResult
from eks_rehearsal.assembly import Assembly
from eks_rehearsal.aws.extensions.ec2 import is_stocked
from eks_rehearsal.cloudformation.engine import Event
from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.pods import follow
from eks_rehearsal.destroying import Destroying
from eks_rehearsal.errors import NotEmulated, RehearsalError
from eks_rehearsal.iam.evaluator import Policy
from eks_rehearsal.inventory import Standing, differences, inventory, settled
from eks_rehearsal.observer import Observer
from eks_rehearsal.processes import Processes
from eks_rehearsal.programs import Programs, Progress, programs
from eks_rehearsal.programs.toolchain import node
from eks_rehearsal.result import FAILED, NOT_PLAYED, PASSED, Billed, Destroyed, Outcome, Permissions, Result
from eks_rehearsal.scene import NAMESPACE, Scene
from eks_rehearsal.stories import STORIES, DestroyStory, NotPlayed, Story
from eks_rehearsal.timeline import Moment, Timeline

Look = Callable[[Account, ControlPlane], Iterator[str]]
STACK = "AWS::CloudFormation::Stack"
# A deploy takes a minute, and a destroy as long as the nodes drain, which nothing here should keep from it.
LONGEST_SECONDS = 1200.0


class Stage(Progress, Protocol):
    """Where a rehearsal tells how it goes."""

    def moment(self, moment: Moment) -> None:
        """Something happened."""

    def log(self, line: str) -> None:
        """Karpenter's controller said something."""

    def kept(self, account: Account) -> None:
        """Everything stands and stays; returns when it is to go."""


@dataclass(frozen=True)
class Options:
    """How to rehearse.

    Args:
        stories: The stories to play, in this order; those of destroys in theirs.

        keep: Whether everything stays after the stories until the person says otherwise.

        port: The port of the emulated AWS; a free one when 0.

        authorize: Whether calls of roles and users are decided by their policies.

        controls: Service control policies, which count where `authorize` is on.

        spread: For how many seconds a change of policies does not count yet.

        policies: What policies of the account say that the templates name, by the policy's name.

        cache: Where programs are kept; the person's cache folder when left out.
    """

    stories: Sequence[Story | DestroyStory] = STORIES
    keep: bool = False
    port: int = 0
    authorize: bool = True
    controls: Sequence[Policy] = ()
    spread: float = 0.0
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cache: Path | None = None


def rehearse(folder: Path, stage: Stage, options: Options = Options()) -> Result:
    """Deploy an assembly here, play stories on it, destroy it, and tell what was seen.

    Args:
        folder: The cloud assembly, as `cdk synth` wrote it.

        stage: Is told how it goes.

        options: How.

    Raises:
        RehearsalError: It could not begin: a program that cannot be built, an assembly that cannot be read, has what the
            rehearsal does not know, or is for a region that the emulated EC2 knows nothing of, a port that is taken. What goes
            wrong after that is in the result.
    """
    assembly = Assembly.read(folder)
    if not is_stocked(assembly.region):
        raise RehearsalError(
            f"the emulated EC2 has no list of what {assembly.region} offers, so no node could come; synthesize the app for a "
            "region that it has one of, us-east-1 or eu-central-1 say"
        )
    if unknown := assembly.not_emulated:
        raise NotEmulated(f"this app cannot be rehearsed: {'; '.join(unknown)}")
    kubernetes, karpenter, program = assembly.kubernetes, assembly.karpenter, node()
    with Processes() as processes:
        built = programs(
            kubernetes=kubernetes,
            karpenter=karpenter,
            progress=stage,
            neighbour=any(story.needs_neighbour for story in options.stories),
            cache=options.cache,
            run=processes.run,
        )
        run = _Run(assembly, built, processes, program, stage, options)
        return run.play()


@dataclass
class _Run:
    assembly: Assembly
    programs: Programs
    processes: Processes
    node: Path
    stage: Stage
    options: Options
    outcomes: list[Outcome] = field(default_factory=list)
    destroyed: list[Destroyed] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    denied: Mapping[str, int] = field(default_factory=dict)

    def play(self) -> Result:
        self.timeline = Timeline(self.stage.moment)
        self.when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        left: tuple[str, ...] | None = None
        self.observers: list[Observer] = []
        with (
            Account(
                self.assembly,
                self.programs,
                self.processes,
                node=self.node,
                port=self.options.port,
                authorize=self.options.authorize,
                controls=self.options.controls,
                spread=self.options.spread,
                heard=self._heard,
            ) as account,
            self._ending(),
        ):
            account.bootstrap()
            self._create_existing(account)
            before = self._standing(account)
            with self._following(account):
                self.denied = account.aws.authorization.denied
                deployed = self._act("deploy", "cdk deploy", lambda: self._deploy(account))
                scene = self._stories(account) if deployed else None
                if self.options.keep and account.clusters:
                    self.stage.kept(account)
                if scene and self._gone(account, scene):
                    left = differences(before, self._standing(account, before))
            unknown = [f"{one.service}:{one.action}: {one.reason}" for one in account.aws.unknown]
            unknown += [*account.aws.world.failures, *account.failures()]
            permissions = _permissions(account) if self.options.authorize else None
        return self._result(tuple(account.notes), left, tuple(unknown), permissions)

    def _create_existing(self, account: Account) -> None:
        """Create what the templates take to exist."""
        for facts in self.assembly.existing:
            self.timeline.add("story", "before", "begins", f"the cluster {facts['Name']}, as it was before the stack")
            premade.make(account, facts)
        premade.principals(account, self.assembly.principals, self.options.policies)
        premade.reservations(account, self.assembly.reservations)
        if not self.assembly.existing and (network := self.assembly.network):
            self.timeline.add("story", "before", "begins", "the network that the stack names, with nothing in it")
            premade.network(account.aws.client, network)

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Hear no more of stacks at the end: one that is still being made fails at whatever is already gone."""
        try:
            yield
        finally:
            self.over.set()

    def _result(
        self,
        notes: tuple[str, ...],
        left: tuple[str, ...] | None,
        unknown: tuple[str, ...],
        permissions: Permissions | None,
    ) -> Result:
        seen = [instance for observer in self.observers for instance in list(observer.instances.values())]
        return Result(
            stacks=tuple(stack.name for stack in self.assembly.stacks),
            region=self.assembly.region,
            kubernetes=self.programs.kubernetes,
            karpenter=self.programs.karpenter_built,
            notes=notes,
            outcomes=tuple(self.outcomes),
            moments=tuple(self.timeline),
            billed=tuple(Billed(i.id, i.type, i.pool, i.spot, i.began, i.ended, i.price) for i in seen),
            left=left,
            destroyed=tuple(self.destroyed),
            permissions=permissions,
            unknown=tuple(dict.fromkeys(unknown)),
            seconds=self.timeline.now,
            when=self.when,
        )

    def _act(self, name: str, title: str, work: Callable[[], None]) -> bool:
        """Do one act and note how it went; whether it passed or was not played."""
        began, denied = self.timeline.now, set(self.denied)
        self.timeline.add("story", name, "begins", title)
        verdict, reason = PASSED, ""
        try:
            work()
        except NotPlayed as not_played:
            verdict, reason = NOT_PLAYED, str(not_played)
        except RehearsalError as error:
            verdict, reason = FAILED, str(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours fails the act; the destroy and the report still come
            verdict, reason = FAILED, f"the rehearsal itself failed: {type(error).__name__}: {error}"
        if verdict == FAILED:
            # Whatever failed, IAM may have been why.
            reason = "; ".join([reason, *[one for one in self.denied if one not in denied and one not in reason][:1]])
        self.timeline.add("story", name, verdict, reason)
        self.outcomes.append(Outcome(name, title, verdict, reason, began, self.timeline.now))
        return verdict != FAILED

    @staticmethod
    def _standing(account: Account, was: Standing | None = None) -> Standing:
        """What stands: in clusters, once it is what it was, or where that is not asked, once nothing changes by itself."""
        kubes = [plane.kube for plane in account.clusters.values()]
        if not kubes:
            return inventory(account.aws.client)
        return settled(account.aws.client, kubes, lambda now: was in (None, now))

    def _deploy(self, account: Account) -> None:
        said = self._while_it_can(
            account,
            account.deploy,
            (diagnosis.denied(account), diagnosis.controller, diagnosis.unscheduled, diagnosis.without_pods),
        )
        if said.exit_code:
            raise RehearsalError(
                f"cdk deploy failed: {self._first_failure() or account.cloudformation.refused or said.complaint}"
            )
        if not account.clusters:
            raise RehearsalError("the stacks were deployed, and none of them made a cluster")

    def _gone(self, account: Account, scene: Scene) -> bool:
        """Destroy the stacks, with the stories of that; whether they are gone."""
        stories = [one for one in self.options.stories if isinstance(one, DestroyStory)]
        if not stories:
            return self._act("destroy", "cdk destroy", lambda: self._destroy(account))
        destroying = Destroying(
            scene=scene,
            stories=stories,
            act=self._act,
            run=lambda work: self._while_it_can(account, work, ()),
            complaint=lambda since: self._first_failure("DELETE_FAILED", since),
            destroyed=self.destroyed,
        )
        is_gone = destroying.play()
        if is_gone and self.assembly.existing:
            with contextlib.suppress(RehearsalError):
                scene.delete_namespace()
        return is_gone

    def _destroy(self, account: Account) -> None:
        said = self._while_it_can(account, account.destroy, (diagnosis.denied(account), diagnosis.controller))
        alive = [stack.name for stack in account.cloudformation.stacks.values() if stack.deleted is None]
        kept = [name for name in alive if name in {stack.name for stack in self.assembly.stacks}]
        if said.exit_code or kept:
            raise RehearsalError(f"cdk destroy failed: {self._first_failure('DELETE_FAILED') or said.complaint}")

    @staticmethod
    def _while_it_can(account: Account, work: Callable[[], CommandResult], looks: Sequence[Look]) -> CommandResult:
        """Wait for the CDK's command line, but not for what cannot come: a controller that ends again and again, say."""
        pool, until = ThreadPoolExecutor(1, thread_name_prefix="cdk"), time.monotonic() + LONGEST_SECONDS
        running = pool.submit(work)
        # It is not waited for when it is given up: it ends with the rehearsal's other processes.
        pool.shutdown(wait=False)
        while not wait([running], 1).done:
            for plane in list(account.clusters.values()):
                for look in looks:
                    for reason in _heard_of(look, account, plane):
                        raise RehearsalError(reason)
            if time.monotonic() > until:
                raise RehearsalError(f"the CDK's command line did not end within {LONGEST_SECONDS / 60:.0f} minutes")
        return running.result()

    def _first_failure(self, status: str = "CREATE_FAILED", since: float = 0.0) -> str:
        heard = [one for one in self.timeline.after(since) if one.lane == "stack" and "FAILED" in one.what]
        failures = [one for one in heard if one.what.startswith(status)] or heard
        return diagnosis.step(failures[0].about, failures[0].detail) if failures else ""

    def _stories(self, account: Account) -> Scene:
        (plane, *_) = account.clusters.values()
        observer = Observer(plane.kube, account.aws.instances, self.timeline, NAMESPACE)
        self.observers.append(observer)
        observer.start()
        scene = Scene(account, plane, self.timeline, observer)
        broken = ""
        stories = [one for one in self.options.stories if isinstance(one, Story)]
        for story in stories:
            if broken:
                now = self.timeline.now
                self.outcomes.append(Outcome(story.name, story.title, NOT_PLAYED, f"not reached: {broken}", now, now))
            elif not self._act(story.name, story.title, lambda: self._play(story, scene)):  # noqa: B023
                # What is broken is broken for the stories after it, too.
                broken = diagnosis.why(account, plane)
        if self.assembly.existing and len(stories) == len(self.options.stories):
            with contextlib.suppress(RehearsalError):
                scene.delete_namespace()
        return scene

    @staticmethod
    def _play(story: Story, scene: Scene) -> None:
        scene.until_empty()
        scene.began = scene.timeline.now
        try:
            story.play(scene)
        finally:
            with contextlib.suppress(RehearsalError):
                scene.clear()

    @contextlib.contextmanager
    def _following(self, account: Account) -> Iterator[None]:
        """Tell what Karpenter's log says, and note what a person would follow of it."""
        stopped = threading.Event()

        def logs() -> list[Path]:
            return [log for pods in list(account.pods.values()) for log in pods.logs()]

        def heard(line: str) -> None:
            self.stage.log(line)
            for observer in self.observers:
                observer.karpenter(line)

        thread = threading.Thread(target=follow, args=(logs, heard, stopped), daemon=True, name="follow")
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(2)
            for observer in self.observers:
                observer.stop()

    def _heard(self, event: Event) -> None:
        if self.over.is_set():
            return
        what = event.status if event.type == STACK else f"{event.status} {event.type}"
        self.timeline.add("stack", event.logical_id, what, event.reason)


def _permissions(account: Account) -> Permissions:
    said = account.aws.authorization
    late = sum(said.late.values())
    return Permissions(said.decided, dict(said.undecided), dict(said.denied), late, tuple(said.recorded.values()))


def _heard_of(look: Look, account: Account, plane: ControlPlane) -> list[str]:
    """What a look tells; nothing from a cluster that does not answer, which may be on its way up or down."""
    try:
        return list(look(account, plane))
    except RehearsalError:
        return []


def wait_for_the_person() -> None:
    """Wait until the person presses ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(0.5)
