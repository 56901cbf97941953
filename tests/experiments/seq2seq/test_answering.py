import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.seq2seq import answering, strings
from experiments.seq2seq.strings import EDGE, N_SOURCE, N_TARGET

NET = fnn.encoder_decoder(N_TARGET, 8, 2, 2, 5, n_source=N_SOURCE, dropout=0.5)
WORDS = [np.array([4, 1, 3, 3]), np.array([2, 0])]
PROBLEMS = strings.posed(WORDS, np.array([0, 1]), 4)


@pytest.fixture(scope="module")
def params():
    with jax.enable_x64(False):
        leaves, tree = jax.tree.flatten(NET.init(jax.random.key(3)))
        rng = np.random.default_rng(0)  # far from all letters alike
        return tree.unflatten(jnp.asarray(rng.normal(size=a.shape), a.dtype) for a in leaves)


@pytest.mark.long
def test_every_letter_is_the_likeliest_behind_those_before_it(params):
    found = jax.jit(answering.answered, static_argnums=0)(NET, params, PROBLEMS.x.memory)
    net, params = fnn.inference(NET, params)
    tokens = np.concatenate([np.full((2, 1), EDGE), found], 1)
    y, _ = net.forward(params, fnn.Sequence(jnp.asarray(tokens[:, :-1]), memory=PROBLEMS.x.memory))
    np.testing.assert_array_equal(y.x.argmax(-1), found)
    assert len(np.unique(found)) > 1


@pytest.mark.long
def test_an_answer_is_right_with_all_of_its_letters_and_its_end(params):
    found = np.asarray(answering.answered(NET, params, PROBLEMS.x.memory))
    mask = PROBLEMS.x.mask
    behind = np.where(mask, found, 1 + found)
    np.testing.assert_array_equal(answering.right(NET, params, PROBLEMS.x, behind), [True, True])
    wrong = found.copy()
    wrong[1, 2] += 1  # its last place
    np.testing.assert_array_equal(answering.right(NET, params, PROBLEMS.x, wrong), [True, False])


@pytest.mark.long
def test_weights_are_those_of_the_softmax_over_the_source(params):
    net, params = fnn.inference(NET, params)
    p = answering.weights(net, params, PROBLEMS.x)
    assert p.shape == (2, 2, 2, 5, 5)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-4)
    assert not np.any(p[:, :, 1, :, 3:])  # behind the end of the second source
    assert p.std(-1).min() > 1e-6
