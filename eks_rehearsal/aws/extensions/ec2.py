"""EC2: images, launches, capacity and prices, where moto falls short of what Karpenter relies on."""

from __future__ import annotations

import fnmatch
import io
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import moto.ec2.utils
from moto.core.utils import utcnow
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from eks_rehearsal.aws.extensions.launching import Launching, tags_of_request
from eks_rehearsal.aws.extensions.pricing import spot_usd_per_hour
from eks_rehearsal.aws.extensions.reservations import CapacityReservations
from eks_rehearsal.aws.wire import AwsError, Call, Response, body_of
from eks_rehearsal.aws.world import Operations, World

_PAGE: Final = 1000
# Operations whose answer depends on nothing but the request: moto takes a second over some of them.
_STATIC: Final = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings")


# The states of an instance that was told to terminate, with EC2's codes.
_ENDING: Final = {"shutting-down": 32, "terminated": 48}


def is_stocked(region: str) -> bool:
    """Whether moto has a list of what EC2 offers in a region."""
    return region in INSTANCE_TYPE_OFFERINGS["availability-zone"]


_one_value_matches = moto.ec2.utils.is_filter_matching


def _matches(obj: Any, _filter: str, filter_value: Any) -> bool:
    """As EC2 filters by tags and groups, of which a resource has many: one that is asked for is enough. moto wants all."""
    values = obj.get_filter_value(_filter)
    if isinstance(filter_value, list) and isinstance(values, list) and all(isinstance(one, str) for one in values):
        return any(fnmatch.fnmatchcase(value, pattern) for value in values for pattern in filter_value)
    return bool(_one_value_matches(obj, _filter, filter_value))


def _keys_of(instance: dict[str, Any]) -> set[str]:
    """The keys of an instance's tags."""
    return {tag["Key"] for tag in instance.get("Tags", [])}


