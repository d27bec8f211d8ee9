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

_HOMES = {
    "Cache": "cache.Cache",
    "EXEC": "runner.EXEC",
    "PluginCall": "runner.PluginCall",
    "PluginRunner": "runner.PluginRunner",
    "Directory": "conf.Directory",
    "NetworkList": "conf.NetworkList",
    "PluginConf": "conf.PluginConf",
    "load_directory": "conf.load_directory",
    "load_file": "conf.load_file",
    "parse_list": "conf.parse_list",
    "parse_plugin": "conf.parse_plugin",
    "CacheEntry": "cache_entry.CacheEntry",
    "CacheError": "errors.CacheError",
    "ChainError": "errors.ChainError",
    "CNIError": "errors.CNIError",
    "ConfigurationError": "errors.ConfigurationError",
    "EntryTooNew": "errors.EntryTooNew",
    "ErrorCode": "errors.ErrorCode",
    "InvalidParameters": "errors.InvalidParameters",
    "PluginError": "errors.PluginError",
    "PluginNotFound": "errors.PluginNotFound",
    "PluginShortage": "errors.PluginShortage",
    "SHORTAGES": "errors.SHORTAGES",
    "PluginTimeout": "errors.PluginTimeout",
    "ResultError": "errors.ResultError",
    "VersionError": "errors.VersionError",
    "ExecRunner": "invoke.ExecRunner",
    "RuntimeConf": "request.RuntimeConf",
    "DNS": "result.DNS",
    "Interface": "result.Interface",
    "IPConfig": "result.IPConfig",
    "Result": "result.Result",
    "Route": "result.Route",
    "parse_result": "result.parse",
    "Runtime": "runtime.Runtime",
    "OLDEST": "versions.OLDEST",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(".")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
