"""Placing: a State on the devices of a mesh, where training leaves it."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from fnn.devices.cuts import cuts_of
from fnn.devices.group import here
from fnn.errors import check_leaves
from fnn.plan import Plan, State, check_plan, check_state
from fnn.records import PyTree
from fnn.sharding import Layout, layout_of


def place(plan: Plan, state: State, mesh: Mesh, how: Any = "replicated") -> State:
    """The State on a mesh; step, fit, epoch and evaluate then run there.

    They cut every batch along the axis "data" of the mesh, and the next State lies as this one.
    The numbers are those of one device, but for rounding. Explicit axes are taken as automatic
    ones.

    Args:
        plan: what is trained.
        state: of fnn.start, of a checkpoint, or of another mesh; or its shapes, of
            jax.eval_shape, which get shardings. Under jit the State is made in its places.
        mesh: of `mesh`, or any with the axes that `how` needs.
        how: what lies where, the optimizer's moments as the params that they are of.
            "replicated": all of it on every device.
            "fsdp": every array of at least 4096 entries cut along "data", on the largest axis that
            it divides, never the one on which Repeat stacks copies.
            "tensor": along "model", the products of transformers and MLPs in pairs, columns, then
            rows; heads of attention stay whole.
            {"blocks.attention.wq": PartitionSpec(None, None, "model"), "*.b": …}: by path, or
            pattern, of params; others are whole.
            A tuple of these, such as ("tensor", "fsdp"): one after the other.

    Raises:
        ValueError: for a mesh without the axis that is needed, sizes that do not divide, paths
            that are not there, and another word for `how`.
        TypeError: for what is not a Plan, a State and a mesh.
    """
    check_plan("place", plan)
    shape = isinstance(getattr(state, "key", None), jax.ShapeDtypeStruct)
    check_state("place", plan, state._replace(key=None) if shape else state)
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"place: mesh must be a jax.sharding.Mesh, got {mesh!r:.60}; "
            "fnn.devices.mesh(data=8) makes one."
        )
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=kinds)
    layout = Layout(mesh, cuts_of(plan.net, state.params, mesh, how))
    return layout.laid(state._replace(layout=layout))


def gathered(tree: PyTree) -> PyTree:
    """The same arrays, whole on one device of this process: a State that no mesh knows of.

    Where several processes share the arrays, all of them must ask.

    Raises:
        TypeError: for what is no array.
    """
    check_leaves("gathered", "tree", tree)

    tree = jax.tree.map(lambda a: jax.device_put(here(a), jax.local_devices()[0]), tree)
    return tree if layout_of(tree) is None else tree._replace(layout=None)