def _each_once(call: Call) -> Call:
    """The call without an instance's id that it has already: moto fails at a second one."""
    form = dict(urllib.parse.parse_qsl(body_of(call.environ).decode(), keep_blank_values=True))
    asked = [(key, value) for key, value in form.items() if key.startswith("InstanceId.")]
    again = {key for at, (key, value) in enumerate(asked) if value in [earlier for _, earlier in asked[:at]]}
    if not again:
        return call
    body = urllib.parse.urlencode({key: value for key, value in form.items() if key not in again}).encode()
    environ = {**call.environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return replace(call, environ=environ)


def _refuse_dry_run(call: Call) -> None:
    """What EC2 answers when all would be well and nothing is to be done."""
    if call.parameters.get("DryRun"):
        message = "Request would have succeeded, but DryRun flag is set."
        raise AwsError("DryRunOperation", message, status=412)


class Ec2:
    """The operations of EC2 that are not moto's own, or not only."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.reservations = CapacityReservations(world)
        self._launching = Launching(world, self.reservations)
        self._static: dict[bytes, Response] = {}
        moto.ec2.utils.is_filter_matching = _matches
        self._shutting_down: set[str] = set()

    @property
    def operations(self) -> Operations:
        table = {
            "RegisterImage": self.register_image,
            "CreateFleet": self.create_fleet,
            "DescribeInstances": self.describe_instances,
            "RunInstances": self.run_instances,
            "TerminateInstances": self.terminate_instances,
            "DescribeSpotPriceHistory": self.describe_spot_price_history,
            "DescribePlacementGroups": lambda _: {"PlacementGroups": []},
            **dict.fromkeys(_STATIC, self.describe_static),
        }
        own: Operations = {("ec2", action): operation for action, operation in table.items()}
        return own | self.reservations.operations

    @property
    def _ec2(self) -> Any:
        return self._world.backend("ec2")

    def register_image(self, call: Call) -> dict[str, Any]:
        answer = self._world.moto(call)
        image, asked = self._ec2.amis[answer["ImageId"]], call.parameters
        # moto keeps the name and the description only.
        image.architecture = asked.get("Architecture", "i386")
        image.virtualization_type = asked.get("VirtualizationType", "paravirtual")
        image.root_device_name = asked.get("RootDeviceName", image.root_device_name)
        image.add_tags(tags_of_request(asked).get("image", {}))
        return answer

    def create_fleet(self, call: Call) -> dict[str, Any]:
        asked = call.parameters
        # A template that is not there is refused in a dry run, too.
        self._launching.choices(asked, "on-demand")
        _refuse_dry_run(call)
        if asked.get("Type") != "instant":
            return self._world.moto(call)
        return self._launching.fleet(asked)

    def run_instances(self, call: Call) -> Any:
        asked = call.parameters
        version = self._launching.template(asked["LaunchTemplate"]) if "LaunchTemplate" in asked else None
        data = {**(version.data if version else {}), **asked}
        market = (data.get("InstanceMarketOptions") or {}).get("MarketType")
        capacity_type = market or "on-demand"
        data["SubnetId"] = data.get("SubnetId") or _subnet_of_interfaces(data)
        if why := self._launching.refusal(data, self._launching.zone_of(data), capacity_type):
            raise AwsError(*why, status=500 if why[0].startswith("Insufficient") else 400)
        _refuse_dry_run(call)
        template = {"LaunchTemplateId": version.template.id, "Version": str(version.number)} if version else None
        return self._launching.launch(
            data,
            capacity_type=capacity_type,
            tags=tags_of_request(version.data if version else {}, asked),
            template=template,
            count=int(asked.get("MaxCount", 1)),
        )

    def terminate_instances(self, call: Call) -> dict[str, Any]:
        _refuse_dry_run(call)
        answer = self._world.moto(call)
        for instance in answer["TerminatingInstances"]:
            id = instance["InstanceId"]
            if instance["PreviousState"]["Name"] not in _ENDING:
                self._world.background(self._world.hooks.instance_terminated, id)
                if seconds := self._world.hooks.shutdown_seconds.get(id):
                    self._shutting_down.add(id)
                    self._world.background(self._shut_down, id, seconds)
            if id in self._shutting_down:
                # moto has it terminated at once, and again when it is asked again.
                instance["CurrentState"] = self._set_state(id, "shutting-down")
        return answer

    def _shut_down(self, id: str, seconds: float) -> None:
        time.sleep(seconds)
        with self._world.turn:
            self._shutting_down.discard(id)
            self._set_state(id, "terminated")

    def _set_state(self, id: str, name: str) -> dict[str, Any]:
        state = self._ec2.get_instance(id)._state  # noqa: SLF001 - moto has no other way to it
        state.name, state.code = name, _ENDING[name]
        return {"Name": name, "Code": state.code}

    def describe_instances(self, call: Call) -> Any:
        """As Karpenter 1.0 asks: one instance more than once, and two filters of one name, of which moto heeds the last."""
        call = _each_once(call)
        keys = [set(one["Values"]) for one in call.parameters.get("Filters", []) if one["Name"] == "tag-key"]
        if len(keys) < 2:
            return self._world.moto_response(call)
        answer = self._world.moto(call)
        for reservation in answer["Reservations"]:
            reservation["Instances"] = [
                one for one in reservation["Instances"] if all(_keys_of(one) & key for key in keys)
            ]
        return {**answer, "Reservations": [one for one in answer["Reservations"] if one["Instances"]]}

    def describe_static(self, call: Call) -> Any:
        _refuse_dry_run(call)
        key = call.region.encode() + body_of(call.environ)
        if key not in self._static:
            self._static[key] = self._world.moto_response(call)
        return self._static[key]

    def describe_spot_price_history(self, call: Call) -> dict[str, Any]:
        asked = call.parameters
        start, size = int(asked.get("NextToken") or 0), int(asked.get("MaxResults") or _PAGE)
        prices = list(self._spot_prices(asked.get("InstanceTypes"), asked.get("AvailabilityZone")))
        following = str(start + size) if start + size < len(prices) else ""
        return {"SpotPriceHistory": prices[start : start + size], "NextToken": following}

    def _spot_prices(self, names: list[str] | None, zone: str | None) -> Iterator[dict[str, Any]]:
        offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(self._world.region, ())
        for offering in offered:
            name, where = offering["InstanceType"], offering["Location"]
            kind = INSTANCE_TYPES.get(name, {})
            if "spot" not in kind.get("SupportedUsageClasses", ()) or zone not in (None, where):
                continue
            if names and name not in names:
                continue
            yield {
                "AvailabilityZone": where,
                "InstanceType": name,
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": f"{spot_usd_per_hour(name, kind['VCpuInfo']['DefaultVCpus']):.6f}",
                "Timestamp": utcnow(),
            }


def _subnet_of_interfaces(data: dict[str, Any]) -> str | None:
    return next((nic["SubnetId"] for nic in data.get("NetworkInterfaces") or () if "SubnetId" in nic), None)
