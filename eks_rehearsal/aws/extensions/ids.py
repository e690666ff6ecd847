"""EC2: ids that are known beforehand, which neither EC2 nor moto lets a caller choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from moto.ec2.models import security_groups, subnets, vpcs

# Where moto takes a new id from, by what it is of.
_MAKERS: Final = {
    "vpc": (vpcs, "random_vpc_id"),
    "subnet": (subnets, "random_subnet_id"),
    "sg": (security_groups, "random_security_group_id"),
}


@contextmanager
def next_id(kind: str, id: str | None) -> Iterator[None]:
    """Let the VPC (`vpc`), subnet or security group (`sg`) that is created within have this id; any id where it is None."""
    module, maker = _MAKERS[kind]
    original = getattr(module, maker)
    setattr(module, maker, (lambda: id) if id else original)
    try:
        yield
    finally:
        setattr(module, maker, original)
