import subprocess
import sys
from pathlib import Path

from eks_rehearsal import named

TRY = """
try:
    import named; named.take("x"); print("yes")
except OSError:
    print("no")
"""
WHO = "import socket, sys; print(socket.gethostname(), *sys.argv[1:])"


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout.split()


def test_a_program_runs_with_its_arguments_under_its_pods_name_where_the_machine_lets_it():
    may = run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(named.__file__).parent)!r})\n" + TRY)
    found = run(sys.executable, "-I", "-S", named.__file__, "karpenter-1", sys.executable, "-c", WHO, "a", "b")
    own = run(sys.executable, "-c", WHO)
    assert found == ["karpenter-1" if may == ["yes"] else own[0], "a", "b"]


def test_a_program_runs_all_the_same_where_the_machine_does_not():
    refused = f"import runpy, sys, ctypes; ctypes.CDLL = lambda *_, **__: object(); sys.argv = ['named', 'x', {sys.executable!r}, '-c', 'print(1)']; runpy.run_path({named.__file__!r}, run_name='__main__')"
    assert run(sys.executable, "-c", refused) == ["1"]
