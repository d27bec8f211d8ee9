"""libcni in Python: the CNI runtime, usable on its own and knowing nothing of Docker."""

from dockercni.cni.cache import Cache
from dockercni.cni.calls import EXEC, PluginCall, PluginRunner
from dockercni.cni.conf import Directory, NetworkList, PluginConf, load_directory, load_file, parse_list, parse_plugin
from dockercni.cni.entry import CacheEntry
from dockercni.cni.errors import (
    CacheError,
    ChainError,
    CNIError,
    ConfigurationError,
    EntryTooNew,
    ErrorCode,
    InvalidParameters,
    PluginError,
    PluginNotFound,
    PluginTimeout,
    ResultError,
    VersionError,
)
from dockercni.cni.files import read_regular, replace_file
from dockercni.cni.invoke import ExecRunner
from dockercni.cni.request import RuntimeConf
from dockercni.cni.result import DNS, Interface, IPConfig, Result, Route
from dockercni.cni.result import parse as parse_result
from dockercni.cni.runtime import Runtime
from dockercni.cni.versions import OLDEST

__all__ = [
    "DNS",
    "EXEC",
    "OLDEST",
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
    "read_regular",
    "replace_file",
]
