"""curvlinops: operators of the Hessian, of Gauss–Newton and of KFAC; all threads, and one."""

import functools

import torch  # pyright: ignore[reportMissingImports]
from curvlinops import (  # pyright: ignore[reportMissingImports]
    GGNLinearOperator,
    HessianLinearOperator,
    KFACLinearOperator,
)

from benchmarks.peers.examples import main
from benchmarks.peers.torch_nets import Later, built, inputs, vector

ALL = torch.get_num_threads()
KINDS = {"hessian": HessianLinearOperator, "gauss_newton": GGNLinearOperator}


def start(threads, quantity, net, params, x, target, v):
    """A product, or the factors, made anew in every run."""
    model, names = built(net, params)
    batch = inputs(net, x, target)
    own = [p for inside in names.values() for p, _ in inside]
    direction = vector(names, v)
    loss, how = torch.nn.CrossEntropyLoss(), {"check_deterministic": False}
    if quantity == "kfac":
        made = KFACLinearOperator(
            model, loss, own, [batch], fisher_type="empirical",
            separate_weight_and_bias=False, **how,
        )  # fmt: skip
    else:
        made = KINDS[quantity](model, loss, own, [batch], **how)
    found = {}

    def run():
        torch.set_num_threads(threads)
        if quantity == "kfac":
            made._input_covariances, made._gradient_covariances = {}, {}
            made.compute_kronecker_factors()
            return Product(names, made, own, direction)
        found.update(zip(own, made @ direction, strict=True))
        return Later(names, found.get, ())

    return run


class Product(dict):
    """The factors times the direction, once somebody looks."""

    def __init__(self, names, made, own, direction):
        """Nothing is multiplied."""
        super().__init__()
        self.made = names, made, own, direction

    def items(self):
        """(name, array)."""
        names, made, own, direction = self.made
        found = dict(zip(own, made @ direction, strict=True))
        return Later(names, found.get, ()).items()


if __name__ == "__main__":
    main(*(functools.partial(start, threads) for threads in (ALL, 1)))
