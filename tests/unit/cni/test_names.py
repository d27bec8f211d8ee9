import pytest

from dockercni.cni.errors import CNIError, ErrorCode
from dockercni.cni.names import validate_container_id, validate_ifname, validate_network_name


@pytest.mark.parametrize("name", ["a", "0", "A-b_c.9", "x" * 300])
def test_plain_names_are_allowed(name: str) -> None:
    """Letters, digits, `_`, `.` and `-` make a container id and a network name."""
    validate_container_id(name)
    validate_network_name(name)


@pytest.mark.parametrize("name", ["-a", ".a", "_a", "a/b", "a b", "a\n", "é", "aé", "a\0", "१", "../x", "a:b"])
def test_other_names_are_refused(name: str) -> None:
    """Nothing else does, not even a final newline; the codes are 4 and 7."""
    with pytest.raises(CNIError) as container:
        validate_container_id(name)
    with pytest.raises(CNIError) as network:
        validate_network_name(name)
    assert (container.value.code, network.value.code) == (ErrorCode.INVALID_ENVIRONMENT, 7)
    assert str(container.value).isprintable()


def test_empty_names_have_codes_of_their_own() -> None:
    """An empty container id is code 3, an empty network name 7, an empty interface name 4."""
    codes = []
    for validate in (validate_container_id, validate_network_name, validate_ifname):
        with pytest.raises(CNIError) as error:
            validate("")
        codes.append(error.value.code)
    assert codes == [3, 7, 4]


@pytest.mark.parametrize("ifname", ["eth0", "a" * 15, "...", "é" * 7, "eth0.100", "@x"])
def test_interface_names_are_what_the_kernel_takes(ifname: str) -> None:
    """Up to 15 bytes of nearly anything name an interface."""
    validate_ifname(ifname)


@pytest.mark.parametrize(
    "ifname",
    ["a" * 16, "é" * 8, ".", "..", "a/b", "a:b", "a b", "a\t", "a\u00a0b", "a\u2028", "a\u3000", "a\0b", "\ud800"],
)
def test_other_interface_names_are_refused(ifname: str) -> None:
    """More than 15 bytes, `/`, `:`, any Unicode white space, NUL and halves of characters are code 4."""
    with pytest.raises(CNIError) as error:
        validate_ifname(ifname)
    assert error.value.code == ErrorCode.INVALID_ENVIRONMENT
