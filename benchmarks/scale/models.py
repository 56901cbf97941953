"""The cases: which GPT on how many devices, and how it lies there."""

from typing import Any, NamedTuple

from jax.sharding import PartitionSpec

import fnn

CONTEXT, VOCAB = 1024, 50304  # tokens; GPT-2's 50,257, filled up to a multiple of 128
EACH = 4  # sequences per device


class Size(NamedTuple):
    """A GPT-2."""

    n: int
    n_heads: int
    n_layers: int


class Case(NamedTuple):
    """A size on a mesh."""

    size: str
    data: int
    model: int
    how: Any

    @property
    def name(self) -> str:
        """As the command line has it."""
        return f"{self.size}-{self.data * self.model}"


SIZES = {"124M": Size(768, 12, 12), "1.5B": Size(1600, 25, 48), "7B": Size(4096, 32, 32)}
COLUMNS, ROWS = PartitionSpec(None, None, "model"), PartitionSpec(None, "model")
PERCEPTRON = {  # of 25 heads none can be given to every device of 8
    "blocks.feed_forward.up.w": COLUMNS,
    "blocks.feed_forward.up.b": PartitionSpec(None, "model"),
    "blocks.feed_forward.down.dense.w": ROWS,
}
CASES = (
    *(Case(size, 8, 1, "fsdp") for size in SIZES),
    *(Case(size, 64, 1, "fsdp") for size in SIZES),
    Case("124M", 128, 4, ("tensor", "fsdp")),
    Case("1.5B", 64, 8, (PERCEPTRON, "fsdp")),
    Case("7B", 64, 8, ("tensor", "fsdp")),
)


def plan_of(size: Size) -> fnn.Plan:
    """A GPT-2 under AdamW behind a clipped gradient; every block keeps its input only."""
    net = fnn.gpt(VOCAB, *size, CONTEXT, tied=True, recompute=True)
    optimizer = fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), fnn.optim.AdamW(3e-4))
    return fnn.Plan(net, fnn.LinearSoftmaxCrossEntropy(), optimizer)
