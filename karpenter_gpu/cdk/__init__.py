"""The constructs: one a file, each a part of the platform, wired together by `karpenter.py` and by the stack."""
