"""The README's code runs, and its links lead somewhere."""

import pathlib
import re
import sys
import types

import pytest

import fnn

ROOT = pathlib.Path(fnn.__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_code_of_the_readme_runs_as_it_stands(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # it writes files
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), module.__dict__)
    assert "(100, 32) (100,)" in capsys.readouterr().out
    assert module.losses.shape == (8, 4)


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
