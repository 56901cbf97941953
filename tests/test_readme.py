"""The README's code runs, and its links lead somewhere."""

import pathlib
import re

import pytest

import fnn

ROOT = pathlib.Path(fnn.__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_code_of_the_readme_runs_as_it_stands(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert "(100, 32) (100,)" in capsys.readouterr().out
    assert names["losses"].shape == (8, 4)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_to_files(link):
    assert (ROOT / link).exists()


def test_every_layer_loss_and_optimizer_has_its_place():
    kinds = (fnn.Layer, fnn.Loss, fnn.Optimizer)
    for name, value in vars(fnn).items():
        if isinstance(value, type) and issubclass(value, kinds) and value not in kinds:
            if name not in ("Composite", "Identity", "Scale", "Scheduled", "Proximal", "Foreign"):
                assert re.search(rf"\b{name}\b", README), name
