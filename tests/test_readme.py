"""The README's code runs, and its links lead somewhere."""

import pathlib
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

ROOT = pathlib.Path(fnn.__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_code_of_the_readme_runs_as_it_stands(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # it writes files
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), module.__dict__)
    assert "(100, 32) (100,)" in capsys.readouterr().out
    assert module.losses.shape == (8, 4)


@pytest.mark.slow
def test_the_code_for_flax_runs_where_it_is_installed():
    pytest.importorskip("flax")
    (block,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    keys = jax.random.split(jax.random.key(4), 8)
    known = {"jax": jax, "fnn": fnn, "value_and_grad": fnn.value_and_grad, "seeds": keys}
    known |= {"x": jax.random.normal(keys[0], (10, 64), "float32"), "target": jnp.arange(10)}
    known |= {"loss": fnn.SoftmaxCrossEntropy()}
    with jax.numpy_dtype_promotion("standard"):  # Flax draws in float32
        check_flax(block, known, keys[5])


def check_flax(block, known, key):
    exec(compile(block, "README.md", "exec"), known)
    net, params = known["net"], known["net"].init(key)
    _, grads = fnn.value_and_grad(net, known["loss"], params, known["x"], known["target"])

    def value(params):
        y, _ = net.forward(params, known["x"])
        return known["loss"].forward(y, known["target"])[0].mean()

    wanted = jax.tree.leaves(jax.grad(value)(params))
    for a, b in zip(jax.tree.leaves(grads), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert len(jax.tree.leaves(known["grads"])) == 6


def test_the_container_of_the_readme_takes_a_dozen_lines():
    (text,) = re.findall(r"@dataclass\(frozen=True\)\nclass Gate.*?\n\n\n", README, re.DOTALL)
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 12


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_to_files(link):
    assert (ROOT / link).exists()


def test_every_layer_loss_and_optimizer_has_its_place():
    kinds = (fnn.Layer, fnn.Loss, fnn.optim.Optimizer, fnn.optim.Schedule)
    names = vars(fnn) | vars(fnn.optim)
    blocks = {n for n, v in names.items() if isinstance(v, type) and issubclass(v, kinds)}
    plumbing = {"Layer", "Composite", "Wrapper", "Loss", "Optimizer", "Foreign", "Schedule"}
    missing = {name for name in blocks - plumbing if not re.search(rf"\b{name}\b", README)}
    assert not missing
