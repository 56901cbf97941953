"""scikit-learn's MLPClassifier, with all threads and with one."""

import functools
import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from benchmarks.peers.runs import BATCH, HIDDEN, RATE, main


def run(threads, x, target, epochs, seed):
    """`epochs` epochs, whatever the loss does."""
    net = MLPClassifier(
        (HIDDEN,), solver="adam", alpha=0.0, learning_rate_init=RATE,
        max_iter=epochs, tol=0.0, n_iter_no_change=epochs + 1, random_state=seed,
    ).set_params(batch_size=BATCH)  # fmt: skip
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(x, target)
    return lambda: float(net.score(x, target))


if __name__ == "__main__":
    main([functools.partial(run, threads) for threads in (None, 1)])
