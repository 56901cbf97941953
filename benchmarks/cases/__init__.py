"""The tables of cases, in the order in which they are printed; some only where they are asked."""

from benchmarks.cases.accelerator import ACCELERATOR, HALVES
from benchmarks.cases.activations import ACTIVATIONS
from benchmarks.cases.algorithms import ALGORITHMS
from benchmarks.cases.attention import ATTENTION
from benchmarks.cases.convolution import CONVOLUTION
from benchmarks.cases.curvature import CURVATURE
from benchmarks.cases.heads import HEADS
from benchmarks.cases.layers import LAYERS
from benchmarks.cases.linear_attention import LINEAR_ATTENTION
from benchmarks.cases.losses import LOSSES
from benchmarks.cases.mlps import MLPS
from benchmarks.cases.nets import NETS
from benchmarks.cases.normalization import NORMALIZATION
from benchmarks.cases.recurrence import RECURRENCE
from benchmarks.cases.watching import WATCHING

TABLES = (
    MLPS, ACTIVATIONS, LOSSES, LAYERS, CONVOLUTION, NORMALIZATION, CURVATURE,
    ALGORITHMS, WATCHING, RECURRENCE, LINEAR_ATTENTION, ATTENTION, HEADS, NETS,
    HALVES,
)  # fmt: skip
ASKED = (ACCELERATOR,)
