"""Calls to a service with parameters spelled as CloudFormation spells them.

botocore's model of the service says how its API spells them, what is a number, and what there is at all: a nested key that
the API does not have is an error, never dropped.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from eks_rehearsal.cloudformation.resource import Context, HalfMade
from eks_rehearsal.errors import NotEmulated, RehearsalError

GONE = re.compile("NotFound|NoSuch|NonExistent|DoesNotExist|NotAttached")
POLL = 0.2
PATIENCE = 300.0


def call(context: Context, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    """What the operation answers, given the parameters in PascalCase; those that are None are left out.

    Raises:
        NotEmulated: Names the resource and the key or value that the API's own model does not take.
    """
    client = context.client(service)
    given = {key: value for key, value in parameters.items() if value is not None}
    shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation]).input_shape
    try:
        answer: dict[str, Any] = getattr(client, operation)(**_fitted(shape, given, context.logical_id))
    except ParamValidationError as error:
        problem = " ".join(str(error).split())
        raise NotEmulated(f"{context.logical_id}: {service} {operation} does not take this: {problem}") from None
    return answer


def tried(context: Context, service: str, operation: str, **parameters: Any) -> dict[str, Any] | None:
    """The same, or None where what it is about is gone already."""
    try:
        return call(context, service, operation, **parameters)
    except ClientError as error:
        if GONE.search(error.response["Error"]["Code"]):
            return None
        raise


def refusal(code: str, operation: str, sentence: str, because: Collection[str] = ()) -> RehearsalError:
    """The error that AWS answers and the emulation does not, in botocore's words, with what is in the way."""
    named = f" (there is still {', '.join(sorted(because))})" if because else ""
    return RehearsalError(f"An error occurred ({code}) when calling the {operation} operation: {sentence}{named}")


@contextmanager
def rolled_back_on_failure(id: str) -> Iterator[None]:
    """What is done to a resource that was made a moment ago.

    Raises:
        HalfMade: It failed; a rollback has to delete the resource.
    """
    try:
        yield
    except (ClientError, RehearsalError) as error:
        raise HalfMade(id, error) from error


def until(done: Callable[[], bool], waited_for: str) -> None:
    """Look until it is so.

    Raises:
        RehearsalError: It was not so after five minutes.
    """
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise RehearsalError(f"timed out after {PATIENCE:.0f} s waiting for {waited_for}")
        time.sleep(POLL)


def document(value: Any) -> Any:
    """A JSON document as the APIs take it, which a template gives as an object or as text."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def chosen(properties: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Those of the properties that are named and there."""
    return {name: properties[name] for name in properties if name in names}


def known(context: Context, where: str, value: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse a key of a nested property that is translated here and not by an API's model.

    Raises:
        NotEmulated: Names the resource, the property and the keys.
    """
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise _unknown(f"{context.logical_id}.{where}", unknown, names)


def _unknown(where: str, unknown: Collection[str], names: Collection[str]) -> NotEmulated:
    return NotEmulated(
        f"{where}: the rehearsal does not know {', '.join(unknown)}; it knows {', '.join(sorted(names))}"
    )


def _fitted(shape: Any, value: Any, where: str) -> Any:
    """A value as the shape wants it; what does not fit is left for botocore to refuse."""
    return FITS.get(shape.type_name, _as_is)(shape, value, where)


def _as_is(_shape: Any, value: Any, _where: str) -> Any:
    return value


def _structure(shape: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    names = {name[:1].upper() + name[1:]: name for name in shape.members}
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise _unknown(where, unknown, names)
    return {names[key]: _fitted(shape.members[names[key]], part, f"{where}.{key}") for key, part in value.items()}


def _map(shape: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {str(key): _fitted(shape.value, part, f"{where}.{key}") for key, part in value.items()}


def _list(shape: Any, value: Any, where: str) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return [_fitted(shape.member, part, f"{where}[{index}]") for index, part in enumerate(value)]


def _boolean(_shape: Any, value: Any, _where: str) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _integer(_shape: Any, value: Any, _where: str) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else value


def _string(_shape: Any, value: Any, _where: str) -> Any:
    return text(value) if isinstance(value, bool | int) else value


def text(value: Any) -> str:
    """A plain value as text: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


FITS: Mapping[str, Callable[[Any, Any, str], Any]] = {
    "structure": _structure,
    "map": _map,
    "list": _list,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "string": _string,
}
