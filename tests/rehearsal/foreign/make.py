"""Writes the cloud assemblies of the example apps beside this file, small enough to keep: `python make.py FOLDER`.

The folder gets `cdk-eks-karpenter` from PyPI and `@aws-quickstart/eks-blueprints` from npm. What is large in a template is left
out: the names of resource types and properties are what is held.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONTEXT = {"availability-zones:account=111122223333:region=us-east-1": ["us-east-1a", "us-east-1b", "us-east-1c"]}
BLUEPRINTS = ("@aws-quickstart/eks-blueprints@1.19.0", "aws-cdk-lib@2.261.0", "constructs@10")
KEPT = ("Custom::AWSCDK-EKS-HelmChart", "Custom::AWSCDK-EKS-Cluster", "AWS::CloudFormation::Stack")
LONGEST = 100


def main(folder: Path) -> None:
    """Synthesize both, and write what is kept of each."""
    python = [sys.executable, str(HERE / "app_cdk_eks_karpenter.py")]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "cdk-eks-karpenter==1.0.27"], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    write("cdk_eks_karpenter", folder, python)
    subprocess.run(["npm", "install", "--silent", "--ignore-scripts", *BLUEPRINTS], cwd=folder, check=True)
    write("eks_blueprints", folder, ["node", str(HERE / "app_eks_blueprints.js")])


def write(name: str, folder: Path, command: list[str]) -> None:
    """Synthesize one app, and write the fixture of its name."""
    out = folder / f"{name}.out"
    own = {"CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": json.dumps(CONTEXT), "NODE_PATH": str(folder / "node_modules")}
    subprocess.run(command, cwd=folder, env={**os.environ, **own}, check=True)
    manifest = json.loads((out / "manifest.json").read_text())
    stacks = {id: one for id, one in manifest["artifacts"].items() if one["type"] == "aws:cloudformation:stack"}
    for one in stacks.values():
        one.pop("metadata", None)
    files = {"manifest.json": {"version": manifest["version"], "artifacts": stacks}}
    for file in sorted(out.glob("*.assets.json")):
        # Says which file a nested stack is.
        assets = json.loads(file.read_text())["files"]
        templates = {id: one for id, one in assets.items() if one["source"]["path"].endswith(".template.json")}
        files[file.name] = {"files": {id: {"source": one["source"]} for id, one in templates.items()}}
    files |= {file.name: reduced(json.loads(file.read_text())) for file in sorted(out.glob("*.template.json"))}
    (HERE / f"{name}.json").write_text(json.dumps(files, separators=(",", ":")) + "\n")


def reduced(template: dict[str, Any]) -> dict[str, Any]:
    """A template without what is long."""
    template.pop("Conditions", None)
    template["Resources"] = {id: one for id, one in template["Resources"].items() if "Condition" not in one}
    for resource in template["Resources"].values():
        resource.pop("DependsOn", None)
        resource.pop("Metadata", None)
        if resource["Type"] not in KEPT:
            properties = resource.get("Properties", {})
            resource["Properties"] = {name: short(value) for name, value in properties.items()}
    return template


def short(value: Any) -> Any:
    """A value, or nothing where it is long."""
    return value if len(json.dumps(value)) <= LONGEST else None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
