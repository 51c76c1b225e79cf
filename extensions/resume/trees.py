"""Splits nested state (dicts, lists, numbers, tensors) into JSON and named tensors, and joins them again.

A state folder holds no pickle: loading one would run whatever code its author put there. So an optimizer's state
becomes JSON, in which `{"tensor": name}` stands for an entry of a safetensors file. Quantised tensors (torchao's) are
taken apart into their plain ones.
"""

import importlib

import torch

# Tensor classes that may be put together again; a class name in a file alone decides nothing.
COMPOSED_FROM = ("torchao.",)


def taken_apart(value, tensors: dict[str, torch.Tensor], name: str = "state"):
    """Return `value` as JSON; its tensors are added to `tensors` under names that begin with `name`.

    TypeError for what is neither a container, a number, a text, None, a dtype nor a tensor.
    """
    if isinstance(value, torch.Tensor):
        return _tensor(value, tensors, name)
    if isinstance(value, dict):
        return {"dict": [[key, taken_apart(item, tensors, f"{name}.{key}")] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [taken_apart(item, tensors, f"{name}.{i}") for i, item in enumerate(value)]}
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()  # numpy's numbers
    if value is None or isinstance(value, (bool, int, str)):
        return {"value": value}
    if isinstance(value, float):
        return {"float": value.hex()}  # exact, and JSON has neither NaN nor infinity
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    raise TypeError(f"{name} is a {type(value).__name__}, which a state cannot keep")


def _tensor(value: torch.Tensor, tensors: dict[str, torch.Tensor], name: str):
    if not hasattr(value, "__tensor_flatten__"):
        tensors[name] = value
        return {"tensor": name}
    parts, context = value.__tensor_flatten__()
    kind = type(value)
    return {
        "composed": f"{kind.__module__}:{kind.__qualname__}",
        "parts": [[part, _tensor(getattr(value, part), tensors, f"{name}.{part}")] for part in parts],
        "context": taken_apart(context, tensors, f"{name}.context"),
        "size": list(value.size()),
        "stride": list(value.stride()),
    }


def put_together(tree, tensors: dict[str, torch.Tensor]):
    """Return the value that `taken_apart` was given. KeyError for a missing tensor, ValueError for another format."""
    makers = {
        "tensor": lambda name: tensors[name],
        "dict": lambda pairs: {key: put_together(item, tensors) for key, item in pairs},
        "list": lambda items: [put_together(item, tensors) for item in items],
        "tuple": lambda items: tuple(put_together(item, tensors) for item in items),
        "value": lambda value: value,
        "float": float.fromhex,
        "dtype": _dtype,
        "composed": lambda _: _composed(tree, tensors),
    }
    kind = next((kind for kind in makers if kind in tree), None)
    if kind is None:
        raise ValueError(f"a state has no {sorted(tree)}")
    return makers[kind](tree[kind])


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"a state has no dtype {name}")
    return found


def _composed(tree: dict, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    module, _, name = tree["composed"].partition(":")
    if not module.startswith(COMPOSED_FROM):
        raise ValueError(f"a state may not name the class {tree['composed']}")
    kind = getattr(importlib.import_module(module), name)
    parts = {part: put_together(item, tensors) for part, item in tree["parts"]}
    return kind.__tensor_unflatten__(parts, put_together(tree["context"], tensors), tree["size"], tree["stride"])
