"""The table of the equations: complete, and every line of it leads somewhere."""

import collections
import importlib
import pathlib
import re

import pytest

import fnn
from experiments import equations as command
from experiments import errata, gallery
from experiments.common import cli
from experiments.equations import page, table

ROOT = pathlib.Path(fnn.__file__).parent.parent
EQUATIONS = table.read()

IDS = re.findall(
    r"\S+",
    """
nt.function nt.dataset nt.weights nt.bias nt.preactivation nt.layer-output nt.parameters
nt.row-column nt.elementwise nt.learning-rate

la.inner-product la.matvec la.norm-l2 la.norm-l1 la.norm-frobenius la.eigen la.svd

calc.partial calc.difference-quotient calc.gradient calc.chain-rule
calc.differentiate-mean-square

prob.expectation prob.variance prob.bernoulli prob.binomial-experiment prob.binomial-pmf
prob.gaussian prob.likelihood prob.lln

risk.objective risk.generic-loss risk.empirical risk.population risk.minimiser risk.gradient

fwd.neuron fwd.neuron-two-inputs fwd.input fwd.dense fwd.layer-input fwd.activation
fwd.prediction fwd.network fwd.relu-relu-sigmoid fwd.linear-collapse fwd.param-count

act.nonlinearity act.backward act.linear act.linear-grad act.sigmoid act.sigmoid-grad
act.sigmoid-grad-derivation act.sigmoid-saturation act.tanh act.tanh-grad act.tanh-centred
act.relu act.relu-grad act.relu-sparsity act.leaky-relu act.leaky-relu-grad act.softmax
act.softmax-jacobian act.softmax-vjp

loss.mae loss.mae-grad loss.mse-mean loss.mse-mean-grad loss.mse-half loss.mse-half-grad
loss.bce loss.domain loss.bce-grad loss.bce-logit-grad loss.bce-logit-derivation loss.cce
loss.cce-index loss.cce-grad loss.softmax-cce-grad loss.bce-stable loss.cce-stable

bp.goal bp.delta-def bp.delta-output bp.delta-output-rowwise bp.delta-output-mse
bp.delta-output-mse-linear bp.delta-hidden bp.local-affine bp.grad-w bp.grad-b bp.batch-average
bp.training-cycle bp.dynamic-programming bp.cost

chain.linear-cost chain.linear-grad chain.neuron2-cost chain.neuron2-grad chain.two-forward
chain.two-local-layer1 chain.two-local-layer2 chain.two-cost chain.two-grad-layer2
chain.two-grad-activation chain.target-surrogate chain.target-surrogate-grad
chain.two-grad-layer1 chain.deep-forward chain.deep-local chain.deep-base chain.deep-surrogate
chain.deep-grad-w chain.deep-grad-b chain.deep-grad-activation

opt.gd opt.sgd opt.sgd-noise opt.momentum-heavy-ball opt.momentum-ema opt.momentum-smoothing
opt.adagrad opt.adadelta opt.rmsprop opt.adam

reg.l2 reg.l2-grad reg.weight-decay reg.l2-effect reg.l1 reg.l1-grad reg.l1-sparsity
reg.dropout-standard reg.dropout-inverted reg.dropout-grad

model.linear-regression model.logistic-regression model.softmax-classifier model.mlp
model.typical-data

gen.bias-variance gen.capacity gen.regularization

land.nonconvex land.minima land.overparameterization land.gd-generalizes

dir.conv2d dir.conv-linear dir.rnn dir.rnn-gradient-norm dir.attention dir.self-attention
dir.multi-head dir.generalization-bound dir.vc dir.pac dir.optimization-theory
""",
)

DISPLAYS = {"S2": [f"d{k}" for k in range(1, 29)], "S3": [f"d{k}" for k in range(1, 42)]}
ENDS = {"1.0": 1, "1.1": 6, "1.2": 3, "1.3": 7, "1.4": 7, "1.5": 13, "1.6": 4, "1.7": 4}
DISPLAYS["S4"] = [f"({stem}.{k})" for stem, end in ENDS.items() for k in range(1, end + 1)]
SECTIONS = {"S0": [f"§{k}" for k in range(1, 8)], "S1": [f"§{k}" for k in range(1, 11)]}


def test_every_equation_has_its_entry_once():
    assert [e.id for e in EQUATIONS] == IDS
    assert len(set(IDS)) == 160


def test_every_entry_says_what_it_is_and_is_checked():
    for e in EQUATIONS:
        assert e.what, e.id
        assert e.formula, e.id
        assert e.tests or e.experiments, f"{e.id} has no check"
        assert e.printed or e.convention, f"{e.id} is neither printed nor explained"
    counts = collections.Counter(e.status for e in EQUATIONS)
    assert counts == {"as printed": 85, "convention": 35, "erratum": 40}


