"""PyTorch, eager, with all threads and with one."""

import functools

import torch  # pyright: ignore[reportMissingImports]

from benchmarks.peers.runs import BATCH, HIDDEN, RATE, main

ALL = torch.get_num_threads()


def run(threads, x, target, epochs, seed):
    """The loop as its tutorials have it, without a loader: rows are cut from one tensor."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    x, target = torch.from_numpy(x), torch.from_numpy(target).long()
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10)
    )
    loss, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.Adam(net.parameters(), lr=RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss(net(x[rows]), target[rows]).backward()
            optimizer.step()
    return lambda: float((net(x).argmax(-1) == target).float().mean())


if __name__ == "__main__":
    main([functools.partial(run, threads) for threads in (ALL, 1)])
