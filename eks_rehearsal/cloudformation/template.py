"""A template's language: parameters, conditions, intrinsic functions, and which resource waits for which."""

from __future__ import annotations

import base64
import ipaddress
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from eks_rehearsal.cloudformation.resource import Made
from eks_rehearsal.errors import NotEmulated, RehearsalError

SUBSTITUTED = re.compile(r"\$\{!(?P<literal>[^{}]*)\}|\$\{(?P<name>[^!${}][^{}]*)\}")
SECTIONS = frozenset(
    {
        "AWSTemplateFormatVersion",
        "Conditions",
        "Description",
        "Mappings",
        "Metadata",
        "Outputs",
        "Parameters",
        "Resources",
        "Rules",
    }
)
ATTRIBUTES = frozenset(
    {"Condition", "DeletionPolicy", "DependsOn", "Metadata", "Properties", "Type", "UpdateReplacePolicy"}
)
SSM_PREFIX = "AWS::SSM::Parameter::Value<"


class _NoValue:
    """What `AWS::NoValue` becomes: the property goes as if it had not been written."""


NO_VALUE = _NoValue()


@dataclass
class Scope:
    """What an expression may name.

    Args:
        pseudo: The pseudo parameters, `AWS::Region` and its like.

        parameters: The values of the template's parameters.

        conditions: The template's conditions, as expressions.

        mappings: The template's mappings.

        zones: The availability zones of the region.

        resources: What the resources made so far answer, by logical id.

        outputs: What the other stacks give, by their names and those of their outputs.

        exports: What stacks give to any other, by the name that they export it under.

        imports: The names of exports that were asked for so far.
    """

    pseudo: Mapping[str, Any]
    parameters: Mapping[str, Any]
    conditions: Mapping[str, Any]
    mappings: Mapping[str, Any]
    zones: tuple[str, ...]
    resources: dict[str, Made] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    exports: Mapping[str, str] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)

    def value(self, expression: Any) -> Any:
        """The value of an expression.

        Raises:
            NotEmulated: An intrinsic function that is not known.

            RehearsalError: A name that stands for nothing.
        """
        if isinstance(expression, list):
            return [value for item in expression if (value := self.value(item)) is not NO_VALUE]
        if not isinstance(expression, Mapping):
            return expression
        if len(expression) == 1:
            ((name, argument),) = expression.items()
            # Statements of a policy have a key of that name, too.
            if name in FUNCTIONS and (name != "Condition" or isinstance(argument, str)):
                return FUNCTIONS[name](self, argument)
        if functions := sorted(key for key in expression if key.startswith("Fn::")):
            raise NotEmulated(
                f"{', '.join(functions)} is an intrinsic function that the rehearsal does not know, or has others beside it"
            )
        values = {key: self.value(item) for key, item in expression.items()}
        return {key: value for key, value in values.items() if value is not NO_VALUE}

    def condition(self, name: str) -> bool:
        """Whether a condition of the template holds."""
        if name not in self.conditions:
            raise RehearsalError(f"condition {name} is not in the template")
        return bool(self.value(self.conditions[name]))

    def ref(self, name: str) -> Any:
        """What `Ref` gives."""
        if name == "AWS::NoValue":
            return NO_VALUE
        for names in (self.pseudo, self.parameters):
            if name in names:
                return names[name]
        return self._made(name).id

    def attribute(self, path: str) -> Any:
        """What `Fn::GetAtt` gives for `LogicalId.Attribute`."""
        name, _, attribute = path.partition(".")
        made = self._made(name)
        if attribute not in made.attributes:
            known = ", ".join(sorted(made.attributes)) or "none"
            raise NotEmulated(f"{name} has no attribute {attribute} in the rehearsal; it has {known}")
        return made.attributes[attribute]

    def _made(self, name: str) -> Made:
        if name not in self.resources:
            raise RehearsalError(f"{name} is neither a parameter nor a resource that stands")
        return self.resources[name]


def text(value: Any) -> str:
    """A value where only text can be, as CloudFormation writes it.

    Raises:
        RehearsalError: It is a list or a map.
    """
    if isinstance(value, (list, Mapping)):
        raise RehearsalError(f"text is wanted where {value} stands")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is NO_VALUE else str(value)


def _items(scope: Scope, expression: Any) -> list[Any]:
    items = scope.value(expression)
    if not isinstance(items, list):
        raise RehearsalError(f"a list is wanted where {items!r} stands")
    return items


