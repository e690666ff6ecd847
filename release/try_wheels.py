"""What a user does first, in an empty environment and an empty folder: make try-wheels, after make release or make wheel.

Both wheels of dist/ are installed with all they need, the README's lines are synthesized, and each command answers. With
`--rehearse` what was synthesized is rehearsed, too, which takes some minutes, and twenty more the first time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
APP = """\
import karpenter_gpu
import aws_cdk as cdk
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_s3 as s3
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer


class Own(cdk.Stack):
    def __init__(self, scope, id):
        super().__init__(scope, id)
        bucket = s3.Bucket(self, "Models", removal_policy=cdk.RemovalPolicy.DESTROY)
{lines}

app = cdk.App()
Own(app, "Own")
app.synth()
"""


def app() -> str:
    """An app with the README's lines in it, and nothing else."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return APP.format(lines="".join(f"        {line}\n" if line else "\n" for line in block.splitlines()))


def main() -> int:
    """Try them; anything that goes wrong ends with its own words."""
    wheels = {wheel.name.partition("-")[0]: wheel for wheel in (ROOT / "dist").glob("*.whl")}
    if set(wheels) != {"karpenter_gpu", "eks_rehearsal"}:
        print("dist/ has not both wheels; make them first: make release, or make wheel", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / "venv", with_pip=True)
        bin_ = place / "venv" / "bin"
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        env |= {"PATH": f"{bin_}{os.pathsep}{env['PATH']}", "CDK_OUTDIR": str(place / "cdk.out")}

        def run(program: str, *arguments: str) -> None:
            subprocess.run([str(bin_ / program), *arguments], cwd=place, env=env, check=True)

        ours = f"{wheels['karpenter_gpu']}[node,cli,rehearsal]"
        run(
            "pip",
            "install",
            "-q",
            "--no-compile",
            ours,
            str(wheels["eks_rehearsal"]),
            "aws-cdk.lambda-layer-kubectl-v36",
        )
        (place / "app.py").write_text(app())
        run("python", "app.py")
        run("karpenter-gpu", "verify-clean", "--policy")
        if "--rehearse" in sys.argv:
            run("eks-rehearse", "cdk.out", "--story", "scale", "--report", str(ROOT / "rehearsal.html"))
        else:
            run("eks-rehearse", "--help")
    print("both wheels work in an empty environment")
    return 0


if __name__ == "__main__":
    sys.exit(main())
