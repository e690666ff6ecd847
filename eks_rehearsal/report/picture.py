"""The timeline as a drawing: lives become bars, packed into as few rows as their labels allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from eks_rehearsal.report import lives
from eks_rehearsal.report.lives import Life
from eks_rehearsal.report.units import count, dollars, duration, seconds
from eks_rehearsal.result import Billed, Result

# In pixels, at the drawing's own size.
WIDTH, LEFT, RIGHT, TOP = 1160.0, 84.0, 12.0, 22.0
LABEL_HEIGHT, BAR_HEIGHT, ROW_GAP, LANE_GAP, MONEY_HEIGHT = 13.0, 7.0, 4.0, 12.0, 64.0
CHARACTER_WIDTH, LABEL_GAP, LONGEST_LABEL, THINNEST = 6.1, 8.0, 44, 2.0
# Like ones that begin within this of each other were brought by the same thing.
AT_ONCE_SECONDS = 5.0
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
MOST_TICKS = 12


@dataclass(frozen=True)
class Piece:
    """A phase of a life, as a rectangle of its bar."""

    x: float
    width: float
    works: bool
    words: str


@dataclass(frozen=True)
class Bar:
    """A life as it is drawn, its label above it; a label is empty where the one above it says it."""

    y: float
    looks: str
    pieces: tuple[Piece, ...]
    label: str
    label_x: float
    label_anchor: str


@dataclass(frozen=True)
class Mark:
    """A point with words: a tick of the axis, a note of a story, a bend of the dollars' line."""

    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Lane:
    """Bars and notes of one kind, below each other."""

    title: str
    y: float
    height: float
    bars: tuple[Bar, ...] = ()
    notes: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Picture:
    """The whole drawing.

    Args:
        words: What somebody who does not see it is told.

        height: In pixels.

        ticks: Of the axis.

        shades: The acts, as columns behind everything.

        lanes: From top to bottom.

        money: The bends of the dollars' line, in order.

        money_lane: Where that line is.

        total: All dollars.
    """

    words: str
    height: float
    ticks: tuple[Mark, ...]
    shades: tuple[Piece, ...]
    lanes: tuple[Lane, ...]
    money: tuple[Mark, ...]
    money_lane: Lane
    total: str
    width: float = WIDTH
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bar_height: float = BAR_HEIGHT


@dataclass
class _Row:
    """A row that is being filled, up to `end`."""

    end: float = 0.0
    labelled: bool = False


@dataclass
class _Spot:
    """Where in its row a life goes."""

    life: Life
    label: str
    row: int


def picture(result: Result) -> Picture:
    """Draw a rehearsal."""
    end = _end(result)
    x = _scale(end)
    lanes: list[Lane] = []
    y = TOP
    for title, shown in _shown(result):
        lanes.append(_lane(title, shown, y, x))
        y += lanes[-1].height + LANE_GAP
        if title == "Acts":
            lanes.append(_notes(result, y, x))
            y += lanes[-1].height + LANE_GAP
    money_lane = Lane("Dollars", y, MONEY_HEIGHT)
    return Picture(
        words=_words(result),
        height=y + MONEY_HEIGHT + TOP,
        ticks=tuple(_ticks(end, x)),
        shades=tuple(_piece(phase, x) for life in lives.acts(result)[::2] for phase in life.phases),
        lanes=tuple(lanes),
        money=tuple(_money(result.billed, end, money_lane, x)),
        money_lane=money_lane,
        total=dollars(result.dollars),
    )


def _shown(result: Result) -> list[tuple[str, list[Life]]]:
    return [
        ("Acts", lives.acts(result)),
        ("Pods", lives.objects(result, "pod")),
        ("NodeClaims", lives.objects(result, "nodeclaim")),
        ("Nodes", lives.objects(result, "node")),
        ("Instances", lives.instances(result)),
    ]


def _end(result: Result) -> float:
    """When the last thing of all happened; never 0, for it divides."""
    times = [one.ended for one in result.outcomes] + [one.seconds for one in result.moments]
    return max([1.0, result.seconds, *times, *(one.ended or 0 for one in result.billed)])


def _scale(end: float) -> Callable[[float], float]:
    return lambda at: round(LEFT + (WIDTH - LEFT - RIGHT) * at / end, 1)


def _lane(title: str, shown: Sequence[Life], y: float, x: Callable[[float], float]) -> Lane:
    rows, spots = _packed(shown, x)
    tops, height = [], 0.0
    for row in rows:
        tops.append(y + height + (LABEL_HEIGHT if row.labelled else 0))
        height += (LABEL_HEIGHT if row.labelled else 0) + BAR_HEIGHT + ROW_GAP
    bars = tuple(_bar(spot, tops[spot.row], x) for spot in spots)
    return Lane(title, y, max(height, LABEL_HEIGHT), bars)


