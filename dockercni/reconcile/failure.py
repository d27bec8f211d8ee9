"""Is an error worth another try? Decided here, once, from what the plugin, the kernel or another part said."""

from __future__ import annotations

from typing import Self

from dockercni.cni import CNIError
from dockercni.cni.errors import is_shortage
from dockercni.errors import DockercniError, Retry


def retry_of(error: Exception) -> Retry:
    """When the same call may succeed.

    SOON for a shortage of the machine, whichever part of the work met it; NEVER for a CNI error that repeats until
    the plugin or its configuration is changed; as the error says for our own; LATER for everything else.
    """
    if is_shortage(error):
        return Retry.SOON
    if isinstance(error, DockercniError):
        return error.retry
    return Retry.NEVER if isinstance(error, CNIError) and error.permanent else Retry.LATER


class Failure(DockercniError):
    """A step failed; `retry` and the CNI error code (0 for none) are those of what caused it."""

    def __init__(self, message: str, retry: Retry, code: int = 0) -> None:
        super().__init__(message)
        self.retry = retry
        self.code = code

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Of what a plugin, the kernel or another part said, and of what a roll-back could not take back.

        That has to be taken back some time, so it is always worth another try.
        """
        notes = getattr(error, "__notes__", ())
        retry = retry_of(error)
        code = error.code if isinstance(error, CNIError | Failure) else 0
        return cls("; ".join([str(error), *notes]), max(retry, Retry.LATER) if notes else retry, code)
