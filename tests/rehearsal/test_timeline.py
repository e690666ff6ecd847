import threading
import time
from types import SimpleNamespace

from eks_rehearsal import timeline
from eks_rehearsal.timeline import Moment, Timeline


def test_moments_stand_in_the_order_they_happened():
    line = Timeline()
    first, second = line.add("pod", "a", "created"), line.add("node", "b", "ready", "some\n  detail")
    assert list(line) == [first, second]
    assert 0 <= first.seconds <= second.seconds <= line.now
    assert (second.lane, second.about, second.what, second.detail) == ("node", "b", "ready", "some detail")


def test_each_moment_is_told_as_it_is_added():
    heard = []
    line = Timeline(heard.append)
    assert heard == [line.add("pod", "a", "created")]


def test_after_has_what_came_since():
    line = Timeline()
    line.add("pod", "a", "created")
    second = line.add("pod", "a", "bound")
    assert line.after(second.seconds) == [second]
    assert line.after(second.seconds + 1) == []


def test_a_moment_is_one_line():
    assert str(Moment(3.25, "pod", "web", "bound", "to n1")) == "    3.2 s  pod       web  bound: to n1"
    assert str(Moment(130, "nodeclaim", "web", "gone")) == "  130.0 s  nodeclaim web  gone"


def test_moments_of_two_threads_stand_in_the_order_of_their_seconds(monkeypatch):
    line, entered = Timeline(), threading.Event()

    def slow():
        seconds = time.perf_counter()
        if threading.current_thread() is thread:
            entered.set()
            time.sleep(0.05)
        return seconds

    thread = threading.Thread(target=lambda: line.add("pod", "first", "seen"))
    monkeypatch.setattr(timeline, "time", SimpleNamespace(monotonic=slow))
    thread.start()
    assert entered.wait(5)
    line.add("pod", "second", "seen")
    thread.join()
    assert [moment.about for moment in line] == ["first", "second"]


def test_many_may_add_while_one_reads():
    line = Timeline(lambda _: list(line))
    threads = [threading.Thread(target=lambda: [line.add("pod", "a", "seen") for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = [moment.seconds for moment in line]
    assert len(seconds) == 200
    assert seconds == sorted(seconds)
