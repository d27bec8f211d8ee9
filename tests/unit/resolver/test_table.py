"""Who is called what, for whom."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dockercni.resolver import wire
from dockercni.resolver.messages import Names, OnNetwork
from dockercni.resolver.table import Table
from dockercni.resolver.wire import Question

WEB = Names("1" * 64, ["web", "1" * 12], [OnNetwork("front", ["10.1.0.2", "fd01::2"])], "shop", "web")
DB = Names("2" * 64, ["db", "2" * 12], [OnNetwork("back", ["10.2.0.3"], ["postgres"])], "shop", "database")
API = Names("3" * 64, ["api"], [OnNetwork("front", ["10.1.0.4"]), OnNetwork("back", ["10.2.0.4"])], "shop", "api")


def asked(name: str, kind: int = wire.A, cls: int = wire.IN) -> Question:
    return Question(1, 0, name, kind, cls, b"")


def found(table: Table, asker: Names, name: str, kind: int = wire.A) -> set[str] | None:
    data = table.records(asker.id, asked(name, kind))
    return None if data is None else {str(ip_address(each)) for each in data}


@pytest.fixture
def table() -> Table:
    """A front and a back network, and one container that is on both."""
    made = Table()
    for known in (WEB, DB, API):
        made.set(known)
    return made


@pytest.mark.parametrize(
    ("asker", "name", "addresses"),
    [
        (API, "web", {"10.1.0.2"}),
        (API, "1" * 12, {"10.1.0.2"}),
        (API, "db", {"10.2.0.3"}),
        (API, "postgres", {"10.2.0.3"}),
        (API, "database", {"10.2.0.3"}),
        (WEB, "web", {"10.1.0.2"}),  # itself
        (WEB, "db", None),  # not on a network of its own
        (WEB, "postgres", None),
        (WEB, "nosuch", None),
        (API, "api", {"10.1.0.4"}),  # the first of its networks
        (API, "api.back", {"10.2.0.4"}),
        (DB, "api", {"10.2.0.4"}),
        (WEB, "api.back", None),
        (API, "web.back", None),
        (API, "back", None),
        (API, "", None),
    ],
)
def test_names(table: Table, asker: Names, name: str, addresses: set[str] | None) -> None:
    """A name is known on the networks that both are on, with the address there."""
    assert found(table, asker, name) == addresses


def test_families(table: Table) -> None:
    """A name without an address of that family, or any other record, exists; both are given if both are asked for."""
    assert found(table, API, "web", wire.AAAA) == {"fd01::2"}
    assert found(table, API, "db", wire.AAAA) == set()
    assert found(table, API, "db", 15) == set()
    assert found(table, API, "web", wire.ANY) == {"10.1.0.2", "fd01::2"}
    assert table.records(API.id, asked("db", wire.A, cls=3)) is None


def test_services_of_two_projects(table: Table) -> None:
    """A service is known to its own project only, also where two projects are on one network."""
    other = Names("4" * 64, ["blog-database-1"], [OnNetwork("back", ["10.2.0.9"])], "blog", "database")
    stranger = Names("5" * 64, ["alone"], [OnNetwork("back", ["10.2.0.10"])])
    table.set(other)
    table.set(stranger)
    assert found(table, API, "database") == {"10.2.0.3"}
    assert found(table, other, "database") == {"10.2.0.9"}
    assert found(table, stranger, "database") is None
    assert found(table, stranger, "blog-database-1") == {"10.2.0.9"}


def test_several(table: Table) -> None:
    """All that have a name are given, and each of them comes first now and then."""
    for number in range(5, 8):
        table.set(
            Names(str(number) * 64, [f"api-{number}"], [OnNetwork("back", [f"10.2.0.{number}"])], "shop", "worker")
        )
    assert found(table, DB, "worker") == {"10.2.0.5", "10.2.0.6", "10.2.0.7"}
    firsts = {(table.records(DB.id, asked("worker")) or [b""])[0] for _ in range(200)}
    assert len(firsts) == 3


def test_pointers(table: Table) -> None:
    """An address leads to the name, on the networks of the asker; others are not ours."""

    def pointer(asker: Names, name: str) -> list[bytes] | None:
        data = table.records(asker.id, asked(name, wire.PTR))
        return None if data is None else list(data)

    assert pointer(API, "2.0.1.10.in-addr.arpa") == [b"\3web\5front\0"]
    assert pointer(API, "2." + "0." * 26 + "1.0.d.f.ip6.arpa") is None
    assert pointer(API, "2." + "0." * 27 + "1.0.d.f.ip6.arpa") == [b"\3web\5front\0"]
    assert pointer(WEB, "3.0.2.10.in-addr.arpa") is None
    for name in ("0.1.10.in-addr.arpa", "x.0.1.10.in-addr.arpa", "web", "02.0.1.10.in-addr.arpa", ".ip6.arpa"):
        assert pointer(API, name) is None


def test_a_name_that_dns_cannot_express(table: Table) -> None:
    """A container may be called so that its name is none in DNS: it has no pointer."""
    table.set(Names("6" * 64, ["x" * 64], [OnNetwork("back", ["10.2.0.6"])]))
    assert table.records(API.id, asked("6.0.2.10.in-addr.arpa", wire.PTR)) is None


def test_twice_on_a_network(table: Table) -> None:
    """A container with two interfaces on one network has the addresses of both there, and leaves nothing behind."""
    table.set(Names(DB.id, ["db"], [OnNetwork("back", ["10.2.0.3"]), OnNetwork("back", ["10.2.0.30"], ["second"])]))
    assert found(table, API, "db") == {"10.2.0.3", "10.2.0.30"}
    assert found(table, API, "second") == {"10.2.0.30"}
    for names in (DB, API, WEB):
        table.remove(names.id)
    assert table._networks == {}


def test_upper_case() -> None:
    """Names are compared without regard to case, those of networks too."""
    table = Table()
    table.set(Names("1" * 64, ["Web"], [OnNetwork("Front", ["10.1.0.2"])]))
    asker = Names("1" * 64, [], [])
    assert found(table, asker, "web") == found(table, asker, "web.front") == {"10.1.0.2"}


def test_changes(table: Table) -> None:
    """What is said later counts, and what is removed leaves nothing behind."""
    table.set(Names(DB.id, ["db"], [OnNetwork("back", ["10.2.0.7"])]))
    assert found(table, API, "db") == {"10.2.0.7"}
    assert found(table, API, "postgres") is None
    assert table.records(API.id, asked("3.0.2.10.in-addr.arpa", wire.PTR)) is None
    for known in (WEB, DB, API, API):
        table.remove(known.id)
    assert table.all() == []
    assert table._networks == {}
    assert found(table, API, "db") is None


def test_no_address(table: Table) -> None:
    """What is no address is refused, and changes nothing; a container without an address has no name."""
    with pytest.raises(ValueError, match="name"):
        table.set(Names(DB.id, [], []))
    with pytest.raises(ValueError, match="address"):
        table.set(Names(DB.id, ["db"], [OnNetwork("back", ["10.2.0"])]))
    assert found(table, API, "db") == {"10.2.0.3"}
    table.set(Names(DB.id, ["db"], [OnNetwork("back", [])]))
    assert found(table, API, "db") is None
