"""The plan: wanted, recorded and observed, and what follows from them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockercni.model import Attachment, Container, NetnsId, NetworkRequest, Unwanted
from dockercni.reconcile.plan import Action, Attach, Detach, Observed, Pin, Report, Unpin, Wait, plan

NOW, EARLIER, ELSEWHERE = (NetnsId("boot", cookie) for cookie in ("2", "1", "3"))
WEB = Container("web-id", "web", running=True, pid=42)
RUNNING = Observed(container=WEB, netns_id=NOW, links=frozenset({"lo"}))
ATTACHED = replace(RUNNING, links=frozenset({"lo", "eth0"}), pinned=NOW, pin_exists=True)
STOPPED = Observed(container=replace(WEB, running=False, pid=0), pinned=NOW, pin_exists=True)
REMOVED = Observed(pinned=NOW, pin_exists=True)

WANTS = NetworkRequest("a", "eth0")
HAS = Attachment("a", "web-id", "eth0", NOW, complete=True)
AD_HOC = replace(HAS, network="b", ifname="eth1", ad_hoc=True)
BY_PATH = replace(HAS, path="/run/netns/lab")
DEFAULT = frozenset({(ip_network("0.0.0.0/0"), 254)})


def kinds(actions: list[Action]) -> list[str]:
    """The actions in short."""
    return [type(action).__name__ for action in actions]


CASES = {
    "nothing at all": (None, [], Observed(), []),
    "started": ([WANTS], [], RUNNING, ["Attach"]),
    "started with two": ([WANTS, NetworkRequest("b", "eth1")], [], RUNNING, ["Attach", "Attach"]),
    "converged": ([WANTS], [HAS], ATTACHED, []),
    "unwanted": (Unwanted("x"), [], RUNNING, []),
    "cannot be told": (None, [], RUNNING, []),
    "cannot be told, attached": (None, [HAS], ATTACHED, []),
    "stopped": (None, [HAS], STOPPED, ["Detach", "Unpin"]),
    "stopped, pin lost": (None, [HAS], replace(STOPPED, pinned=None, pin_exists=False), ["Detach"]),
    "stopped, mount of the pin lost": (None, [HAS], replace(STOPPED, pinned=None), ["Detach", "Unpin"]),
    "removed": (None, [HAS], REMOVED, ["Detach", "Unpin"]),
    "pin of nothing": (None, [], REMOVED, ["Unpin"]),
    "removed but inhabited": (None, [HAS], replace(REMOVED, inhabited=True), ["Report"]),
    "restarted": (
        [WANTS],
        [replace(HAS, netns_id=EARLIER)],
        replace(RUNNING, pinned=EARLIER, pin_exists=True),
        ["Detach", "Unpin", "Attach"],
    ),
    "restarted, and the engine says it, though others live where it was": (
        [WANTS],
        [replace(HAS, netns_id=EARLIER)],
        replace(RUNNING, pinned=EARLIER, pin_exists=True, inhabited=True),
        ["Detach", "Unpin", "Attach"],
    ),
    "claimed by another": (
        [WANTS],
        [replace(HAS, netns_id=EARLIER)],
        replace(RUNNING, pinned=EARLIER, pin_exists=True, inhabited=True, confirmed=False),
        ["Wait"],
    ),
    "restarted, and the engine has yet to say it": (
        [WANTS],
        [replace(HAS, netns_id=EARLIER)],
        replace(RUNNING, pinned=EARLIER, pin_exists=True, confirmed=False),
        ["Detach", "Unpin", "Attach"],
    ),
    "killed in an ADD": ([WANTS], [replace(HAS, complete=False)], ATTACHED, ["Detach", "Attach"]),
    "interface gone": ([WANTS], [HAS], replace(ATTACHED, links=frozenset({"lo"})), ["Detach", "Attach"]),
    "renamed": ([WANTS], [HAS], replace(ATTACHED, links=frozenset({"wan"}), renamed={"eth0": "wan"}), ["Repair"]),
    "renamed by itself": (
        [WANTS],
        [HAS],
        replace(ATTACHED, links=frozenset({"wan"}), renamed={"eth0": "wan"}, may_change=True),
        ["Report"],
    ),
    "interface gone by itself": (
        [WANTS],
        [HAS],
        replace(ATTACHED, links=frozenset({"lo"}), may_change=True),
        ["Report"],
    ),
    "route gone": ([WANTS], [replace(HAS, routes=DEFAULT)], ATTACHED, ["Repair"]),
    "route gone by itself": ([WANTS], [replace(HAS, routes=DEFAULT)], replace(ATTACHED, may_change=True), ["Report"]),
    "route in another table": (
        [WANTS],
        [replace(HAS, routes=frozenset({(ip_network("0.0.0.0/0"), 99)}))],
        replace(ATTACHED, routes=DEFAULT),
        ["Repair"],
    ),
    "down": ([WANTS], [replace(HAS, up=True)], ATTACHED, ["Repair"]),
    "lease": ([WANTS], [HAS], replace(ATTACHED, lease_missing={"eth0": ["renewal"]}), ["Repair"]),
    "lease of a link that is called otherwise": (
        [WANTS],
        [HAS],
        replace(
            ATTACHED,
            links=frozenset({"lan0"}),
            addresses=frozenset(),
            renamed={"eth0": "lan0"},
            may_change=True,
            lease_missing={"eth0": ["renewal"]},
        ),
        ["Report"],
    ),
    "bridge gone": ([WANTS], [HAS], replace(ATTACHED, host_missing={"eth0": ["bridge cni0"]}), ["Repair"]),
    "bridge gone, and route by itself": (
        [WANTS],
        [replace(HAS, routes=DEFAULT)],
        replace(ATTACHED, host_missing={"eth0": ["bridge cni0"]}, may_change=True),
        ["Report", "Repair"],
    ),
    "parent down": ([WANTS], [HAS], replace(ATTACHED, host_broken={"eth0": ["its parent is down"]}), ["Report"]),
    "by path, bridge gone": (
        None,
        [BY_PATH],
        Observed(paths={"/run/netns/lab": NOW}, host_missing={"eth0": ["bridge cni0"]}),
        ["Repair"],
    ),
    "pin gone": ([WANTS], [HAS], replace(ATTACHED, pinned=None, pin_exists=False), ["Pin"]),
    "asks for another network now": ([NetworkRequest("b", "eth0")], [HAS], ATTACHED, ["Report"]),
    "asks for nothing now": (Unwanted("x"), [HAS], ATTACHED, ["Report"]),
    "by hand": ([WANTS], [HAS, AD_HOC], replace(ATTACHED, links=frozenset({"eth0", "eth1"})), []),
    "by hand only": (
        Unwanted("x"),
        [AD_HOC],
        replace(ATTACHED, links=frozenset({"eth1"})),
        [],
    ),
    "by hand, stopped": (None, [AD_HOC], STOPPED, ["Detach", "Unpin"]),
    "by path": (None, [BY_PATH], Observed(paths={"/run/netns/lab": NOW}), []),
    "by path, gone": (None, [BY_PATH], Observed(), ["Detach"]),
    "by path, another one there": (None, [BY_PATH], Observed(paths={"/run/netns/lab": ELSEWHERE}), ["Detach"]),
    "by path, not finished": (
        None,
        [replace(BY_PATH, complete=False)],
        Observed(paths={"/run/netns/lab": NOW}),
        ["Detach"],
    ),
    "interface of somebody else": (
        [WANTS],
        [],
        replace(RUNNING, links=frozenset({"lo", "eth0"})),
        ["Report"],
    ),
    "interface of ours whose record was lost": ([WANTS], [], ATTACHED, ["Attach"]),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_actions(case: str) -> None:
    """For each situation, what is done and in which order."""
    wanted, recorded, observed, expected = CASES[case]
    actions = plan(wanted, recorded, observed)
    assert kinds(actions) == expected
    assert all(action.reason for action in actions)


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("by itself")])
def test_forced(case: str) -> None:
    """What the container did itself is undone for whoever asks for it by hand."""
    wanted, recorded, observed, _ = CASES[case]
    done = plan(wanted, recorded, observed, forced=True)
    assert done == plan(wanted, recorded, replace(observed, may_change=False))
    assert not any(isinstance(action, Report) for action in done)


@pytest.mark.parametrize(
    ("attachment", "observed", "alive"),
    [
        (HAS, STOPPED, True),
        (HAS, replace(STOPPED, pinned=None), False),
        (HAS, replace(STOPPED, pinned=ELSEWHERE), False),
        (replace(HAS, netns_id=EARLIER), replace(ATTACHED, pinned=EARLIER), True),
        (replace(HAS, netns_id=EARLIER), ATTACHED, False),
        (replace(BY_PATH, complete=False), Observed(paths={"/run/netns/lab": NOW}), True),
        (BY_PATH, Observed(paths={"/run/netns/lab": ELSEWHERE}), False),
    ],
)
def test_alive(attachment: Attachment, observed: Observed, alive: bool) -> None:
    """DEL enters a namespace only where pin or path still hold the one that ADD was made for."""
    (detach,) = [action for action in plan(None, [attachment], observed) if isinstance(action, Detach)]
    assert detach.alive is alive


def test_order() -> None:
    """What goes, goes in reverse order of its coming, and before anything comes."""
    second = replace(HAS, network="b", ifname="eth1")
    wanted = [WANTS, NetworkRequest("b", "eth1")]
    actions = plan(wanted, [replace(HAS, netns_id=EARLIER), replace(second, netns_id=EARLIER)], RUNNING)
    names = [a.attachment.ifname if isinstance(a, Detach) else a.request.ifname for a in actions]
    assert kinds(actions) == ["Detach", "Detach", "Attach", "Attach"]
    assert names == ["eth1", "eth0", "eth0", "eth1"]


LIVES = st.sampled_from([NOW, EARLIER, ELSEWHERE])
IFNAMES = st.sampled_from(["eth0", "eth1", "lan0"])
NETWORKS = st.sampled_from(["a", "b"])
ATTACHMENTS = st.builds(
    Attachment,
    NETWORKS,
    st.just("web-id"),
    IFNAMES,
    LIVES,
    complete=st.booleans(),
    ad_hoc=st.booleans(),
    path=st.sampled_from(["", "", "/run/netns/lab"]),
)
OBSERVED = st.builds(
    Observed,
    container=st.sampled_from([None, WEB]),
    netns_id=st.none() | LIVES,
    links=st.frozensets(IFNAMES),
    pinned=st.none() | LIVES,
    pin_exists=st.booleans(),
    inhabited=st.booleans(),
    confirmed=st.booleans(),
    paths=st.dictionaries(st.just("/run/netns/lab"), LIVES),
    rules_missing=st.dictionaries(IFNAMES, st.just(["masquerade"])),
)
WANTED = (
    st.none()
    | st.just(Unwanted("x"))
    | st.lists(st.builds(NetworkRequest, NETWORKS, IFNAMES), unique_by=lambda r: r.ifname)
)


@given(WANTED, st.lists(ATTACHMENTS, unique_by=lambda a: a.ifname), OBSERVED)
def test_properties(
    wanted: list[NetworkRequest] | Unwanted | None, recorded: list[Attachment], observed: Observed
) -> None:
    """Nothing is attached where no container runs or where an attachment stays; nothing that lives as it was recorded
    is taken back; no action is without a reason; the pin goes only where it is not the running container's."""
    actions = plan(wanted, recorded, observed)
    attached = [action.request for action in actions if isinstance(action, Attach)]
    detached = [action.attachment for action in actions if isinstance(action, Detach)]
    assert all(action.reason for action in actions)
    assert len({id(a) for a in detached}) == len(detached)
    assert not attached or (observed.container and observed.netns_id and isinstance(wanted, list))
    staying = {attachment.ifname for attachment in recorded if attachment not in detached}
    assert not staying & {request.ifname for request in attached}
    for attachment in detached:
        assert (
            not attachment.complete
            or attachment.netns_id != observed.netns_id
            or attachment.ifname not in observed.links
            or observed.container is None
            or attachment.path
        )
    if any(isinstance(action, Unpin) for action in actions):
        assert observed.pinned != observed.netns_id or observed.netns_id is None
    if any(isinstance(action, Pin) for action in actions):
        assert observed.netns_id is not None
    if observed.inhabited and (observed.container is None or not observed.confirmed):
        assert all(isinstance(action, Report | Wait) for action in actions)
