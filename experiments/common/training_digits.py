"""The first training digits, standardised: what experiments on small networks learn from."""

from experiments.common import bundles
from experiments.common.data import Rows, Standardizer


def first(n: int) -> Rows:
    """The first n training digits, standardised by all of them."""
    train = bundles.digits().train
    return Rows(Standardizer.of(train.x)(train.x)[:n], train.label[:n])
