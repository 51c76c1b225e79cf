"""Launches as train/lib/launch.sh asks for them, without a launcher."""

from extensions.launch import asked as request
from extensions.launch.stages import Asked, Resolved, Staged, become


def asked(
    *flags: str, run: str = "25022601", script: str = "sdxl_train.py", facts=("GPUS=1",), **environment
) -> Asked:
    """What is asked for. facts: the launcher's NAME=VALUE; environment: the caller's variables."""
    return request.read([run, *facts, script, *flags], environment)


def resolved(made: Asked, **more) -> Resolved:
    """The same, taken for found: as launched, no state to go on from."""
    return become(Resolved, made, **more)


def staged(made: Asked, **more) -> Staged:
    """The same, read from where its flags say."""
    return become(Staged, made, **more)
