"""The Kubernetes API as paths and JSON documents: what a rehearsal looks at and changes."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
import yaml

from eks_rehearsal.errors import RehearsalError

Document = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class ApiError(RehearsalError):
    """The API server refused; `reason` is Kubernetes' word for why, `code` the HTTP status."""

    def __init__(self, response: requests.Response) -> None:
        self.code = response.status_code
        try:
            status = response.json()
        except ValueError:
            status = {"message": response.text}
        self.reason = str(status.get("reason", ""))
        super().__init__(str(status.get("message", response.text)))


class Kube:
    """A client of one API server.

    Args:
        server: Its URL.

        authority: The file with its certificate authority.

        certificate: A client's certificate and key, for one that shows them.

        token: A bearer token, for one that shows that.

    Attributes:
        failures: What went wrong in those who watch; the watch goes on.
    """

    def __init__(
        self, server: str, authority: Path, *, certificate: tuple[Path, Path] | None = None, token: str = ""
    ) -> None:
        self.server = server
        self.authority = authority
        self.failures: deque[str] = deque(maxlen=100)
        self._certificate = certificate
        self._token = token
        self._sessions = threading.local()

    def get(self, path: str, **query: str) -> Document:
        """An object, or a list."""
        return self._ask("GET", path, params=query)

    def find(self, path: str) -> Document | None:
        """An object, or nothing when it is not there."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def items(self, path: str, **query: str) -> list[Document]:
        """The objects of a list; none when the server does not know the kind."""
        found = self.find(path) if not query else self.get(path, **query)
        return list((found or {}).get("items") or [])

    def create(self, path: str, document: Mapping[str, Any]) -> Document:
        """Create an object in a collection."""
        return self._ask("POST", path, json=document)

    def patch(self, path: str, document: Any, *, kind: str = MERGE) -> Document:
        """Change part of an object."""
        return self._ask("PATCH", path, data=json.dumps(document), headers={"Content-Type": kind})

    def patch_present(self, path: str, document: Any, *, kind: str = MERGE) -> None:
        """Change part of an object; one that is gone is no error."""
        try:
            self.patch(path, document, kind=kind)
        except ApiError as error:
            if error.code != 404:
                raise

    def delete(self, path: str) -> None:
        """Delete an object; one that is gone is no error."""
        try:
            self._ask("DELETE", path)
        except ApiError as error:
            if error.code != 404:
                raise

    def ended(self, path: str, uid: str) -> None:
        """Remove a pod that has ended, as its kubelet does; one that is gone, or another of its name, is let be."""
        # With a body, the API server reads no options in the path.
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        try:
            self._ask("DELETE", path, json=options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def ready(self) -> bool:
        """Whether the API server says that it serves."""
        try:
            return self._session().get(f"{self.server}/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def watch(self, path: str, seen: Callable[[str, Document], None], stopped: threading.Event) -> None:
        """Tell `seen` every change of a collection (ADDED, MODIFIED, DELETED), what is there first, until `stopped`."""
        version = ""
        known: dict[str, Document] = {}

        def notify(kind: str, item: Document) -> None:
            known[item["metadata"]["uid"]] = item
            if kind == "DELETED":
                del known[item["metadata"]["uid"]]
            try:
                seen(kind, item)
            except Exception as error:  # noqa: BLE001 - one change that nobody can make sense of must not end the watch
                self.failures.append(f"{kind} {path} {item['metadata']['name']}: {type(error).__name__}: {error}")

        while not stopped.is_set():
            try:
                if not version:
                    version = self._list(path, known, notify)
                version = self._follow(path, version, notify, stopped)
            except (requests.RequestException, RehearsalError, ValueError):
                version = ""
                stopped.wait(0.3)

    def _list(self, path: str, known: Mapping[str, Document], notify: Callable[[str, Document], None]) -> str:
        """Tell what is there, and what went while nobody looked."""
        listed = self.get(path)
        there = {item["metadata"]["uid"]: item for item in listed.get("items") or []}
        for uid, item in list(known.items()):
            if uid not in there:
                notify("DELETED", item)
        for item in there.values():
            notify("ADDED", item)
        return str(listed["metadata"]["resourceVersion"])

    def _follow(self, path: str, version: str, seen: Callable[[str, Document], None], stopped: threading.Event) -> str:
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "120", "allowWatchBookmarks": "true"}
        with self._session().get(f"{self.server}{path}", params=query, stream=True, timeout=(5, 150)) as response:
            if response.status_code != 200:
                raise ApiError(response)
            for kind, item in _changes(response):
                if stopped.is_set() or kind == "ERROR":
                    return ""
                version = item["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    seen(kind, item)
        return version

    def _ask(self, verb: str, path: str, **more: Any) -> Document:
        try:
            response = self._session().request(verb, f"{self.server}{path}", timeout=30, **more)
        except requests.RequestException as error:
            raise RehearsalError(f"the API server does not answer {verb} {path}: {error}") from error
        if not response.ok:
            raise ApiError(response)
        answer: Document = response.json()
        return answer

    def _session(self) -> requests.Session:
        if not hasattr(self._sessions, "session"):
            session = requests.Session()
            session.trust_env = False
            session.verify = str(self.authority)
            if self._certificate:
                session.cert = (str(self._certificate[0]), str(self._certificate[1]))
            if self._token:
                session.headers["Authorization"] = f"Bearer {self._token}"
            self._sessions.session = session
        session = self._sessions.session
        assert isinstance(session, requests.Session)
        return session


def condition(document: Mapping[str, Any], type: str) -> str:
    """The status of an object's condition: `True`, `False`, `Unknown`; empty when it is not there."""
    statuses = (one["status"] for one in document.get("status", {}).get("conditions", []) if one["type"] == type)
    return str(next(statuses, ""))


def _changes(response: requests.Response) -> Iterator[tuple[str, Document]]:
    for line in response.iter_lines():
        if line:
            change = json.loads(line)
            yield change["type"], change["object"]


def kubeconfig(
    path: Path,
    server: str,
    authority: Path,
    *,
    certificate: tuple[Path, Path] | None = None,
    token_file: Path | None = None,
    namespace: str = "default",
) -> Path:
    """Write a kubeconfig for a client that shows a certificate, or the token of a file.

    Args:
        path: The file.

        server: The API server's URL.

        authority: The file of its certificate authority.

        certificate: The client's certificate and key.

        token_file: The file that has its bearer token.

        namespace: Its namespace.
    """
    user: Document = {}
    if certificate:
        user = {"client-certificate": str(certificate[0]), "client-key": str(certificate[1])}
    if token_file:
        user = {"tokenFile": str(token_file)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "rehearsal", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "rehearsal", "user": user}],
        "contexts": [
            {"name": "rehearsal", "context": {"cluster": "rehearsal", "user": "rehearsal", "namespace": namespace}}
        ],
        "current-context": "rehearsal",
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    path.chmod(0o600)
    return path