@pytest.mark.parametrize("topic", table.TOPICS)
def test_code_tests_and_experiments_exist(topic):
    for e in (e for e in EQUATIONS if e.topic == topic):
        for symbol in e.code:
            assert symbol.startswith("fnn.")
            file, line = table.line_of_code(symbol)
            assert symbol.rpartition(".")[2] in (ROOT / file).read_text().splitlines()[line - 1]
        for test in e.tests:
            file, line = table.line_of_test(test)
            assert (
                f"def {test.partition('::')[2]}("
                in (ROOT / file).read_text().splitlines()[line - 1]
            )
        for name in e.experiments:
            assert importlib.import_module(f"experiments.{name}").__doc__


@pytest.mark.parametrize("text", [*DISPLAYS, *SECTIONS])
def test_every_numbered_equation_of_a_text_leads_to_an_entry(text):
    places = [e.places[text] for e in EQUATIONS if text in e.places]
    if text in DISPLAYS:
        found = {n for where in places for n in table.numbers(text, where)}
        assert found == set(DISPLAYS[text])
    else:
        found = {
            re.match(r"§\d+", at)[0] for where in places for at in page.sections(where) if "§" in at
        }
        assert found == set(SECTIONS[text])


def test_every_erratum_belongs_to_an_entry():
    named = {erratum for e in EQUATIONS for erratum in e.errata}
    assert named == {e.id for e in errata.ERRATA}


def test_every_claim_belongs_to_an_equation_but_those_on_what_the_texts_do_not_have():
    named = {name for e in EQUATIONS for name in e.experiments}
    beyond = {"errata", "gpt", "seq2seq", "denoising", "autoencoder", "spectrum", "kfac"}
    beyond |= {"noise_scale", "private", "influence"}
    assert set(gallery.NAMES) - named == beyond


def test_the_page_leads_back_from_every_file_of_code_and_every_experiment():
    back = page.PAGE.read_text().partition("# From the code")[2]
    for e in EQUATIONS:
        files = [table.line_of_code(symbol)[0] for symbol in e.code]
        files += [page.place(name) for name in e.experiments]
        for file in files:
            (row,) = (row for row in back.splitlines() if f"[{file}]" in row)
            assert f"[{e.id}]" in row


def test_a_wrong_entry_is_noticed():
    with pytest.raises(ValueError, match=r"fnn.layers.dense has no Dens\."):
        table.resolve("fnn.layers.dense.Dens")
    with pytest.raises(ValueError, match="no module fnm"):
        table.resolve("fnm.dense")
    with pytest.raises(ValueError, match="there is no such test"):
        table.line_of_test("layers/test_dense.py::test_nothing")


def test_numbers_of_a_place():
    assert table.numbers("S2", "d1, d3, d5") == ["d1", "d3", "d5"]
    assert table.numbers("S3", "Definitions, d37–d39") == ["d37", "d38", "d39"]
    assert table.numbers("S4", "(1.5.9)–(1.5.11), (1.6.1)") == [
        "(1.5.9)", "(1.5.10)", "(1.5.11)", "(1.6.1)",
    ]  # fmt: skip
    assert table.numbers("S0", "§7, step 4") == []


def test_the_page_is_what_the_table_says_and_its_links_lead_to_files():
    text = page.PAGE.read_text()
    assert text == page.written(EQUATIONS)
    for link in set(re.findall(r"\]\(([^)#]+)\)", text)):
        assert (page.PAGE.parent / link).exists(), link


def run(argv, capsys):
    assert cli.run(command.main, command.Config, argv.split()) == 0
    return capsys.readouterr().out


def test_command_filters_by_text_topic_status_form_and_words(capsys):
    out = run("--text S2 --topic losses --status erratum", capsys)
    assert "loss.bce-grad: gradient in the probability" in out
    assert "4 equations: 3 library, 1 fact, 4 erratum" in out
    out = run("--find Dense --form library", capsys)
    assert re.search(r"fnn/layers/dense.py:\d+  fnn.layers.dense.Dense", out)
    assert re.search(r"tests/layers/test_dense.py:\d+  test_", out)
    assert f"{len(IDS)} equations" in run("", capsys)


def test_command_tells_what_it_cannot_find(capsys):
    assert cli.run(command.main, command.Config, ["--topic", "loses"]) == cli.USAGE
    assert "losses" in capsys.readouterr().err
    assert cli.run(command.main, command.Config, ["--find", "no such words"]) == cli.USAGE
    assert "no equation" in capsys.readouterr().err
