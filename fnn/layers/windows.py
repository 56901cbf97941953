"""Where the windows of a convolution or a pooling stand, along one axis.

A window of K entries, `dilation` apart, moves by `stride` over x, padded by (low, high):
output i sees the entries i·stride + k·dilation − low, k = 0 ... K − 1.
"""

from typing import NamedTuple

Padding = str | int | tuple[tuple[int, int], ...]


class Window(NamedTuple):
    """The windows along one axis."""

    size: int  # K
    stride: int
    dilation: int
    low: int
    high: int
    n_in: int
    n_out: int

    @property
    def span(self) -> int:
        """From its first entry to behind its last."""
        return (self.size - 1) * self.dilation + 1


def windows(
    owner: object,
    shape: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: Padding,
) -> tuple[Window, ...]:
    """The windows along every axis of `shape`.

    Raises:
        ValueError: where a window is larger than the padded input.
    """
    found = []
    for axis, (n, k, s, d) in enumerate(zip(shape, size, stride, dilation, strict=True)):
        span = (k - 1) * d + 1
        low, high = padded(padding, axis, n, span, s)
        n_out = (n + low + high - span) // s + 1
        if n_out < 1:
            raise ValueError(
                f"{owner}: axis {axis + 1} of x has {n} entries and {low} + {high} of padding, "
                f"fewer than the {span} of a window; use a smaller window or padding='same'."
            )
        found.append(Window(k, s, d, low, high, n, n_out))
    return tuple(found)


def padded(padding: Padding, axis: int, n: int, span: int, stride: int) -> tuple[int, int]:
    """How much is added on either side: 'same' gives ⌈n / stride⌉ outputs."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        total = max((-(-n // stride) - 1) * stride + span - n, 0)
        return total // 2, total - total // 2
    if isinstance(padding, int):
        return padding, padding
    assert not isinstance(padding, str)
    return padding[axis]


def pairs(
    owner: object, name: str, value: int | tuple[int, ...], n_axes: int, least: int = 1
) -> tuple[int, ...]:
    """One number of at least `least` per axis; one number stands for all.

    Raises:
        TypeError: for what is neither a number nor a tuple.
        ValueError: unless there are `n_axes` such numbers.
    """
    values = (value,) * n_axes if isinstance(value, int) else value
    if not isinstance(values, tuple):
        raise TypeError(f"{owner}: {name} must be a number or {n_axes} of them, got {value!r:.60}.")
    if len(values) != n_axes or any(not isinstance(v, int) or v < least for v in values):
        raise ValueError(
            f"{owner}: {name} must be {n_axes} numbers of at least {least}, got {value}."
        )
    return values


def check_padding(owner: object, padding: Padding, n_axes: int) -> None:
    """Raise a ValueError unless `padding` is 'valid', 'same', a number, or a pair per axis."""
    if padding in ("valid", "same") or (type(padding) is int and padding >= 0):
        return
    if isinstance(padding, tuple) and len(padding) == n_axes:
        flat = [v for pair in padding if isinstance(pair, tuple) and len(pair) == 2 for v in pair]
        if len(flat) == 2 * n_axes and all(type(v) is int and v >= 0 for v in flat):
            return
    raise ValueError(
        f"{owner}: padding must be 'valid', 'same', a number or {n_axes} pairs (low, high), "
        f"got {padding!r}."
    )
