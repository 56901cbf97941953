"""BackPACK: batch_l2, batch_grad, DiagGGNExact; with all threads and with one."""

import functools

import torch  # pyright: ignore[reportMissingImports]
from backpack import backpack, extend  # pyright: ignore[reportMissingImports]
from backpack.extensions import (  # pyright: ignore[reportMissingImports]
    BatchGrad,
    BatchL2Grad,
    DiagGGNExact,
)

from benchmarks.peers.examples import main
from benchmarks.peers.torch_nets import BLOCK, Later, built, inputs, own_losses

ALL = torch.get_num_threads()


def start(threads, quantity, net, params, x, target, max_norm):
    """One backward; of gradients the weighed sum."""
    model, names = built(net, params)
    if quantity == "diagonal":
        return diagonal(threads, extend(model), names, *inputs(net, x, target))
    x, target = inputs(net, x, target)
    model = extend(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    sums = {}

    def run():
        torch.set_num_threads(threads)
        model.zero_grad(set_to_none=True)
        with backpack(BatchL2Grad() if quantity == "norms" else BatchGrad()):
            own_losses(model(x), target).sum().backward()
        if quantity == "norms":
            return torch.stack([p.batch_l2 for p in trained], 1).sum(1).sqrt().numpy()
        each = [p.grad_batch.flatten(1).norm(dim=1) for p in trained]
        c = (max_norm / torch.stack(each, 1).norm(dim=1)).clamp(max=1)
        for p in trained:
            sums[p] = torch.einsum("b,b...->...", c, p.grad_batch)
            del p.grad_batch
        return Later(names, sums.get, BLOCK if net == "gpt" else ())

    return run


def diagonal(threads, model, names, x, target):
    """The diagonal of the Gauss–Newton matrix of the mean loss."""
    loss = extend(torch.nn.CrossEntropyLoss())

    def run():
        torch.set_num_threads(threads)
        model.zero_grad(set_to_none=True)
        with backpack(DiagGGNExact()):
            loss(model(x), target).backward()
        return Later(names, lambda p: p.diag_ggn_exact, ())

    return run


if __name__ == "__main__":
    main(*(functools.partial(start, threads) for threads in (ALL, 1)))
