"""What keeps our table fit for use: rules that somebody flushed, and the layout of earlier versions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from dockercni.linux import nft
from dockercni.linux.nft import NftablesError
from dockercni.linux.nft_elements import Table, Verdict
from dockercni.plugins import layout
from dockercni.plugins.layout import LEAVING, NAME, RETURNING

if TYPE_CHECKING:
    from dockercni.linux.nft_elements import Element

TABLE: Final = Table(NAME)

_EARLIER: Final = ("sources4", "sources6", "targets4", "targets6")


def exists() -> bool:
    """Whether the table is there at all; elements are added to one that is not by making it."""
    return bool(TABLE.sets())


def whole() -> bool:
    """Whether the table has all of its rules: its sets and maps outlive `nft flush table`. Raises NetlinkError."""
    wanted = {chain: len(each) for chain, (_, each) in layout.CHAINS.items()}
    for name in subnets(TABLE.sets()):
        wanted[layout.kind_of(name)] += len(layout.rules_of(name))
    present = TABLE.rules()
    return all(present[chain] >= number for chain, number in wanted.items())


def refuse_loopback() -> None:
    """See to it that clients of ::1 are refused what was redirected. Raises NetlinkError, NftablesError."""
    chain, _, refusals = layout.REFUSING
    if TABLE.rules()[chain] >= len(refusals):
        return
    try:
        nft.apply(layout.skeleton())
    except NftablesError as error:
        if not error.exists:
            raise
    nft.apply(layout.refusing())


def mend() -> None:
    """Give the chains their rules again, in one transaction; the elements stay. Raises NetlinkError, NftablesError."""
    carry_over()
    lines = layout.chains()
    for name in subnets(TABLE.sets()):
        lines += [f"add rule inet {NAME} {layout.kind_of(name)} {rule}" for rule in layout.rules_of(name)]
    nft.apply("\n".join(lines))


def carry_over() -> bool:
    """Bring a table of the earlier layout to this one, in one transaction; False if there is none.

    Its elements jumped to a chain for each subnet, which had the name that the subnet's set has now. No packet meets a
    table without either. Raises NetlinkError, NftablesError.
    """
    present = TABLE.sets()
    if _EARLIER[0] not in present:
        return False
    moved = [here for name in _EARLIER for each in TABLE.every(name) if (here := _moved(each))]
    lines = layout.chains()
    lines += [layout.subnet(name) for name in sorted({element.set for element in moved})]
    lines += [f"add element inet {NAME} {element.set} {{ {layout.describe(element)} }}" for element in moved]
    lines += [f"delete map inet {NAME} {name}" for name in _EARLIER]
    chains = [line["chain"]["name"] for line in nft.listing("list chains inet") if _is_ours(line.get("chain"))]
    for chain in subnets(chains):
        lines += [f"flush chain inet {NAME} {chain}", f"delete chain inet {NAME} {chain}"]
    try:
        nft.apply("\n".join(lines))
    except NftablesError:
        if _EARLIER[0] in TABLE.sets():  # else somebody else was faster
            raise
    return True


def subnets(names: list[str]) -> list[str]:
    """Those names that are of subnets."""
    return [name for name in names if name.startswith((f"{LEAVING}-", f"{RETURNING}-"))]


def _moved(element: Element) -> Element | None:
    if not isinstance(element.data, Verdict) or not element.data.chain:
        return None
    return replace(element, set=element.data.chain, data=None)


def _is_ours(chain: Any) -> bool:
    return bool(chain) and chain["table"] == NAME
