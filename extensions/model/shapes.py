"""Builds the shapes of a model's tensors by state-dict key, from the layers that models are made of."""

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    """Return shapes of a fully connected layer: weight (out, into) and, unless refused, bias (out,)."""
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def conv(name: str, out: int, into: int, kernel: int) -> Shapes:
    """Return shapes of a square convolution: weight (out, into, kernel, kernel), bias (out,)."""
    return {f"{name}.weight": (out, into, kernel, kernel), f"{name}.bias": (out,)}


def norm(name: str, channels: int) -> Shapes:
    """Return shapes of a layer or group norm: weight and bias, both (channels,)."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def prefixed(prefix: str, shapes: Shapes) -> Shapes:
    """Return the same shapes under keys that start with `prefix`."""
    return {prefix + name: shape for name, shape in shapes.items()}
