"""From the context of `cdk.json` and `-c` to a stack; the only reader of context and environment.

Bad settings are reported in a sentence each, all of them in one run, and then nothing is left that could be deployed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from karpenter_gpu import (
    EksGpuStack,
    Fault,
    InvalidSettings,
    platform_from_context,
)  # first: it finds Node.js for the CDK

from karpenter_gpu.errors import faults_as_text

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

HERE = Path(__file__).parent


def main() -> int:
    """Synthesize the platform; 0 when it can be deployed."""
    out = Path(os.environ.get("CDK_OUTDIR", HERE / "cdk.out"))
    try:
        # The CLI hands over the context of cdk.json; plain `python app.py` has it from here, and so gets the same template.
        app = cdk.App(context=_context(HERE / "cdk.json"), outdir=str(out))
        return _synthesize(app, out)
    except InvalidSettings as error:
        print(faults_as_text(error.faults), end="", file=sys.stderr)
        _leave_nothing_deployable(out)
        return 1
    except BaseException:
        _leave_nothing_deployable(out)
        raise


def _context(file: Path) -> dict[str, Any]:
    """The context of a `cdk.json`, which its user may have edited."""
    try:
        context = json.loads(file.read_text()).get("context")
    except (OSError, ValueError, AttributeError) as error:
        why = str(error) if isinstance(error, (OSError, ValueError)) else "it is not a mapping"
        raise InvalidSettings(
            [Fault(file.name, f"cannot be read as JSON: {why}; fix it, or restore it from git")]
        ) from None
    if not isinstance(context, dict):
        raise InvalidSettings([Fault(file.name, "has no mapping 'context' with the profiles in it; take it from git")])
    return context


def _synthesize(app: cdk.App, out: Path) -> int:
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    try:
        platform = platform_from_context(app.node.get_all_context(), here=_credentials())
        EksGpuStack(
            app,
            "EksGpuStack",
            stack_name=platform.stack,
            description=f"EKS cluster {platform.cluster.name} with GPU nodes on demand, by Karpenter",
            env=_environment(platform.account, platform.region),
            cluster=platform.cluster,
            pools=platform.pools,
            karpenter=platform.karpenter,
            device_plugin=platform.device_plugin,
            health=platform.health,
            metrics=platform.metrics,
            permissions_boundary=platform.permissions_boundary,
            tags=dict(platform.tags),
        )
        app.synth()
    except RuntimeError as error:
        _leave_nothing_deployable(out)
        kind, _, findings = str(error).partition("ValidationFailed: ")
        if kind or not findings:
            raise
        print(findings, file=sys.stderr)
        print("The template was not kept; fix what was found, or acknowledge it where it is.", file=sys.stderr)
        return 1
    return 0


def _environment(account: str | None, region: str | None) -> cdk.Environment | None:
    """Account and region as the settings say, or as the CLI's credentials do; else the stack is for any."""
    if account is None and region is None:
        account, region = _credentials() or (None, None)
    return cdk.Environment(account=account, region=region) if account or region else None


def _credentials() -> tuple[str, str] | None:
    """Account and region of the CLI's credentials.

    Without credentials the CLI still names a region, us-east-1, which nobody has chosen.
    """
    account = os.environ.get("CDK_DEFAULT_ACCOUNT")
    region = os.environ.get("CDK_DEFAULT_REGION")
    return (account, region) if account and region else None


def _leave_nothing_deployable(out: Path) -> None:
    """Remove what an earlier run left, so that nobody takes it for this one's."""
    for file in (out / "manifest.json", *out.glob("*.template.json")):
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
