"""PyTorch, eager: on a GPU where it sees one, else with all threads and with one."""

import functools

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from benchmarks.peers.steps import RATE, SURE, blocks, halved, heads, main

ALL = torch.get_num_threads()
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm."""

    def __init__(self, p):
        """From the arrays of one block."""
        super().__init__()
        self.norm1, self.norm2 = norm(p["scale1"], p["b1"]), norm(p["scale2"], p["b2"])
        self.q, self.k, self.v, self.o = (linear(p[f"w{a}"]) for a in "qkvo")
        self.up, self.down = linear(p["w_up"], p["b_up"]), linear(p["w_down"], p["b_down"])

    def forward(self, x):
        """Two residual sums."""
        return self.fed(x, *self.heads(x), is_causal=True)

    def heads(self, x):
        """Queries, keys and values."""
        y = self.norm1(x)
        weights, n = (self.q, self.k, self.v), heads(y.shape[-1])
        return [w(y).unflatten(-1, (n, -1)).transpose(1, 2) for w in weights]

    def fed(self, x, q, k, v, *, is_causal):
        """What attention and MLP add."""
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
        x = x + self.o(y.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    """Logits of the next byte."""

    def __init__(self, p):
        """From the arrays of the net."""
        super().__init__()
        self.table = nn.Embedding.from_pretrained(tensor(p["table"]), freeze=False)
        self.positions = nn.Parameter(tensor(p["positions"]))
        self.blocks = nn.Sequential(*map(Block, blocks(p)))
        self.norm, self.head = norm(p["scale"], p["b"]), linear(p["w"])

    def forward(self, x):
        """All positions at once."""
        return self.head(self.norm(self.blocks(self.table(x) + self.positions)))

    @torch.inference_mode()
    def write(self, x, n):
        """The mean of the n likeliest bytes; keys and values are kept, in memory taken once."""
        (batch, first), kept, written = x.shape, [], []
        (length, n), many = self.positions.shape, heads(self.positions.shape[1])
        for _ in self.blocks:
            kept.append(self.positions.new_zeros(2, batch, many, length, n // many))
        at = 0
        while len(written) < n:
            y = self.table(x) + self.positions[at : at + x.shape[1]]
            end = at + x.shape[1]
            for block, kv in zip(self.blocks, kept, strict=True):
                q, k, v = block.heads(y)
                kv[0, :, :, at:end], kv[1, :, :, at:end] = k, v
                y = block.fed(y, q, *kv[:, :, :, :end], is_causal=at == 0 and first > 1)
            at, x = end, self.head(self.norm(y[:, -1:])).argmax(-1)
            written.append(x)
        return torch.cat(written, 1)[:, :SURE].float().mean()


class LSTM(nn.Module):
    """Logits at every step."""

    def __init__(self, p):
        """PyTorch has two biases where one does: the second stays 0."""
        super().__init__()
        wx, wh, b = p["wx"], p["wh"], p["b"]
        self.lstm = nn.LSTM(len(wx), len(wh), batch_first=True)
        given = {"weight_ih_l0": wx.T, "weight_hh_l0": wh.T, "bias_ih_l0": b, "bias_hh_l0": 0 * b}
        self.lstm.load_state_dict({name: tensor(a) for name, a in given.items()})
        self.lstm.bias_hh_l0.requires_grad_(False)
        self.out = linear(p["w"], p["b_out"])

    def forward(self, x):
        """All steps at once."""
        return self.out(self.lstm(x)[0])


def cnn(p):
    """Logits; images and weights with the channels first."""
    side = int((len(p["w3"]) / len(p["b2"])) ** 0.5)
    w3 = p["w3"].reshape(side, side, len(p["b2"]), -1).transpose(2, 0, 1, 3)
    return nn.Sequential(
        convolution(p["w1"], p["b1"]), nn.ReLU(), convolution(p["w2"], p["b2"]), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(),
        linear(w3.reshape(p["w3"].shape), p["b3"]), nn.ReLU(), linear(p["w4"], p["b4"]),
    )  # fmt: skip


def mlp(p):
    """Three dense layers with ReLU between them."""
    first, *rest = (linear(p[f"w{i}"], p[f"b{i}"]) for i in (1, 2, 3))
    return nn.Sequential(first, *(m for layer in rest for m in (nn.ReLU(), layer)))


def tensor(a):
    """A copy of an array."""
    return torch.tensor(a)


def filled(module, w, b):
    """The module with these arrays for its own."""
    module.load_state_dict({"weight": tensor(w)} | ({} if b is None else {"bias": tensor(b)}))
    return module


def linear(w, b=None):
    """PyTorch keeps the transposed w."""
    return filled(nn.Linear(*w.shape, bias=b is not None), w.T, b)


def norm(scale, b):
    """LayerNorm."""
    return filled(nn.LayerNorm(len(scale)), scale, b)


def convolution(w, b):
    """3×3, the size kept."""
    return filled(nn.Conv2d(*w.shape[2:], 3, padding="same"), w.transpose(3, 2, 0, 1), b)


def writer(threads, params, x, target):
    """The function that writes."""
    model, x = GPT(params).to(DEVICE), tensor(x).long().to(DEVICE)

    def write():
        torch.set_num_threads(threads)
        return model.write(x, target.shape[1])

    return write


def start(threads, prepared, net, params, x, target):
    """The step of a net; `prepared` makes of the function of the loss the one that runs."""
    if net == "writing":
        return writer(threads, params, x, target)
    net, half = halved(net)
    model = {"gpt": GPT, "lstm": LSTM, "cnn": cnn, "mlp": mlp}[net](params).to(DEVICE)
    x = x.transpose(0, 3, 1, 2) if net == "cnn" else x
    x, target = tensor(x).to(DEVICE), tensor(target).long().to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=DEVICE == "cuda")

    @prepared
    def loss_of(x, target):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
            y = model(x).flatten(0, -2)
        return functional.cross_entropy(y.float(), target.flatten())

    def step():
        torch.set_num_threads(threads)
        optimizer.zero_grad()
        loss = loss_of(x, target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def run(prepared):
    """Every number of threads is a way; a GPU has one, and is waited for."""
    ways = {"cpu": (ALL, 1), "cuda": (ALL,)}[DEVICE]
    starts = [functools.partial(start, threads, prepared) for threads in ways]
    main(*starts, wait=getattr(torch, DEVICE).synchronize)


if __name__ == "__main__":
    run(lambda f: f)
