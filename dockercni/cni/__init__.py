"""libcni in Python: the CNI runtime, usable on its own and knowing nothing of Docker.

What is offered here is imported when it is first asked for: a plugin that runs as an executable needs little of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dockercni.cni.cache import Cache, CacheEntry
    from dockercni.cni.calls import PluginCall, PluginRunner
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
        CacheError,
        ChainError,
        CNIError,
        ConfigurationError,
        ErrorCode,
        InvalidParameters,
        PluginError,
        PluginNotFound,
        PluginTimeout,
        ResultError,
        VersionError,
    )
    from dockercni.cni.invoke import ExecRunner
    from dockercni.cni.result import Result
    from dockercni.cni.result import parse as parse_result
    from dockercni.cni.runtime import Runtime, RuntimeConf
    from dockercni.cni.versions import OLDEST

__all__ = [
    "OLDEST",
    "CNIError",
    "Cache",
    "CacheEntry",
    "CacheError",
    "ChainError",
    "ConfigurationError",
    "Directory",
    "ErrorCode",
    "ExecRunner",
    "InvalidParameters",
    "NetworkList",
    "PluginCall",
    "PluginConf",
    "PluginError",
    "PluginNotFound",
    "PluginRunner",
    "PluginTimeout",
    "Result",
    "ResultError",
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
    "CacheEntry": "cache.CacheEntry",
    "PluginCall": "calls.PluginCall",
    "PluginRunner": "calls.PluginRunner",
    "Directory": "conf.Directory",
    "NetworkList": "conf.NetworkList",
    "PluginConf": "conf.PluginConf",
    "load_directory": "conf.load_directory",
    "load_file": "conf.load_file",
    "parse_list": "conf.parse_list",
    "parse_plugin": "conf.parse_plugin",
    "CacheError": "errors.CacheError",
    "ChainError": "errors.ChainError",
    "CNIError": "errors.CNIError",
    "ConfigurationError": "errors.ConfigurationError",
    "ErrorCode": "errors.ErrorCode",
    "InvalidParameters": "errors.InvalidParameters",
    "PluginError": "errors.PluginError",
    "PluginNotFound": "errors.PluginNotFound",
    "PluginTimeout": "errors.PluginTimeout",
    "ResultError": "errors.ResultError",
    "VersionError": "errors.VersionError",
    "ExecRunner": "invoke.ExecRunner",
    "Result": "result.Result",
    "parse_result": "result.parse",
    "Runtime": "runtime.Runtime",
    "RuntimeConf": "runtime.RuntimeConf",
    "OLDEST": "versions.OLDEST",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(".")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
