"""SSM: the public parameters of EKS's node images.

moto has none of them and refuses to have any put under /aws/service/. Its other public parameters are left to it.
"""

from __future__ import annotations

from typing import Any

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.amis import image_of, publish
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations, World

_OURS = ("/aws/service/eks/", "/aws/service/bottlerocket/")


class Ssm:
    """GetParameter and GetParameters with the public parameters among the account's own."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def operations(self) -> Operations:
        return {("ssm", "GetParameter"): self.get_parameter, ("ssm", "GetParameters"): self.get_parameters}

    def get_parameter(self, call: Call) -> dict[str, Any]:
        name = call.parameters["Name"]
        if not name.startswith(_OURS):
            return self._world.moto(call)
        found = self._public(name)
        if found is None:
            raise AwsError("ParameterNotFound", f"Parameter {name} not found.")
        return {"Parameter": found}

    def get_parameters(self, call: Call) -> dict[str, Any]:
        names = call.parameters["Names"]
        public = {name: self._public(name) for name in names if name.startswith(_OURS)}
        answer = self._world.moto(call)
        answer["Parameters"] += [parameter for parameter in public.values() if parameter]
        missing = set(answer["InvalidParameters"]) - {name for name, parameter in public.items() if parameter}
        return {**answer, "InvalidParameters": sorted(missing)}

    def _public(self, name: str) -> dict[str, Any] | None:
        found = image_of(name)
        if found is None:
            return None
        image, value = found
        publish(self._world, image)
        return {
            "Name": name,
            "Type": "String",
            "Value": value,
            "Version": 1,
            "LastModifiedDate": utcnow(),
            "ARN": f"arn:{self._world.partition}:ssm:{self._world.region}::parameter{name}",
            "DataType": "aws:ec2:image" if name.endswith("/image_id") else "text",
        }