def _packed(shown: Sequence[Life], x: Callable[[float], float]) -> tuple[list[_Row], list[_Spot]]:
    """Give each life the first row with room for its bar and label, and like ones that begin together one label."""
    rows: list[_Row] = []
    spots: list[_Spot] = []
    for place, life in enumerate(shown):
        label = "" if place and _together(shown[place - 1], life) else _label(shown[place:])
        begins, ends = _extent(life, label, x)
        row = next((number for number, one in enumerate(rows) if one.end <= begins), len(rows))
        if row == len(rows):
            rows.append(_Row())
        rows[row].end = ends
        rows[row].labelled |= bool(label)
        spots.append(_Spot(life, label, row))
    return rows, spots


def _together(before: Life, life: Life) -> bool:
    return before.label == life.label and life.began <= min(before.ended, before.began + AT_ONCE_SECONDS)


def _label(rest: Sequence[Life]) -> str:
    """The first one's label, and how many there are of it at a time."""
    like = next((n for n in range(1, len(rest)) if not _together(rest[n - 1], rest[n])), len(rest))
    text = rest[0].label
    cut = text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
    return f"{cut}, {like} of them" if like > 1 else cut


def _extent(life: Life, label: str, x: Callable[[float], float]) -> tuple[float, float]:
    begins, ends = x(life.began), max(x(life.ended), x(life.began) + THINNEST)
    width = len(label) * CHARACTER_WIDTH
    if _turned(begins, width):
        return min(begins, ends - width), ends
    return begins, max(ends, begins + width + LABEL_GAP)


def _turned(begins: float, width: float) -> bool:
    """Whether a label would leave the drawing, and so ends where its bar does."""
    return begins + width > WIDTH - RIGHT


def _bar(spot: _Spot, y: float, x: Callable[[float], float]) -> Bar:
    pieces = tuple(_piece(phase, x) for phase in spot.life.phases)
    begins, ends = pieces[0].x, pieces[-1].x + pieces[-1].width
    turned = _turned(begins, len(spot.label) * CHARACTER_WIDTH)
    return Bar(
        y=round(y, 1),
        looks=spot.life.looks,
        pieces=pieces,
        label=spot.label,
        label_x=round(ends if turned else begins, 1),
        label_anchor="end" if turned else "start",
    )


def _piece(phase: lives.Phase, x: Callable[[float], float]) -> Piece:
    begins = x(phase.began)
    return Piece(begins, round(max(x(phase.ended) - begins, THINNEST), 1), phase.works, phase.words)


def _notes(result: Result, y: float, x: Callable[[float], float]) -> Lane:
    told = [one for one in result.moments if one.lane == "story"]
    middle = y + LABEL_HEIGHT / 2
    notes = (Mark(x(one.seconds), middle, f"{seconds(one.seconds)}, {one.about}: {one.what}") for one in told)
    return Lane("Story notes", y, LABEL_HEIGHT, notes=tuple(notes))


def _ticks(end: float, x: Callable[[float], float]) -> Iterable[Mark]:
    step = next((one for one in STEPS if end / one <= MOST_TICKS), STEPS[-1] * (int(end / STEPS[-1] / MOST_TICKS) + 1))
    for number in range(int(end / step) + 1):
        yield Mark(x(number * step), TOP, _time(number * step, step))


def _time(at: int, step: int) -> str:
    return f"{at} s" if step < 60 else f"{at // 60} min"


def _money(billed: Sequence[Billed], end: float, lane: Lane, x: Callable[[float], float]) -> Iterable[Mark]:
    bends = sorted({0.0, end, *(one.began for one in billed), *(one.ended for one in billed if one.ended is not None)})
    spent = [sum(_cost(one, until) for one in billed) for until in bends]
    most = spent[-1] or 1.0
    for at, cost in zip(bends, spent, strict=True):
        y = round(lane.y + lane.height * (1 - cost / most), 1)
        yield Mark(x(at), y, f"{dollars(cost)} after {seconds(at)}")


def _cost(one: Billed, until: float) -> float:
    ended = until if one.ended is None else min(one.ended, until)
    return one.usd_per_hour * max(ended - one.began, 0) / 3600


def _words(result: Result) -> str:
    seen = (
        count(len(lives.acts(result)), "act"),
        count(len(lives.objects(result, "pod")), "pod"),
        count(len(lives.objects(result, "nodeclaim")), "NodeClaim"),
        count(len(lives.objects(result, "node")), "node"),
        count(len(result.billed), "GPU instance"),
    )
    return (
        f"Timeline of {duration(result.seconds)}: {', '.join(seen)}, and {dollars(result.dollars)} in the end. "
        "The tables of this page tell the same in words."
    )
