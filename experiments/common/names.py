"""What can be chosen by name on a command line; choices.py knows what the names stand for.

They are those of fnn's classes: leaky-relu is LeakyReLU, adagrad is AdaGrad, cosine is CosineDecay.
They are read from the lines of fnn that export the classes, without importing it: --help, which
lists them, waits for no import. A class that fnn exports can be chosen; nothing has to be added
here, but for what is of another kind.
"""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

NO_LOSSES = {  # of one row of scores
    "CTC", "ELBO", "GaussianNLL", "InfoNCE", "LinearSoftmaxCrossEntropy",
}  # fmt: skip
NO_SCHEDULES = {"Schedule", "Scheduled"}
NO_OPTIMIZERS = {  # with a learning rate of their own
    "Chain", "ClipByNorm", "Foreign", "Optimizer", "Plateau", "Proximal", "apply_updates",
}  # fmt: skip


def exported(package: str, home: str) -> set[str]:
    """The names that a package exports from this module, or from the modules of this folder."""
    spec = find_spec(package.partition(".")[0])
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent.joinpath(*package.split(".")[1:], "__init__.py")
    return {
        alias.name
        for line in ast.parse(file.read_text("utf-8")).body
        if isinstance(line, ast.ImportFrom) and f"{line.module}.".startswith(f"{home}.")
        for alias in line.names
    }


def dashed(name: str) -> str:
    """LeakyReLU → leaky-relu: a word begins where a small letter follows a large one."""
    return re.sub("(?<=[a-z])(?=[A-Z][a-z])", "-", name).lower()


OF_SCHEDULES = exported("fnn.optim", "fnn.optim.schedules")
OF_OPTIMIZERS = exported("fnn.optim", "fnn.optim") - OF_SCHEDULES - NO_OPTIMIZERS

# name → class
ACTIVATIONS = {dashed(cls): cls for cls in exported("fnn", "fnn.layers.activations")}
LOSSES = {dashed(cls): cls for cls in exported("fnn", "fnn.losses") - NO_LOSSES}
OPTIMIZERS = {cls.lower(): cls for cls in OF_OPTIMIZERS} | {"nesterov": "Momentum"}
SCHEDULES = {dashed(cls.removesuffix("Decay")): cls for cls in OF_SCHEDULES - NO_SCHEDULES}

Missing = Literal["drop", "error", "mean"]  # what an empty cell of a table may do
if TYPE_CHECKING:
    Activation: TypeAlias = str
    Loss: TypeAlias = str
    Optimizer: TypeAlias = str
    Schedule: TypeAlias = str
else:
    Activation, Loss, Optimizer, Schedule = (
        Literal[*sorted(table)] for table in (ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES)
    )
