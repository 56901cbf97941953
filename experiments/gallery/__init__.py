"""The gallery of the experiments: experiments/README.md, made from their own docstrings.

    uv run python -m experiments.gallery                              writes the page again
    uv run python -m experiments.gallery --run momentum dropout       and runs these before
    uv run python -m experiments.gallery --run all

A run at full size puts its picture here as NAME.png, and its answer into its docstring. The
words of the page are those of the docstrings.
"""

import importlib
import inspect
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.common import claims
from experiments.common.cli import UserError, nearest

HERE = Path(__file__).parent
PAGE = HERE.parent / "README.md"
SECTIONS: dict[str, tuple[str, ...]] = {
    "Networks that learn": ("digits", "cnn", "gpt", "sequences", "gates"),
    "Models": (
        "linear_regression",
        "logistic_regression",
        "softmax_classifier",
        "relu_relu_sigmoid",
        "chain",
        "linear_or_not",
    ),
    "Gradients": (
        "difference_quotient",
        "vanishing_gradients",
        "saturation",
        "backward_cost",
        "relu_sparsity",
        "errata",
    ),
    "Optimization": (
        "descent_lemma",
        "batch_size",
        "shallow_minima",
        "momentum",
        "optimizers",
    ),
    "Regularization": ("sparsity", "dropout", "regularization", "bias_variance"),
    "Generalization and the landscape": (
        "overparameterization",
        "minimum_norm",
        "minima",
        "population_risk",
    ),
    "Bounds": ("generalization_bounds", "learning_theory"),
}
NAMES = tuple(name for names in SECTIONS.values() for name in names)

HEAD = """# Experiments

One claim per file. Each is a command: it asks one question, measures, prints the answer and
leaves the settings, all figures and the picture in a folder. `--help` lists its knobs,
`--quick` (all but digits and cnn) takes seconds (gpt: minutes), `--out` names the folder. The
answers below were measured with the settings as they stand (gpt: with `--quick`), on two CPU
cores; times and the last digits differ between machines.
"""

TAIL = """
`uv run python -m experiments.exercises list`: eighteen exercises in deriving backward passes.
[Where each equation lives](equations/README.md): every equation of the source texts, with
its code and its test. This page is written by `uv run python -m experiments.gallery`.
"""


@dataclass(frozen=True)
class Config:
    """Write experiments/README.md from the docstrings of the experiments."""

    run: tuple[str, ...] = ()  # experiments to run again before, or all


def main(config: Config) -> None:
    """Run what is asked for, write the page."""
    claimed = [name for name in NAMES if hasattr(claims.module_of(name), "measure")]
    names = claimed if config.run == ("all",) else list(config.run)
    for name in names:
        if name not in claimed:
            raise UserError(f"--run {name}: no such claim.{nearest(name, claimed)}")
    for name in names:
        again(name)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(HERE.parent.parent)}")


def again(name: str) -> None:
    """Run a claim at full size, keep its picture and its answer."""
    module = claims.module_of(name)
    with TemporaryDirectory() as folder:
        out = Path(folder) / name
        outcome = claims.report(module.measure, module.Config(out=out), module.__name__)
        (HERE / f"{name}.png").write_bytes((out / f"{name}.png").read_bytes())
    path = Path(inspect.getfile(module))
    path.write_text(answered(path.read_text("utf-8"), outcome.answer), "utf-8")
    importlib.reload(module)


def answered(source: str, answer: str) -> str:
    """A module's text with this answer in its docstring."""
    how: Any = {"width": 92, "break_on_hyphens": False, "break_long_words": False}
    paragraph = "\n".join(textwrap.wrap(f"Answer: {answer}", **how))
    old = re.compile(r"^Answer: .*?\n\n", re.MULTILINE | re.DOTALL)
    return old.sub(lambda _: f"{paragraph}\n\n", source, count=1)


def page() -> str:
    """The text of experiments/README.md."""
    parts = [HEAD]
    for section, names in SECTIONS.items():
        parts.append(f"\n## {section}\n")
        for name in names:
            told = claims.told(claims.module_of(name))
            parts.append(
                f"\n### {told.title}\n\n**{told.question}** {told.answer}\n\n"
                f"![{told.title}](gallery/{name}.png)\n\n`{told.command}`\n"
            )
    return "".join(parts) + TAIL
