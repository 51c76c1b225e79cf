"""Measures the state of an optimizer, and restores it as it was saved."""

import torch


def keep_dtypes(optimizer: torch.optim.Optimizer) -> None:
    """Make `load_state_dict` restore every tensor in the dtype in which it was saved.

    torch casts the state to the dtype of the weights. With bf16 weights that rounds what an optimizer keeps in
    fp32 (AdaFactor's second moments), and a restored run leaves the path of the uninterrupted one.
    bitsandbytes has a `load_state_dict` of its own, which keeps its dtypes and calls no hooks.
    """
    saved = {}

    def before(_optimizer, state_dict: dict) -> None:
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        saved.update({place: state_dict["state"].get(number, {}) for place, number in enumerate(numbers)})

    def after(optimizer) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for place, entries in saved.items():
            if entries:
                _put_back(optimizer.state[parameters[place]], entries)
        saved.clear()

    optimizer.register_load_state_dict_pre_hook(before)
    optimizer.register_load_state_dict_post_hook(after)


def _put_back(restored: dict, saved: dict) -> None:
    """Replace what was cast by a copy of what was saved, on the device where torch put it."""
    for key, value in saved.items():
        if isinstance(value, torch.Tensor) and restored[key].dtype != value.dtype:
            restored[key] = value.detach().to(restored[key].device, copy=True)


def size(optimizer: torch.optim.Optimizer) -> int:
    """Return bytes of all tensors in the state; a storage that several share counts once."""
    storages = {}
    for entries in optimizer.state.values():
        for value in entries.values():
            if isinstance(value, torch.Tensor):
                for inner in _inner(value):
                    storage = inner.untyped_storage()
                    storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _inner(value: torch.Tensor) -> list[torch.Tensor]:
    """Return the plain tensors of a tensor, which may be a quantised one of several."""
    names = value.__tensor_flatten__()[0] if hasattr(value, "__tensor_flatten__") else []
    return [getattr(value, name) for name in names] or [value]
