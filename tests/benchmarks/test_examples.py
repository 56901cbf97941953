import jax
import jax.flatten_util
import numpy as np
import pytest

from benchmarks import examples, turns
from benchmarks.examples import AGREE, CURVATURE, PEERS, REFUSED, SINGLE, Single, error, rows, tasks
from benchmarks.peers.examples import hand_written, peak
from benchmarks.plain import plain, plain_losses
from benchmarks.report import single_table
from benchmarks.turns import OURS, Ratio, interpreter

QUICK = tasks(quick=True)


def arrays_of(net):
    arrays = dict(QUICK[net].arrays)
    return arrays.pop("x"), arrays.pop("target"), arrays


@pytest.mark.long
@pytest.mark.parametrize("net", QUICK)
def test_ours_is_what_one_gradient_for_every_example_gives(net):
    x, target, arrays = arrays_of(net)
    own, params, names = hand_written.built(net, arrays)

    @jax.jit
    @jax.vmap
    def each(x, target):
        def value(params):
            losses = plain_losses(
                hand_written.LOSS, plain(own, params, x[None], None), target[None]
            )
            return losses.mean()

        return jax.grad(value)(params)

    rows = hand_written.named(names, each(x, target))
    norms = np.sqrt(sum((a.reshape(len(x), -1) ** 2).sum(1) for a in rows.values()))
    limit = float(np.median(norms))
    found = hand_written.start("norms", net, arrays, x, target, limit)()
    np.testing.assert_allclose(found, norms, rtol=1e-4)
    clipped = dict(hand_written.start("clipped", net, arrays, x, target, limit)().items())
    assert set(clipped) == set(arrays)
    for name, a in rows.items():
        assert clipped[name].shape == arrays[name].shape
        want = np.einsum("b,b...->...", np.minimum(1, limit / norms), a)
        np.testing.assert_allclose(clipped[name], want, rtol=1e-3, atol=1e-5)


@pytest.mark.long
def test_installed_peers_find_the_same(monkeypatch):
    for quantity, peers in PEERS.items():
        here = {name: m for name, m in peers.items() if interpreter(m)}
        monkeypatch.setitem(PEERS, quantity, here)
        found = rows("mlp", quantity, QUICK["mlp"], 1)
        assert [s.peer for s in found] == list(here)
        assert found[0].ratio == 1.0
        assert all(s.error <= AGREE and s.seconds > 0 for s in found)


@pytest.mark.long
@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_our_curvature_is_that_of_the_plain_net(net):
    x, target, arrays = arrays_of(net)
    own, params, names = hand_written.built(net, arrays)
    given = {k[2:]: a for k, a in examples.directions(arrays).items()}
    v = hand_written.like(names, params, given)

    def value(params):
        return plain_losses(hand_written.LOSS, plain(own, params, x, None), target).mean()

    found = {q: hand_written.start(q, net, arrays, x, target, given)() for q in CURVATURE}
    found = {q: dict(a.items()) for q, a in found.items()}
    want = hand_written.named(names, jax.jvp(jax.grad(value), (params,), (v,))[1])
    for name, a in want.items():
        np.testing.assert_allclose(found["hessian"][name], a, rtol=1e-3, atol=1e-4)
        assert all(found[q][name].shape == a.shape for q in CURVATURE)
    flat, back = jax.flatten_util.ravel_pytree(params)
    y = plain(own, params, x, None)
    j = np.asarray(jax.jacobian(lambda flat: plain(own, back(flat), x, None))(flat), float)
    p = np.asarray(jax.nn.softmax(y), float)
    h = (p[:, :, None] * np.eye(y.shape[1]) - p[:, :, None] * p[:, None]) / len(x)
    g = np.einsum("bip,bij,bjq->pq", j, h, j)
    along = np.asarray(jax.flatten_util.ravel_pytree(v)[0], float)
    for quantity, made in (("gauss_newton", g @ along), ("diagonal", np.diag(g))):
        for name, a in hand_written.named(names, back(jax.numpy.array(made, flat.dtype))).items():
            np.testing.assert_allclose(found[quantity][name], a, rtol=1e-3, atol=1e-4)


def kept(folder, module, **arrays):
    np.savez(folder / f"{module}-0.npz", **arrays)


