"""Opacus: hooks that form the gradient of every example; with all threads and with one."""

import functools

import torch  # pyright: ignore[reportMissingImports]
from opacus import GradSampleModule  # pyright: ignore[reportMissingImports]
from opacus.layers import DPLSTM  # pyright: ignore[reportMissingImports]
from opacus.optimizers import DPOptimizer  # pyright: ignore[reportMissingImports]

from benchmarks.peers.examples import main
from benchmarks.peers.torch_nets import BLOCK, Later, built, inputs, own_losses

ALL = torch.get_num_threads()


def start(threads, quantity, net, params, x, target, max_norm):
    """One backward; norms of its gradients, or the sum that DPOptimizer makes of them."""
    model, names = built(net, params, DPLSTM)
    x, target = inputs(net, x, target)
    hooked = GradSampleModule(model, loss_reduction="sum")
    trained = [p for p in hooked.parameters() if p.requires_grad]
    optimizer = DPOptimizer(
        torch.optim.SGD(trained, lr=0.0), noise_multiplier=0.0, max_grad_norm=max_norm,
        expected_batch_size=None, loss_reduction="sum",
    )  # fmt: skip

    def run():
        torch.set_num_threads(threads)
        optimizer.zero_grad(set_to_none=True)
        own_losses(hooked(x), target).sum().backward()
        if quantity == "norms":
            each = [p.grad_sample.flatten(1).norm(dim=1) for p in trained]
            return torch.stack(each, 1).norm(dim=1).numpy()
        optimizer.clip_and_accumulate()
        return Later(names, lambda p: p.summed_grad, BLOCK if net == "gpt" else ())

    return run


if __name__ == "__main__":
    main(*(functools.partial(start, threads) for threads in (ALL, 1)))
