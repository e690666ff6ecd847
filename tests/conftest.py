"""What the tests share: shapes synthesized once, and snapshots a person can read."""

from __future__ import annotations

import functools
import gc
import os

# cfn-lint inside the CDK takes half of a synthesis; `make templates` runs it on every profile.
os.environ["CDK_VALIDATION"] = "false"

import botocore.loaders
import botocore.session
import pytest
import yaml
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

import karpenter_gpu  # noqa: F401  finds Node.js for the CDK
from tests.shapes import Shape, synthesized

# Every session of boto3 reads its models from JSON again, EC2's alone for a third of a second; here they share what was read.
botocore.session.create_loader = functools.cache(botocore.loaders.create_loader)


def pytest_collection_finish():
    """What was imported stays: the collector need not walk through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


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