def test_what_differs_is_not_measured(tmp_path):
    kept(tmp_path, OURS, w=np.ones((2, 3)), b=np.array([4.0]))
    kept(tmp_path, "near", w=np.ones((2, 3)), b=np.array([4.0 + 2 * AGREE]))
    assert error(tmp_path, "near", "mlp") == pytest.approx(AGREE / 2)
    kept(tmp_path, "far", w=np.ones((2, 3)), b=np.array([4.0 + 8 * AGREE]))
    with pytest.raises(AssertionError, match=r"mlp: far differs by 2\.0e-04"):
        error(tmp_path, "far", "mlp")
    kept(tmp_path, "lost", w=np.ones((2, 3)), b=np.array([np.nan]))
    with pytest.raises(AssertionError, match="mlp: lost differs by nan"):
        error(tmp_path, "lost", "mlp")
    for name, a in (("turned", np.ones((3, 2))), ("other", None)):
        kept(tmp_path, name, **({"w": a, "b": np.array([4.0])} if a is not None else {"w": 1}))
        with pytest.raises(AssertionError, match=f"mlp.*{name}"):
            error(tmp_path, name, "mlp")


def test_a_peer_without_a_formula_is_not_started_and_has_a_row_that_says_so(monkeypatch):
    asked = []

    def take_turns(folder, modules, arguments, rounds):
        asked.extend(modules)
        answers = [{"seconds": 1.0, "mebibytes": 2.0}] * 2
        kept(examples.Path(arguments[-1]), OURS, norms=np.ones(3))
        return {OURS: Ratio(1.0, 1.0, 1.0, 0.5, answers)}

    monkeypatch.setattr("benchmarks.examples.take_turns", take_turns)
    found = {s.peer: s for s in rows("gpt, of some size", "norms", QUICK["gpt"], 1)}
    left_out = {m for net, m in REFUSED if net == "gpt"}
    assert set(PEERS["norms"].values()) - set(asked) == left_out
    assert found["BackPACK"] == Single(
        "gpt, of some size", "norms", "BackPACK", refused="no LayerNorm"
    )
    assert found["Opacus, ghost"].ratio is None
    assert found["fnn"].mebibytes == 2.0


def test_the_table_has_both_ratios():
    found = [
        Single("mlp", "norms", "fnn", 1.0, 1.0, 1.0, 2e-3, 4.0, 0.0),
        Single("mlp", "norms", "other", 0.25, 0.2, 0.3, 8e-3, 40.0, 3e-7),
        Single("mlp", "norms", "absent"),
        Single("mlp", "norms", "BackPACK", refused="no LayerNorm"),
        Single("mlp", "clipped", "fnn", 1.0, 1.0, 1.0, 2e-3, None, 0.0),
    ]
    cells = [
        [c.strip() for c in line.split("|")[3:-1]] for line in single_table(found).splitlines()
    ]
    assert cells[-4] == ["other", "0.25 [0.20, 0.30]", "8.00", "0.10", "40.0", "3e-07"]
    assert cells[-3] == ["absent", "not installed", "", "", "", ""]
    assert cells[-2] == ["BackPACK", "refused: no LayerNorm", "", "", "", ""]
    assert cells[-1] == ["fnn", "1.00 [1.00, 1.00]", "2.00", "", "", "0e+00"]


def test_the_peak_of_a_run_is_what_it_needs_besides():
    found = peak(lambda: np.ones(2**23).sum())  # 64 MiB
    assert found is None or found == pytest.approx(64, rel=0.2)


def test_a_peer_lives_where_the_environment_says_if_its_package_does(monkeypatch):
    monkeypatch.setenv("FNN_TORCH_PYTHON", "/somewhere/python")
    assert turns.has(turns.sys.executable, "json")
    assert not turns.has(turns.sys.executable, "no_such_package")
    monkeypatch.setattr("benchmarks.turns.has", lambda python, package: package == "opacus")
    assert interpreter("opacus_hooks") == "/somewhere/python"
    assert interpreter("back_pack") is None
    assert set(turns.ELSEWHERE) <= set(turns.NEEDS)


def test_every_net_and_every_quantity_is_measured():
    names = {net.partition(",")[0] for net in tasks(quick=False)}
    assert names == set(QUICK)
    assert {*SINGLE, *CURVATURE} == set(PEERS)
