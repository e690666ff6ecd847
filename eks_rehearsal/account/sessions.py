"""The sessions in which CloudFormation makes resources: one for each role that stacks are deployed by."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import boto3
import botocore.session

from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.iam.evaluator import Caller, refusal


class Sessions:
    """The sessions.

    Args:
        aws: The emulated AWS.

        root: The credentials of the account's root, as environment variables.
    """

    def __init__(self, aws: EmulatedAws, root: Mapping[str, str]) -> None:
        self._aws, self._root = aws, root
        self._sessions: dict[str, boto3.Session] = {}
        self._lock = threading.Lock()
        # Reading the services' models takes longer than the calls do.
        self._models = botocore.session.get_session().get_component("data_loader")

    def of(self, role: str) -> boto3.Session:
        """That of a role, which must trust CloudFormation; without one, the root's.

        Raises:
            RehearsalError: CloudFormation cannot assume the role.
        """
        with self._lock:
            if role not in self._sessions:
                keys = self._keys(role) if role else self._root
                names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
                own = botocore.session.get_session()
                own.register_component("data_loader", self._models)
                self._sessions[role] = boto3.Session(
                    *(keys.get(name) for name in names), region_name=self._aws.region, botocore_session=own
                )
            return self._sessions[role]

    def _keys(self, role: str) -> Mapping[str, str]:
        with self._aws.world.turn:
            found = self._aws.extensions.roles.find(role)
            service = Caller({"Service": frozenset({"cloudformation.amazonaws.com"})})
            if found is None or refusal(found.assume_role_policy_document, "sts:AssumeRole", service):
                raise RehearsalError(f"Role {role} is invalid or cannot be assumed")
        return self._aws.credentials_for(role, "AWSCloudFormation")
