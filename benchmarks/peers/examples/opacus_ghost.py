"""Opacus: ghost clipping, a second backward of weighed losses; with all threads and with one."""

import functools

import torch  # pyright: ignore[reportMissingImports]
from opacus.grad_sample import (  # pyright: ignore[reportMissingImports]
    GradSampleModuleFastGradientClipping,
)
from opacus.layers import DPLSTM  # pyright: ignore[reportMissingImports]

from benchmarks.peers.examples import main
from benchmarks.peers.torch_nets import BLOCK, Later, built, inputs, own_losses

ALL = torch.get_num_threads()


def start(threads, quantity, net, params, x, target, max_norm):
    """What DPTensorFastGradientClipping.backward does; for norms its first half."""
    model, names = built(net, params, DPLSTM)
    x, target = inputs(net, x, target)
    hooked = GradSampleModuleFastGradientClipping(
        model, max_grad_norm=max_norm, use_ghost_clipping=True, loss_reduction="sum"
    )

    def run():
        torch.set_num_threads(threads)
        hooked.zero_grad(set_to_none=True)
        hooked.enable_hooks()
        losses = own_losses(hooked(x), target)
        losses.sum().backward(retain_graph=quantity == "clipped")
        if quantity == "norms":
            return hooked.get_norm_sample().detach().numpy()
        hooked.zero_grad(set_to_none=True)
        hooked.disable_hooks()
        (hooked.get_clipping_coef() * losses).sum().backward()
        return Later(names, lambda p: p.grad, BLOCK if net == "gpt" else ())

    return run


if __name__ == "__main__":
    main(*(functools.partial(start, threads) for threads in (ALL, 1)))
