"""torch.autograd.gradcheck over the same mutants, in a Python of its own that has torch.

    python -m benchmarks.mutations.pytorch < jobs.json

reads a list of jobs and prints one line of JSON for each. An autograd.Function calls the
same forward and backward. Up to FULL numbers every entry is perturbed, beyond that
gradcheck's fast mode; float64, except where float32 or bfloat16 is the question.
"""

import json
import sys
import time
from typing import Any
from unittest import mock

import jax
import numpy as np

from benchmarks.mutations.mutants import fixed
from benchmarks.mutations.work import flat_of

FULL = 1000
SLOW = "_run_slow_mode_and_get_error"  # what a failure of the fast mode does for its message


def stopped(*args: Any) -> Any:
    """Fail at once: the message, which takes every entry, is not needed."""
    raise RuntimeError("the fast mode failed")


def function_of(flat: Any, torch: Any) -> Any:
    """The function of tensors whose derivative is the hand-written one."""
    forward, backward = jax.jit(flat.forward), jax.jit(flat.backward)
    dtypes = [leaf.dtype for leaf in flat.leaves]
    y_dtype = jax.eval_shape(flat.forward, flat.leaves).dtype

    def arrays(tensors):
        return [numbers(t, torch).astype(d) for t, d in zip(tensors, dtypes, strict=True)]

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(context, *tensors):
            context.save_for_backward(*tensors)
            return tensor(forward(arrays(tensors)), torch)

        @staticmethod
        def backward(context, dy):
            dy = numbers(dy, torch).astype(y_dtype)
            leaves = arrays(context.saved_tensors)
            return tuple(tensor(g, torch) for g in backward(leaves, dy))

    return Function.apply


def numbers(t: Any, torch: Any) -> np.ndarray:
    """A tensor as numpy's, bfloat16 by way of float32."""
    t = t.detach()
    return (t.float() if t.dtype == torch.bfloat16 else t).numpy()


def tensor(a: Any, torch: Any) -> Any:
    """An array as a tensor of its dtype."""
    name = np.dtype(a.dtype).name
    wide = np.array(a, np.float32 if name == "bfloat16" else a.dtype)
    return torch.from_numpy(wide).to(getattr(torch, name))


def ask(flat: Any, torch: Any, *, is_loss: bool) -> dict[str, Any]:
    """What gradcheck says about the vector and about a mean of it."""
    f = function_of(flat, torch)
    inputs = tuple(tensor(a, torch).requires_grad_() for a in flat.leaves)
    target = torch.from_numpy(fixed(jax.eval_shape(flat.forward, flat.leaves).shape))

    def mean(*leaves):
        y = f(*leaves)
        return y.mean() if is_loss else ((y - target.to(y.dtype)) ** 2).mean()

    fast = sum(t.numel() for t in inputs) > FULL
    said: dict[str, Any] = {}
    start = time.perf_counter()
    for form, function in (("vector", f), ("mean", mean)):
        try:
            with mock.patch.object(sys.modules["torch.autograd.gradcheck"], SLOW, stopped):
                torch.autograd.gradcheck(function, inputs, fast_mode=fast)
            said[form] = False
        except Exception:
            said[form] = True
    return {**said, "killed": any(said.values()), "seconds": time.perf_counter() - start}


def main() -> None:
    """Answer the jobs of stdin."""
    import warnings

    import torch  # pyright: ignore[reportMissingImports]

    jax.config.update("jax_enable_x64", True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for job in json.load(sys.stdin):
        flat, is_loss = flat_of(job)
        print(json.dumps({"id": job["id"], **ask(flat, torch, is_loss=is_loss)}), flush=True)


if __name__ == "__main__":
    main()
