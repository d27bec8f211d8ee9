"""libcni in Python: the CNI runtime, usable on its own and knowing nothing of Docker.

Each name is imported when it is first used, because a plugin that is started as an executable needs few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dockercni.cni.cache import Cache
    from dockercni.cni.cache_entry import CacheEntry
    from dockercni.cni.conf import (
        Directory,
        NetworkList,
        PluginConf,
        load_directory,
        load_file,
        parse_list,
        parse_plugin,
    )
    from dockercni.cni.errors import (
        SHORTAGES,
        CacheError,
        ChainError,
        CNIError,
        ConfigurationError,
        EntryTooNew,
        ErrorCode,
        InvalidParameters,
        PluginError,
        PluginNotFound,
        PluginShortage,
        PluginTimeout,
        ResultError,
        VersionError,
    )
    from dockercni.cni.invoke import ExecRunner
    from dockercni.cni.request import RuntimeConf
    from dockercni.cni.result import DNS, Interface, IPConfig, Result, Route
    from dockercni.cni.result import parse as parse_result
    from dockercni.cni.runner import EXEC, PluginCall, PluginRunner
    from dockercni.cni.runtime import Runtime
    from dockercni.cni.versions import OLDEST

__all__ = [
    "DNS",
    "EXEC",
    "OLDEST",
    "SHORTAGES",
    "CNIError",
    "Cache",
    "CacheEntry",
    "CacheError",
    "ChainError",
    "ConfigurationError",
    "Directory",
    "EntryTooNew",
    "ErrorCode",
    "ExecRunner",
    "IPConfig",
    "Interface",
    "InvalidParameters",
    "NetworkList",
    "PluginCall",
    "PluginConf",
    "PluginError",
    "PluginNotFound",
    "PluginRunner",
    "PluginShortage",
    "PluginTimeout",
    "Result",
    "ResultError",
    "Route",
    "Runtime",
    "RuntimeConf",
    "VersionError",
    "load_directory",
    "load_file",
    "parse_list",
    "parse_plugin",
    "parse_result",
]

_MODULES = {
    "cache": "Cache",
    "cache_entry": "CacheEntry",
    "conf": "Directory NetworkList PluginConf load_directory load_file parse_list parse_plugin",
    "errors": (
        "CNIError CacheError ChainError ConfigurationError EntryTooNew ErrorCode InvalidParameters "
        "PluginError PluginNotFound PluginShortage PluginTimeout ResultError SHORTAGES VersionError"
    ),
    "invoke": "ExecRunner",
    "request": "RuntimeConf",
    "result": "DNS IPConfig Interface Result Route parse_result",
    "runner": "EXEC PluginCall PluginRunner",
    "runtime": "Runtime",
    "versions": "OLDEST",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), "parse" if name == "parse_result" else name)
