"""What the tests share: shapes synthesized once, and snapshots a person can read."""

from __future__ import annotations

import os

# cfn-lint inside the CDK takes half of a synthesis; `make templates` runs it on every profile.
os.environ["CDK_VALIDATION"] = "false"

import pytest
import yaml
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

import karpenter_gpu  # noqa: F401  finds Node.js for the CDK
from tests.shapes import Shape, synthesized


class YamlSnapshot(SingleFileSnapshotExtension):
    """One YAML file a snapshot."""

    file_extension = "yaml"
    _write_mode = WriteMode.TEXT

    def serialize(self, data, **_):
        return yaml.safe_dump(data, sort_keys=False, width=120)


@pytest.fixture
def yaml_snapshot(snapshot):
    return snapshot.use_extension(YamlSnapshot)


@pytest.fixture(scope="session")
def default() -> Shape:
    return synthesized("default")


@pytest.fixture(scope="session")
def walkthrough() -> Shape:
    return synthesized("walkthrough")
