"""Versions, parsed once and compared as numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = r"(0|[1-9][0-9]*)"


class Minor(NamedTuple):
    """A version without a patch, as Kubernetes and EKS name theirs: `1.36`."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Minor:
        """Read `1.36`.

        Raises:
            ValueError: The text is not two numbers joined by a dot.
        """
        found = re.fullmatch(rf"{_NUMBER}\.{_NUMBER}", text)
        if not found:
            raise ValueError(f"{text!r} is not a version of the form 1.36")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class Version(NamedTuple):
    """A released version: `1.14.3`, never with a leading `v`."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `1.14.3`.

        Raises:
            ValueError: The text is not three numbers joined by dots.
        """
        found = re.fullmatch(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}", text)
        if not found:
            raise ValueError(f"{text!r} is not a version of the form 1.14.3, without a leading v")
        return cls(int(found[1]), int(found[2]), int(found[3]))

    @property
    def line(self) -> Minor:
        """The minor this patch belongs to."""
        return Minor(self.major, self.minor)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"
