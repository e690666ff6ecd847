import threading

from eks_rehearsal.cluster.kubelet import NO_CONTAINER, _log

PATH = "/containerLogs/kube-system/karpenter-1/controller"


def log(folder, path=PATH, **query):
    return _log(folder, path, query, threading.Event())


def written(folder, text):
    (folder / "karpenter-karpenter-1.log").write_text(text)
    return folder


def test_the_log_of_a_controller_is_the_log_of_its_pod(tmp_path):
    assert b"".join(log(written(tmp_path, "a\nb\n"))) == b"a\nb\n"


def test_only_the_last_lines_are_given_when_asked_for(tmp_path):
    assert b"".join(log(written(tmp_path, "a\nb\nc\n"), tailLines="2")) == b"b\nc\n"


def test_a_log_that_is_followed_goes_on(tmp_path):
    parts = log(written(tmp_path, "a\n"), follow="true")
    assert next(parts) == b"a\n"
    with (tmp_path / "karpenter-karpenter-1.log").open("a") as more:
        more.write("b\n")
    assert next(parts) == b"b\n"


def test_a_pod_that_runs_no_container_says_so(tmp_path):
    assert b"".join(log(tmp_path)) == NO_CONTAINER


def test_nothing_but_logs_is_to_be_had(tmp_path):
    assert b"".join(log(written(tmp_path, "a\n"), "/exec/kube-system/karpenter-1/controller")) == NO_CONTAINER
