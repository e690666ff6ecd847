"""The order in which CloudFormation makes a template's resources, and in reverse deletes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any


class Graph:
    """Who waits for whom: by `DependsOn`, `Ref`, `Fn::GetAtt` and `Fn::Sub`."""

    def __init__(self, template: dict[str, Any]) -> None:
        self.resources: dict[str, dict[str, Any]] = template["Resources"]

    @cached_property
    def direct(self) -> dict[str, set[str]]:
        waits = {}
        for name, resource in self.resources.items():
            explicit = resource.get("DependsOn", [])
            waits[name] = {explicit} if isinstance(explicit, str) else set(explicit)
            waits[name] |= set(self._references(resource.get("Properties", {})))
        return waits

    def waits_for(self, name: str) -> frozenset[str]:
        """All that is there before a resource is made, and still there when it is deleted."""

        @cache
        def below(of: str) -> frozenset[str]:
            return frozenset().union(self.direct[of], *(below(other) for other in self.direct[of]))

        return below(name)

    def of_type(self, kind: str) -> list[str]:
        return [name for name, resource in self.resources.items() if resource["Type"] == kind]

    def _references(self, value: Any) -> Iterator[str]:
        if isinstance(value, list):
            for item in value:
                yield from self._references(item)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key == "Ref":
                    yield from [inner] if inner in self.resources else []
                elif key == "Fn::GetAtt":
                    yield inner[0] if isinstance(inner, list) else inner.partition(".")[0]
                elif key == "Fn::Sub":
                    text, names = (inner, {}) if isinstance(inner, str) else inner
                    yield from (found for found in re.findall(r"\$\{(\w+)", text) if found in self.resources)
                    yield from self._references(names)
                else:
                    yield from self._references(inner)
