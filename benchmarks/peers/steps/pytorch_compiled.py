"""PyTorch with torch.compile of forward and loss; the rest is that of the eager peer."""

import torch  # pyright: ignore[reportMissingImports]

from benchmarks.peers.steps.pytorch import run

if __name__ == "__main__":
    run(torch.compile)
