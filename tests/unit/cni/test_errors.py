from pathlib import Path

from dockercni.cni.errors import (
    ChainError,
    CNIError,
    ConfigurationError,
    ErrorCode,
    PluginError,
    PluginNotFound,
    PluginTimeout,
    ResultError,
)


def test_the_text_is_the_message_and_the_details() -> None:
    """An error reads `msg`, or `msg; details`."""
    assert str(CNIError("no", 7)) == "no"
    assert str(CNIError("no", 7, "really")) == "no; really"


def test_an_error_has_the_shape_of_the_specification() -> None:
    """`details` and `cniVersion` are left out where there are none."""
    assert CNIError("no", ErrorCode.IO_FAILURE).to_dict() == {"code": 5, "msg": "no"}
    assert CNIError("no", 101, "x").to_dict("1.0.0") == {
        "cniVersion": "1.0.0",
        "code": 101,
        "msg": "no",
        "details": "x",
    }


def test_a_configuration_error_is_one_line_that_says_where() -> None:
    """File, line, column and key come before what is wrong, and nothing from outside breaks the line."""
    error = ConfigurationError("must be\nso", source=Path("/etc/a\x1b.conf"), position=(3, 7), key="plugins[0].mtu")
    assert str(error) == "/etc/a\\x1b.conf:3:7: plugins[0].mtu: must be\\nso"
    assert (error.line, error.column, error.code) == (3, 7, 7)
    assert str(ConfigurationError("is empty")) == "configuration: is empty"


def test_a_result_error_names_the_key() -> None:
    """A result's error begins with the key, if there is one."""
    assert str(ResultError("missing", key="ips[0].address")) == "ips[0].address: missing"
    assert str(ResultError("is empty")) == "is empty"


def test_a_plugin_error_says_which_plugin_failed_at_what() -> None:
    """The text names plugin and verb; what the plugin said stays apart."""
    error = PluginError("bridge", "ADD", "no address", code=101, details="x", stderr="noise")
    assert str(error) == 'plugin "bridge" failed (add): no address; x'
    assert error.to_dict() == {"code": 101, "msg": "no address", "details": "x"}
    assert str(PluginTimeout("dhcp", "ADD", 2.5)) == 'plugin "dhcp" failed (add): not finished after 2.5 s'


def test_a_missing_plugin_says_where_it_was_sought() -> None:
    """The searched directories are part of the text."""
    assert str(PluginNotFound("bridge", [Path("/opt/a"), "/b"])) == 'plugin "bridge" not found; searched /opt/a, /b'
    assert str(PluginNotFound("bridge", [])) == 'plugin "bridge" not found; searched no directory at all'


def test_a_chain_error_holds_every_failure() -> None:
    """All failures are in the text, and the first one gives the code."""
    error = ChainError("DEL", "net", [CNIError("one", 5), CNIError("two", 7)])
    assert str(error) == 'DEL of network "net" failed; one; two'
    assert (error.code, len(error.failures)) == (5, 2)
