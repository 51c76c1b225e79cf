"""Writes a run's figures to its trackers (TensorBoard unless --log_with says otherwise)."""

from array import array

from extensions.base import secrets

NAMES = {"U-Net": "unet", "text encoder 1": "text_encoder1", "text encoder 2": "text_encoder2"}


class Average:
    """Mean of the last `window` values, in eight bytes a value (an epoch may have millions)."""

    def __init__(self, window: int):
        self.values, self.window, self.count, self.total = array("d"), window, 0, 0.0

    def add(self, value: float) -> float:
        """Take one value in; the mean."""
        if len(self.values) < self.window:
            self.values.append(value)
        else:
            place = self.count % self.window
            self.total -= self.values[place]
            self.values[place] = value
        self.count += 1
        self.total += value
        return self.mean

    @property
    def mean(self) -> float:
        """0 before the first value."""
        return self.total / len(self.values) if self.values else 0.0


def group_names(models, groups: list[dict]) -> list[str]:
    """ "unet", "text_encoder1", …: the model that each parameter group belongs to.

    By the group's first parameter: upstream names groups by their number, and calls the second text
    encoder the first where only that one trains.
    """
    owner = {id(p): NAMES[name] for name, model in models.named().items() for p in model.parameters()}
    return [owner[id(group["params"][0])] for group in groups]


def learning_rates(names: list[str], scheduler) -> dict[str, float]:
    """Return {"lr/unet": …} for the groups in order."""
    return {f"lr/{name}": float(rate) for name, rate in zip(names, scheduler.get_last_lr(), strict=False)}


def begin(accelerator, args) -> None:
    """Start the trackers with the flags that a tracker can show."""
    plain = {key: value for key, value in vars(args).items() if isinstance(value, (bool, int, float, str))}
    shown = {key: value for key, value in plain.items() if not secrets.is_secret(key, str(value))}
    accelerator.init_trackers("finetuning", config=shown)
