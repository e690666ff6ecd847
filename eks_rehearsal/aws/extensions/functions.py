"""Lambda: where functions write their logs, which moto forgets."""

from __future__ import annotations

from eks_rehearsal.aws.wire import Call, Response
from eks_rehearsal.aws.world import Operations, World


class FunctionLogs:
    """The log group of each function, by the function's name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._groups: dict[str, str] = {}

    @property
    def operations(self) -> Operations:
        return {
            ("lambda", "CreateFunction"): self._remember,
            ("lambda", "UpdateFunctionConfiguration"): self._remember,
        }

    def of(self, function: str) -> str:
        """The name of a function's log group."""
        return self._groups.get(function) or f"/aws/lambda/{function}"

    def _remember(self, call: Call) -> Response:
        asked = call.parameters
        if "LoggingConfig" in asked:
            self._groups[asked["FunctionName"]] = asked["LoggingConfig"].get("LogGroup", "")
        return self._world.moto_response(call)
