"""IAM: what moto leaves out of instance profiles.

AWS's managed policies are moto's own, switched on when the server starts; DeleteRole refuses as IAM does already.
"""

from __future__ import annotations

from typing import Any

from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations, World


class Iam:
    """Instance profiles: the list, by path, the tags of one, and the removal of a role that is not in one."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def operations(self) -> Operations:
        return {
            ("iam", "ListInstanceProfiles"): self.list_instance_profiles,
            ("iam", "ListInstanceProfileTags"): self.list_instance_profile_tags,
            ("iam", "RemoveRoleFromInstanceProfile"): self.remove_role_from_instance_profile,
        }

    def list_instance_profiles(self, call: Call) -> dict[str, Any]:
        answer = self._world.moto(call)
        prefix = call.parameters.get("PathPrefix") or "/"
        # moto lists the whole account: Karpenter's garbage collection would take other clusters' profiles for its own.
        found = [profile for profile in answer["InstanceProfiles"] if profile["Path"].startswith(prefix)]
        return {**answer, "InstanceProfiles": found}

    def list_instance_profile_tags(self, call: Call) -> dict[str, Any]:
        return {"Tags": self._world.backend("iam").get_instance_profile(call.parameters["InstanceProfileName"]).tags}

    def remove_role_from_instance_profile(self, call: Call) -> None:
        named, role = call.parameters["InstanceProfileName"], call.parameters["RoleName"]
        profiles = self._world.backend("iam").instance_profiles.values()
        profile = next((one for one in profiles if one.name == named), None)
        if profile and role not in {one.name for one in profile.roles}:
            # moto fails at it: the second of two controllers that clean up, say.
            raise AwsError("NoSuchEntity", f"The role with name {role} cannot be found.", status=404)
        self._world.moto(call)
