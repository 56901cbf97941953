"""The nets of benchmarks.examples in PyTorch, of modules that Opacus and BackPACK know.

built(net, params) → (model, names): names tells of every array which parameter it is, and how
that becomes the array. What is stacked in an array has several.
"""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from benchmarks.peers.steps import blocks
from benchmarks.peers.steps.pytorch import Block, filled, linear, mlp, norm, tensor

BLOCK = {
    "scale1": "norm1.weight", "b1": "norm1.bias", "wq": "q.weight", "wk": "k.weight",
    "wv": "v.weight", "wo": "o.weight", "scale2": "norm2.weight", "b2": "norm2.bias",
    "w_up": "up.weight", "b_up": "up.bias", "w_down": "down.weight", "b_down": "down.bias",
}  # fmt: skip


class GPT(nn.Module):
    """Logits of the next byte; positions from a table, too, for both libraries know no others."""

    def __init__(self, p):
        """From the arrays of the net."""
        super().__init__()
        self.table = nn.Embedding.from_pretrained(tensor(p["table"]), freeze=False)
        self.positions = nn.Embedding.from_pretrained(tensor(p["positions"]), freeze=False)
        self.blocks = nn.Sequential(*map(Block, blocks(p)))
        self.norm, self.head = norm(p["scale"], p["b"]), linear(p["w"])

    def forward(self, x):
        """All positions at once."""
        there = torch.arange(x.shape[1]).repeat(len(x), 1)
        return self.head(self.norm(self.blocks(self.table(x) + self.positions(there))))


class LSTM(nn.Module):
    """Logits at every step, by an LSTM of this class, whose second bias stays 0."""

    def __init__(self, p, kind):
        """From the arrays of the net."""
        super().__init__()
        wx, wh, b = p["wx"], p["wh"], p["b"]
        self.lstm = kind(len(wx), len(wh), batch_first=True)
        given = {"weight_ih_l0": wx.T, "weight_hh_l0": wh.T, "bias_ih_l0": b, "bias_hh_l0": 0 * b}
        self.lstm.load_state_dict({name: tensor(a) for name, a in given.items()})
        for name, a in self.lstm.named_parameters():
            if name in ("bias_hh_l0", "l0.hh.bias"):
                a.requires_grad_(False)
        self.out = linear(p["w"], p["b_out"])

    def forward(self, x):
        """All steps at once."""
        return self.out(self.lstm(x)[0])


def convolution(w, b):
    """3×3, the size kept; BackPACK knows no padding by the name of same."""
    return filled(nn.Conv2d(*w.shape[2:], 3, padding=1), w.transpose(3, 2, 0, 1), b)


def cnn(p):
    """Logits; images and weights with the channels first."""
    w3 = layout("cnn", "w3", p, back=True)(tensor(p["w3"]))
    return nn.Sequential(
        convolution(p["w1"], p["b1"]), nn.ReLU(), convolution(p["w2"], p["b2"]), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(),
        filled(nn.Linear(*w3.shape[::-1]), w3, p["b3"]), nn.ReLU(), linear(p["w4"], p["b4"]),
    )  # fmt: skip


def built(net, params, lstm=nn.LSTM):
    """The model, ready to train, and name → [(parameter, what makes the array of it)]."""
    made = {"mlp": mlp, "cnn": cnn, "gpt": GPT, "lstm": lambda p: LSTM(p, lstm)}[net](params)
    own = dict(made.named_parameters())
    if net == "gpt":
        names = {"table": ["table.weight"], "positions": ["positions.weight"]}
        for name, inside in BLOCK.items():
            names[name] = [f"blocks.{i}.{inside}" for i in range(len(params["wq"]))]
        names |= {"scale": ["norm.weight"], "b": ["norm.bias"], "w": ["head.weight"]}
    elif net == "lstm":
        kinds = {"wx": ("ih", "weight"), "wh": ("hh", "weight"), "b": ("ih", "bias")}
        names = {k: [n for n in own if all(part in n for part in v)] for k, v in kinds.items()}
        names |= {"w": ["out.weight"], "b_out": ["out.bias"]}
    else:
        names = {name: [inside] for name, inside in zip(params, own, strict=True)}
    form = {name: layout(net, name, params) for name in params}
    for a in own.values():
        a.data = in_order(a.data)
    return made.train(), {k: [(own[i], form[k]) for i in inside] for k, inside in names.items()}


def layout(net, name, params, *, back=False):
    """What makes the array of this name of its parameter, or of a gradient; or the way back."""
    if net == "cnn" and params[name].ndim == 4:
        return lambda a: a.permute(2, 3, 1, 0)
    if net == "cnn" and name == "w3":  # rows are positions and channels, there the other way round
        n = len(params["b2"])
        side = int((len(params["w3"]) / n) ** 0.5)
        if back:
            return lambda a: a.reshape(side, side, n, -1).permute(3, 2, 0, 1).flatten(1)
        return lambda a: a.reshape(-1, n, side, side).permute(2, 3, 1, 0).flatten(0, 2)
    return (lambda a: a.T) if name.startswith("w") else (lambda a: a)


def arrays(names, of, stacked):
    """name → array, of what `of` gives for a parameter; `stacked` are those of several."""
    found = {k: [form(of(p)) for p, form in inside] for k, inside in names.items()}
    return {
        k: (torch.stack(a) if k in stacked else a[0]).detach().numpy() for k, a in found.items()
    }


def vector(names, given):
    """Arrays by name as a list like the model's parameters, in the order of `names`."""
    found = []
    for k, inside in names.items():
        for i, (p, form) in enumerate(inside):
            a = given[k][i] if len(inside) > 1 else given[k]
            found.append(turned_back(form, p, tensor(np.ascontiguousarray(a))))
    return found


def turned_back(form, p, a):
    """What form makes a of: form only moves entries."""
    where = form(torch.arange(p.numel()).reshape(p.shape)).reshape(-1)
    found = torch.empty(p.numel(), dtype=p.dtype)
    found[where] = a.reshape(-1)
    return found.reshape(p.shape)


def inputs(net, x, target):
    """As PyTorch has them: channels first in memory, too, else Opacus finds other gradients."""
    x = in_order(tensor(x.transpose(0, 3, 1, 2) if net == "cnn" else x))
    return x if x.is_floating_point() else x.long(), tensor(target).long()


def in_order(a):
    """a with strides that fall from axis to axis, those of single entries, too."""
    return a.clone(memory_format=torch.contiguous_format)


def own_losses(y, target):
    """The mean loss of every example's predictions, [B]."""
    losses = functional.cross_entropy(y.flatten(0, -2), target.flatten(), reduction="none")
    return losses.reshape(len(y), -1).mean(1)


class Later(dict):
    """Gradients by name, made of what PyTorch has once somebody looks."""

    def __init__(self, names, of, stacked):
        """Nothing is copied."""
        super().__init__()
        self.made = names, of, stacked

    def items(self):
        """(name, array)."""
        return arrays(*self.made).items()
