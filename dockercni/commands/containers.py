"""What commands do with the containers that people name."""

from dockercni.cni import CacheError
from dockercni.daemon import Parts
from dockercni.errors import UnknownContainer


def resolve(parts: Parts, name: str) -> str:
    """The full id of the container that people call `name`; also one that only our records know.

    Raises UnknownContainer, EngineUnavailable.
    """
    container = parts.client.container(name)
    if container:
        return container.id
    if recorded(parts, name):
        return name
    raise UnknownContainer(f'there is no container "{name}"')


def recorded(parts: Parts, container_id: str) -> bool:
    """Whether anything is recorded under exactly this id."""
    return any(not isinstance(entry, CacheError) for entry in parts.attacher.cache.entries(container_id))
