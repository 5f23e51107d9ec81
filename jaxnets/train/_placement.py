"""Where arrays live: one device, or a mesh of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxnets.train._flatten import join
from jaxnets.train._step import TrainState

ShardingRule = Callable[[str, Any], PartitionSpec]


class Placement:
    """Puts state and batches on the devices of a mesh; without one, leaves them be.

    Args:
        mesh: the devices; its first axis shares out the batch.
        rule: `(path, parameter) -> PartitionSpec`; None copies every parameter to every
            device.
        local: whether a process is given the rows of its own devices alone.
    """

    def __init__(
        self, mesh: Mesh | None, rule: ShardingRule | None, *, local: bool = False
    ):
        self.local = local
        if mesh is None:
            if rule is not None:
                raise ValueError(
                    "Trainer: param_sharding needs the mesh that it speaks of; got "
                    "mesh=None"
                )
            self.mesh = None
            return
        # XLA is to find the communication itself; make_mesh gives axes under which
        # every operation would have to state it.
        auto = (AxisType.Auto,) * len(mesh.axis_names)
        self.mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=auto)
        self.rule = rule
        self.axis = mesh.axis_names[0]
        self.parts = mesh.shape[self.axis]
        self.same = NamedSharding(self.mesh, PartitionSpec())

    def shardings(self, state: TrainState) -> Any:
        """The sharding of every leaf of the state: optimizer moments as parameters."""
        if self.mesh is None:
            return None
        mesh, rule = self.mesh, self.rule
        known: dict[Any, tuple[tuple[int, ...], PartitionSpec]] = {}

        def place(path: Any, leaf: Any) -> NamedSharding:
            spec = PartitionSpec() if rule is None else rule(join("", path)[1:], leaf)
            known[path] = (leaf.shape, spec)
            return NamedSharding(mesh, spec)

        def place_moment(path: Any, leaf: Any) -> NamedSharding:
            # The path of a moment ends with that of its parameter.
            ends = (path[start:] for start in range(len(path) + 1))
            shape, spec = next((known[end] for end in ends if end in known), ((), None))
            if spec is not None and leaf.shape == shape:
                return NamedSharding(mesh, spec)
            if spec is not None and leaf.shape[1:] == shape:
                # Several stacked, such as the last steps that `optax.lbfgs` keeps.
                return NamedSharding(mesh, PartitionSpec(None, *spec))
            return self.same

        params = jax.tree_util.tree_map_with_path(place, state.params)
        opt_state = jax.tree_util.tree_map_with_path(place_moment, state.opt_state)
        rest = jax.tree.map(lambda _: self.same, state)
        return rest._replace(params=params, opt_state=opt_state)

    def put_state(self, state: TrainState, shardings: Any) -> TrainState:
        """The state on its devices, in arrays of its own."""
        if self.mesh is None:
            return state
        return jax.tree.map(self._put, state, shardings)

    def put_same(self, tree: Any) -> Any:
        """A pytree with a copy on every device."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: self._put(leaf, self.same), tree)

    def put_batch(self, tree: Any, *, stacked: bool = False) -> Any:
        """A batch, its rows shared out; `stacked` has an axis of steps before them."""
        if self.mesh is None:
            return tree
        spec = PartitionSpec(None, self.axis) if stacked else PartitionSpec(self.axis)
        sharding = NamedSharding(self.mesh, spec)
        put = jax.make_array_from_process_local_data

        def send(leaf: Any) -> jax.Array:
            leaf = np.asarray(leaf)
            return put(sharding, leaf) if self.local else self._put(leaf, sharding)

        return jax.tree.map(send, tree)

    def check_batch(self, function: str, source: Any) -> None:
        """Raise unless the devices can share a batch evenly."""
        size = getattr(source, "batch_size", 0)
        if self.mesh is not None and size % self.parts:
            raise ValueError(
                f"{function}: batch_size must be a multiple of the {self.parts} "
                f"devices along mesh axis {self.axis!r}; got {size}"
            )

    def _put(self, leaf: Any, sharding: NamedSharding) -> Any:
        if sharding.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        # Every process holds the whole value and gives its own devices their part.
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._put(jax.random.key_data(leaf), self.same)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(
            whole.shape, sharding, lambda index: whole[index]
        )
