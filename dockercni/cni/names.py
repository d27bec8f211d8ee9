"""Names that CNI allows. They become parts of environment variables and file names, so nothing else may pass."""

from __future__ import annotations

import re
from functools import lru_cache

from dockercni.cni.errors import ErrorCode, InvalidParameters

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_NOT_IN_IFNAME = re.compile(r"[/:\0\s]")
_IFNAME_BYTES = 15  # the kernel's IFNAMSIZ less the final NUL


def is_container_id(text: str) -> bool:
    """Whether libcni accepts `text` as a container id. Such an id is safe as a part of a file name."""
    return _NAME.fullmatch(text) is not None


@lru_cache(maxsize=64)  # every plugin of a chain is asked about the same few names
def validate_container_id(container_id: str) -> None:
    """Raise InvalidParameters (code 3 if empty, else 4) unless libcni accepts `container_id`."""
    if not container_id:
        raise InvalidParameters("missing container id", code=ErrorCode.UNKNOWN_CONTAINER)
    if not is_container_id(container_id):
        raise InvalidParameters("invalid characters in container id", ascii(container_id))


@lru_cache(maxsize=64)
def validate_network_name(name: str) -> None:
    """Raise InvalidParameters (code 7) unless libcni accepts `name` for a network."""
    if not name:
        raise InvalidParameters("missing network name", code=ErrorCode.INVALID_CONFIGURATION)
    if not _NAME.fullmatch(name):
        problem = "invalid characters in network name"
        raise InvalidParameters(problem, ascii(name), code=ErrorCode.INVALID_CONFIGURATION)


@lru_cache(maxsize=64)
def validate_ifname(ifname: str) -> None:
    """Raise InvalidParameters (code 4) unless `ifname` can name an interface: libcni's rules, and no NUL."""
    if not ifname:
        raise InvalidParameters("missing interface name")
    try:
        size = len(ifname.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise InvalidParameters("interface name is not text", ascii(ifname)) from None
    if size > _IFNAME_BYTES:
        raise InvalidParameters(f"interface name is longer than {_IFNAME_BYTES} bytes", ascii(ifname))
    if ifname in {".", ".."}:
        raise InvalidParameters("interface name is . or ..")
    # a NUL would end the name early in the kernel, and cannot be put into an environment
    if _NOT_IN_IFNAME.search(ifname):
        raise InvalidParameters("interface name contains / or : or white space", ascii(ifname))
