"""A hook of the docs site: links to files outside docs/, such as examples, become their names, which are read in the repository."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(examples|tests|karpenter_gpu|eks_rehearsal)([^)]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page, with the path of the file where a link to it stood."""
    return _OUTSIDE.sub(r"`\2\3`", markdown)
