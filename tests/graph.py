"""The order in which CloudFormation makes a template's resources, and in reverse deletes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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

    def at_once(self, weights: Mapping[str, int]) -> int:
        """The most that may be under way at one time of resources with these weights: none of them waits for another.

        It is the greatest antichain, which by Dilworth's theorem leaves as many as a greatest matching of who waits for whom.
        """
        copies = [(name, place) for name, weight in weights.items() for place in range(weight)]
        below = {name: self.waits_for(name) for name in weights}
        taken: dict[tuple[str, int], tuple[str, int]] = {}

        def finds(one: tuple[str, int], seen: set[tuple[str, int]]) -> bool:
            for other in copies:
                if other[0] in below[one[0]] and other not in seen:
                    seen.add(other)
                    if other not in taken or finds(taken[other], seen):
                        taken[other] = one
                        return True
            return False

        return len(copies) - sum(finds(one, set()) for one in copies)

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
