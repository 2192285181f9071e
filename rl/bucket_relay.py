"""Buckets of weights to engines on other nodes than the learner's: through Ray's object store, once a node."""

from typing import Any

from rl.learner import Bucket
from rl.nodes import on_node


def own_node_id(_actor: object = None) -> str:
    """The id of the node that this runs on; called on an actor, of its node."""
    import ray

    return ray.get_runtime_context().get_node_id()


def own_address(_actor: object = None) -> str:
    """The address of the node that this runs on; in a cluster of our own on one machine, loopback."""
    import ray

    return ray.util.get_node_ip_address()


def read_bytes(path: str) -> Any:
    """The bytes of a file, mapped: the only copy is the one into the object store."""
    import numpy

    return numpy.asarray(numpy.memmap(path, dtype=numpy.uint8, mode="r"))


class BucketRelay:
    """A bucket's file on node `node_id`, put into the object store when the first engine elsewhere asks.

    Ray moves it once to each node whose engines ask, and drops it with the last reference.
    """

    def __init__(self, path: str, node_id: str) -> None:
        self.path, self.node_id = path, node_id
        self._reference: Any = None

    def reference(self) -> Any:
        if self._reference is None:
            self._reference = on_node(self.node_id, read_bytes, self.path)
        return self._reference


def split_relay(bucket: Bucket, node_id: str | None) -> tuple[Bucket, Any]:
    """A bucket as an engine on `node_id` takes it, and a reference to its bytes where its file is on another node."""
    plain = {name: value for name, value in bucket.items() if name != "relay"}
    relay: BucketRelay | None = bucket.get("relay")
    if relay is None or relay.node_id == node_id:
        return plain, None
    return plain, relay.reference()
