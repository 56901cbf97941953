"""Plan for scale: GPT-2 of 124 million, 1.5 and 7 billion parameters on 8, 64 and 512 devices.

    uv run python -m benchmarks.scale [--only 124M-8 7B-8] [--out DIR]

Nothing runs: a step is compiled for devices that a CPU pretends to be, from shapes alone, and what
the compiler says of it is read: the bytes that every device needs, and what the devices send each
other, by XLA's own collectives. The step by jax.grad has the same params, layout and optimizer,
jax.nn.dot_product_attention, jax.checkpoint around every block, and with_sharding_constraint at
each, without which XLA cuts features and sends three to seven times as much.
"""
