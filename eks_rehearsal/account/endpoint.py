"""A path or service of the emulated AWS that the rehearsal answers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from eks_rehearsal.aws.wire import Response

JSON: Final = {"Content-Type": "application/json"}
Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Endpoint:
    """Answers the requests that are its own.

    Args:
        mine: Whether a request, for a service, is its own.

        answer: Answers a request, given its body.
    """

    def __init__(self, mine: Callable[[Environ, str], bool], answer: Callable[[Environ, bytes], Response]) -> None:
        self._mine = mine
        self._answer = answer

    def matches(self, environ: Environ, service: str, action: str) -> bool:
        del action
        return self._mine(environ, service)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            response = self._answer(environ, environ["wsgi.input"].read())
        except Exception as error:  # noqa: BLE001 - the caller gets an answer, and a fault of ours is not taken for one of its own.
            fault = f"the rehearsal failed at {environ['PATH_INFO']}: {type(error).__name__}: {error}"
            response = Response(501, {"Content-Type": "text/plain"}, fault.encode())
        start_response(f"{response.status} -", list(response.headers.items()))
        return [response.body]


def under(path: str, answer: Callable[[Environ, bytes], Response]) -> Endpoint:
    """What answers every request below a path."""
    return Endpoint(lambda environ, _: environ.get("PATH_INFO", "").startswith(path), answer)