def _sub(scope: Scope, argument: Any) -> str:
    written, given = (argument, {}) if isinstance(argument, str) else argument
    names = {key: scope.value(item) for key, item in given.items()}

    def named(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "${" + match["literal"] + "}"
        name = match["name"].strip()
        if name in names:
            return text(names[name])
        return text(scope.attribute(name) if "." in name else scope.ref(name))

    return SUBSTITUTED.sub(named, written)


def _get_att(scope: Scope, argument: Any) -> Any:
    return scope.attribute(argument if isinstance(argument, str) else ".".join(map(text, scope.value(argument))))


def _if(scope: Scope, argument: Any) -> Any:
    name, yes, no = argument
    return scope.value(yes if scope.condition(name) else no)


def _select(scope: Scope, argument: Any) -> Any:
    index, items = int(scope.value(argument[0])), _items(scope, argument[1])
    if not 0 <= index < len(items):
        raise RehearsalError(f"Fn::Select asks for item {index} of {len(items)}: {items}")
    return items[index]


def _find_in_map(scope: Scope, argument: Any) -> Any:
    found: Any = scope.mappings
    for key in (scope.value(part) for part in argument):
        if key not in found:
            raise RehearsalError(f"Fn::FindInMap finds no {key}")
        found = found[key]
    return found


def _cidr(scope: Scope, argument: Any) -> list[str]:
    block, count, *bits = (scope.value(part) for part in argument)
    network = ipaddress.ip_network(block)
    blocks = network.subnets(new_prefix=network.max_prefixlen - int(bits[0] if bits else 8))
    found = [str(subnet) for subnet in itertools.islice(blocks, int(count))]
    if len(found) < int(count):
        raise RehearsalError(f"Fn::Cidr finds {len(found)} blocks in {block}, not {count}")
    return found


def _zones(scope: Scope, argument: Any) -> list[str]:
    region = scope.value(argument)
    if region not in ("", scope.ref("AWS::Region")):
        raise NotEmulated(f"Fn::GetAZs asks for the zones of {region}, and the rehearsal knows those of its own region")
    return list(scope.zones)


def _equals(scope: Scope, argument: Any) -> bool:
    one, other = (scope.value(part) for part in argument)
    if isinstance(one, (list, Mapping)) or isinstance(other, (list, Mapping)):
        return bool(one == other)
    return text(one) == text(other)


def _every(scope: Scope, argument: Any) -> bool:
    return all(scope.value(part) for part in argument)


def _contains(scope: Scope, argument: Any) -> bool:
    return scope.value(argument[1]) in _items(scope, argument[0])


def _import(scope: Scope, argument: Any) -> str:
    name = text(scope.value(argument))
    if name not in scope.exports:
        raise RehearsalError(f"No export named {name} found")
    scope.imports.add(name)
    return scope.exports[name]


def _output(scope: Scope, argument: Any) -> str:
    asked = {key: text(value) for key, value in scope.value(argument).items()}
    stack, output = asked.pop("StackName"), asked.pop("OutputName")
    if asked.pop("Region", scope.ref("AWS::Region")) != scope.ref("AWS::Region") or asked:
        raise NotEmulated(
            f"Fn::GetStackOutput of {stack}: the rehearsal knows stacks of its own region and account alone, and was given {argument}"
        )
    if output not in scope.outputs.get(stack, {}):
        raise RehearsalError(f"Fn::GetStackOutput: stack {stack} has no output {output}")
    return scope.outputs[stack][output]


FUNCTIONS: Mapping[str, Callable[[Scope, Any], Any]] = {
    "Ref": lambda scope, argument: scope.ref(argument),
    "Condition": lambda scope, argument: scope.condition(argument),
    "Fn::GetAtt": _get_att,
    "Fn::GetStackOutput": _output,
    "Fn::ImportValue": _import,
    "Fn::Sub": _sub,
    "Fn::If": _if,
    "Fn::Join": lambda scope, argument: str(argument[0]).join(map(text, _items(scope, argument[1]))),
    "Fn::Split": lambda scope, argument: text(scope.value(argument[1])).split(argument[0]),
    "Fn::Select": _select,
    "Fn::FindInMap": _find_in_map,
    "Fn::Cidr": _cidr,
    "Fn::GetAZs": _zones,
    "Fn::Base64": lambda scope, argument: base64.b64encode(text(scope.value(argument)).encode()).decode(),
    "Fn::Equals": _equals,
    "Fn::Not": lambda scope, argument: not scope.value(argument[0]),
    "Fn::And": _every,
    "Fn::Or": lambda scope, argument: any(scope.value(part) for part in argument),
    "Fn::Contains": _contains,
}


def parameters(template: Mapping[str, Any], given: Mapping[str, str], public: Callable[[str], str]) -> dict[str, Any]:
    """The values of a template's parameters.

    Args:
        template: The template.

        given: What the caller says.

        public: Reads a parameter of the Systems Manager, for the types that are looked up there.

    Raises:
        RehearsalError: A parameter without a value, or one the template does not have.
    """
    declared = template.get("Parameters", {})
    if unknown := sorted(set(given) - set(declared)):
        raise RehearsalError(f"the template has no parameter {', '.join(unknown)}")
    values = {}
    for name, declaration in declared.items():
        if name not in given and "Default" not in declaration:
            raise RehearsalError(f"parameter {name} has no default, and no value was given")
        value: Any = given.get(name, declaration.get("Default"))
        kind: str = declaration["Type"]
        if kind.startswith(SSM_PREFIX):
            value, kind = public(value), kind.removeprefix(SSM_PREFIX).removesuffix(">")
        if kind == "CommaDelimitedList" or kind.startswith("List<"):
            value = [item.strip() for item in str(value).split(",")]
        values[name] = value
    return values


def check(template: Mapping[str, Any]) -> None:
    """Refuse what the engine would have to pass over in silence.

    Raises:
        NotEmulated: Sections, attributes of resources or intrinsic functions that are not known; every one.

        RehearsalError: A resource without a type, or a name that stands for nothing.
    """
    resources: Mapping[str, Mapping[str, Any]] = template["Resources"]
    if untyped := sorted(name for name, resource in resources.items() if "Type" not in resource):
        raise RehearsalError(f"{', '.join(untyped)}: a resource has to say its Type")
    faults = []
    if unknown := sorted(set(template) - SECTIONS):
        faults.append(f"the rehearsal does not know the template's section {', '.join(unknown)}")
    for name, resource in resources.items():
        if unknown := sorted(set(resource) - ATTRIBUTES):
            faults.append(f"{name}: the rehearsal does not know the resource attribute {', '.join(unknown)}")
        if unknown := sorted(set(_unknown_functions(resource.get("Properties")))):
            faults.append(f"{name}: the rehearsal does not know the intrinsic function {', '.join(unknown)}")
    if faults:
        raise NotEmulated("; ".join(faults))
    known = {*template.get("Parameters", {}), *resources}
    named = {**{name: _needed(one) for name, one in resources.items()}, "Outputs": _named(template.get("Outputs"))}
    lost = [
        f"{name} names {', '.join(missing)}"
        for name, names in named.items()
        if (missing := sorted(one for one in {*names} - known if not one.startswith("AWS::")))
    ]
    if lost:
        raise RehearsalError(f"{'; '.join(lost)}: neither a parameter nor a resource of the template")


def broken(template: Mapping[str, Any], scope: Scope) -> list[str]:
    """What the template's rules assert of its parameters and is not so."""
    return [
        str(assertion.get("AssertDescription", f"rule {name} of the template does not hold"))
        for name, rule in template.get("Rules", {}).items()
        if "RuleCondition" not in rule or scope.value(rule["RuleCondition"])
        for assertion in rule["Assertions"]
        if not scope.value(assertion["Assert"])
    ]


def _unknown_functions(expression: Any) -> Iterator[str]:
    if isinstance(expression, list):
        for item in expression:
            yield from _unknown_functions(item)
    if isinstance(expression, Mapping):
        for key, item in expression.items():
            if key.startswith("Fn::") and key not in FUNCTIONS:
                yield key
            yield from _unknown_functions(item)


def wanted(template: Mapping[str, Any], scope: Scope) -> dict[str, Mapping[str, Any]]:
    """The resources whose condition holds."""
    return {
        name: resource
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or scope.condition(resource["Condition"])
    }


def needs(resources: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Which resources each resource waits for: what it names, and its `DependsOn`."""
    return {name: _needed(resource) & set(resources) for name, resource in resources.items()}


def _needed(resource: Mapping[str, Any]) -> set[str]:
    said = resource.get("DependsOn", [])
    return {*([said] if isinstance(said, str) else said), *_named(resource.get("Properties", {}))}


def _named(expression: Any) -> Iterator[str]:
    """The names in an expression that may be resources."""
    if isinstance(expression, list):
        for item in expression:
            yield from _named(item)
    if not isinstance(expression, Mapping):
        return
    for key, item in expression.items():
        if key == "Ref" and isinstance(item, str):
            yield item
        elif key == "Fn::GetAtt":
            yield item.split(".")[0] if isinstance(item, str) else item[0]
        elif key == "Fn::Sub":
            written, given = (item, {}) if isinstance(item, str) else item
            names = (match["name"].strip() for match in SUBSTITUTED.finditer(written) if match["name"])
            yield from (name.split(".")[0] for name in names if name not in given)
        yield from _named(item)
