"""The same nets and losses as one writes them for autodiff.

`plain(net, params, x, key)` is the y of net.forward without caches, in the idiom of the
field: x @ w + b, jax.nn, lax.conv_general_dilated, lax.scan, optax's losses. It is what the
hand-written gradients are measured against. A layer without an entry is run by its own
forward. `best(net)` is the same net for the same params as someone writes it who knows the
functions that save time or memory.
"""

from benchmarks.plain import images as images
from benchmarks.plain import sequences as sequences
from benchmarks.plain.expert import best as best
from benchmarks.plain.losses import plain_losses as plain_losses
from benchmarks.plain.nets import plain as plain
