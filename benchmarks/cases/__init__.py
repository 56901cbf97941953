"""The tables of cases, in the order in which they are printed."""

from benchmarks.cases.activations import ACTIVATIONS
from benchmarks.cases.algorithms import ALGORITHMS
from benchmarks.cases.layers import LAYERS
from benchmarks.cases.losses import LOSSES
from benchmarks.cases.mlps import MLPS

TABLES = (MLPS, ACTIVATIONS, LOSSES, LAYERS, ALGORITHMS)
