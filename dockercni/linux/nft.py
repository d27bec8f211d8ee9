"""libnftables, for rulesets written as text; loaded at its first use.

Single elements go over netlink (see nft_elements): for each change the library lists all sets and chains first.
"""

from __future__ import annotations

import ctypes
import json
import threading
from typing import Any, Final

from dockercni.linux import descriptors

_NAME: Final = "libnftables.so.1"
_JSON: Final = 1 << 4
_lock = threading.Lock()  # contexts may not be shared between threads, and the library has global tables as well
_loaded: list[ctypes.CDLL] = []


class NftablesError(Exception):
    """nft refused a ruleset, or the library is missing. `exists` and `missing`: the refusal is EEXIST or ENOENT."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.exists = "File exists" in words
        self.missing = "No such file or directory" in words


def apply(ruleset: str) -> None:
    """Carry out a ruleset in the syntax of nft(8) as one transaction. Raises NftablesError."""
    _run(ruleset, 0)


def listing(command: str) -> list[dict[str, Any]]:
    """The objects that a list command shows, as in libnftables-json(5), without the leading metainfo.

    Raises NftablesError.
    """
    output = _run(command, _JSON)
    found = json.loads(output)["nftables"] if output else []
    return [entry for entry in found if "metainfo" not in entry]


def available() -> bool:
    """Whether the library is installed."""
    try:
        _library()
    except NftablesError:
        return False
    return True


def _run(commands: str, output_flags: int) -> str:
    with _lock:
        library = _library()
        # each context opens a socket and waits for it by select(), which needs low descriptors
        try:
            return descriptors.low(lambda: _run_with(library, commands, output_flags))
        except OSError as error:
            raise NftablesError(f"libnftables cannot be run: {error.strerror}") from error


def _run_with(library: ctypes.CDLL, commands: str, output_flags: int) -> str:
    context = library.nft_ctx_new(0)
    if not context:
        raise NftablesError("libnftables cannot create a context")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_output_set_flags(context, output_flags)
        failed = library.nft_run_cmd_from_buffer(context, commands.encode())
        output = (library.nft_ctx_get_output_buffer(context) or b"").decode(errors="replace")
        words = (library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace")
    finally:
        library.nft_ctx_free(context)
    if failed:
        raise NftablesError(" ".join(words.split()) or "nft refused the ruleset without a message")
    return output


def _library() -> ctypes.CDLL:
    if not _loaded:
        try:
            library = ctypes.CDLL(_NAME)
        except OSError as error:
            raise NftablesError(f"{_NAME} cannot be loaded: {error}") from error
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
            getattr(library, name).restype = ctypes.c_char_p
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_ctx_output_set_flags.restype = None
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        _loaded.append(library)
    return _loaded[0]
