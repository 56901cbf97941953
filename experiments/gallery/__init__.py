"""The gallery of the experiments: experiments/README.md, one answer and one picture for each.

    uv run python -m experiments.gallery                              writes the page again
    uv run python -m experiments.gallery --run momentum dropout       and runs these before
    uv run python -m experiments.gallery --run all

Titles, questions and commands are those of the docstrings. An answer is what the experiment said
when --run last ran it at full size: the page keeps it, and this folder the picture NAME.png of
the same run. The answers of digits, cnn and gpt, which sum up several runs, are in their
docstrings.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.common import claims, writing
from experiments.common.cli import UserError, nearest

HERE = Path(__file__).parent
PAGE = HERE.parent / "README.md"
SECTIONS: dict[str, tuple[str, ...]] = {
    "Networks that learn": (
        "digits",
        "cnn",
        "denoising",
        "gpt",
        "seq2seq",
        "autoencoder",
        "sequences",
        "gates",
    ),
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
        "influence",
        "private",
        "errata",
    ),
    "Optimization": (
        "descent_lemma",
        "spectrum",
        "batch_size",
        "noise_scale",
        "shallow_minima",
        "momentum",
        "optimizers",
        "kfac",
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

One claim per file or folder. Each is a command: it asks one question, measures, prints the
answer and leaves the settings, all figures and the picture in a folder. `--help` lists its knobs,
`--quick` (all but digits and cnn) takes seconds (gpt: minutes), `--out` names the folder. The
answers below were measured with the settings as they stand (gpt: with `--quick`), on two CPU
cores; times and the last digits differ between machines.
"""

TAIL = """
`uv run python -m experiments.exercises list`: eighteen exercises in deriving backward passes.
[Where each equation lives](equations/README.md): every equation of the source texts, with
its code and its test. `uv run python -m experiments.gallery` writes this page: questions come
from the docstrings, and an answer stays until `--run NAME` measures it again.
"""


@dataclass(frozen=True)
class Config:
    """Write experiments/README.md: the questions, the answers and the pictures."""

    run: tuple[str, ...] = ()  # experiments to run again before, or all


def main(config: Config) -> None:
    """Run the experiments that are asked for, then write the page."""
    claimed = [name for name in NAMES if claims.told(claims.module_of(name)).answer is None]
    names = claimed if config.run == ("all",) else list(config.run)
    for name in names:
        if name not in claimed:
            raise UserError(f"--run {name}: no such claim.{nearest(name, claimed)}")
    answers = shown(PAGE.read_text("utf-8"))
    for name in names:
        answers[name] = again(name)
        writing.whole(PAGE, page(answers).encode())  # kept, should a later run fail
    writing.whole(PAGE, page(answers).encode())
    print(f"written: {PAGE.relative_to(HERE.parent.parent)}")


def again(name: str) -> str:
    """Run a claim at full size and keep its picture; returns its answer."""
    module = claims.module_of(name)
    with TemporaryDirectory() as folder:
        out = Path(folder) / name
        config = module.Config(out=out)
        if hasattr(module, "measure"):
            claims.report(module.measure, config, module.__name__)
        else:
            module.main(config)
        writing.whole(HERE / f"{name}.png", (out / f"{name}.png").read_bytes())
        return json.loads((out / "summary.json").read_text("utf-8"))["answer"]


def shown(text: str) -> dict[str, str]:
    """The answers that a page shows, by the names of the experiments."""
    answer = r"^\*\*.+?\?\*\* (.*)\n\n!\[.*\]\(gallery/(\w+)\.png\)$"
    return {name: said for said, name in re.findall(answer, text, re.MULTILINE)}


def page(answers: dict[str, str]) -> str:
    """The text of experiments/README.md with these answers, and those of the docstrings."""
    parts = [HEAD]
    for section, names in SECTIONS.items():
        parts.append(f"\n## {section}\n")
        for name in names:
            told = claims.told(claims.module_of(name))
            answer = told.answer or answers.get(name, "")
            parts.append(
                f"\n### {told.title}\n\n**{told.question}** {answer}\n\n"
                f"![{told.title}](gallery/{name}.png)\n\n`{told.command}`\n"
            )
    return "".join(parts) + TAIL
