"""Lambda functions of the emulated account, run on this machine from the very code that was uploaded."""

from eks_rehearsal.functions.runner import Answer, Functions

__all__ = ["Answer", "Functions"]
