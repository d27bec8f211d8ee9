"""libcni in Python: the CNI runtime, usable on its own and knowing nothing of Docker."""

from dockercni.cni.cache import Cache, CacheEntry
from dockercni.cni.conf import Directory, NetworkList, PluginConf, load_directory, load_file, parse_list, parse_plugin
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
from dockercni.cni.files import read_regular, replace_file
from dockercni.cni.invoke import EXEC, ExecRunner, PluginCall, PluginRunner
from dockercni.cni.result import Result, Route
from dockercni.cni.result import parse as parse_result
from dockercni.cni.runtime import Runtime, RuntimeConf
from dockercni.cni.versions import OLDEST

__all__ = [
    "EXEC",
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
