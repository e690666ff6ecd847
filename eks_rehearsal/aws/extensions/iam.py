"""IAM: what moto leaves out of instance profiles.

AWS's managed policies are moto's own, switched on when the server starts; DeleteRole refuses as IAM does already.
"""

from __future__ import annotations

from typing import Any

from eks_rehearsal.aws.wire import Call
from eks_rehearsal.aws.world import Operations, World


class Iam:
    """ListInstanceProfiles, by path."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def operations(self) -> Operations:
        return {("iam", "ListInstanceProfiles"): self.list_instance_profiles}

    def list_instance_profiles(self, call: Call) -> dict[str, Any]:
        answer = self._world.moto(call)
        prefix = call.parameters.get("PathPrefix") or "/"
        # moto lists the whole account: Karpenter's garbage collection would take other clusters' profiles for its own.
        found = [profile for profile in answer["InstanceProfiles"] if profile["Path"].startswith(prefix)]
        return {**answer, "InstanceProfiles": found}
