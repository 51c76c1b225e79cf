"""The tricks that the logbook names: which runs use each, what it is held against, and by which tests."""

from collections.abc import Callable
from dataclasses import dataclass

from extensions.logbook.registry import Run


@dataclass(frozen=True)
class Proof:
    """A test, `path::function`, with or without parameters. trainer: the only one it speaks of; None: see Case."""

    test: str
    trainer: str | None = None


@dataclass(frozen=True)
class Trick:
    """One row. uses: whether a run uses it. oracle: what outside our code the result is held against."""

    name: str
    uses: Callable[[Run], bool]
    oracle: str
    proofs: tuple[Proof, ...]


def flag(name: str, value: str | None = None) -> Callable[[Run], bool]:
    """Runs whose launcher has the flag (with that value)."""
    return lambda run: name in run.flags and value in (None, run.flags[name])


def optimizer(name: str) -> Callable[[Run], bool]:
    """Runs with that optimizer."""
    return lambda run: run.optimizer.lower() == name.lower()


def proofs(*tests: str, trainer: str | None = None) -> tuple[Proof, ...]:
    """Proofs below tests/, each `path without .py::function`."""
    made = []
    for test in tests:
        path, _, function = test.partition("::")
        made.append(Proof(f"tests/{path}.py::{function}", trainer))
    return tuple(made)


ENGINES = "end_to_end/test_engines::"
TRICKS = (
    Trick(
        "N % of the U-Net",
        lambda run: run.unet_percent < 100,
        "the recorded blocks and counts; frozen tensors bit for bit, all others move",
        proofs("extensions/test_unet_percent::test_variants_are_the_recorded_ones")
        + proofs("end_to_end/test_upstream_equality::test_frozen_parameters_stay_and_all_others_move",
                 trainer="sd-scripts"),
    ),
    Trick(
        "ZeRO-2 with accumulation",
        flag("deepspeed"),
        "DDP of two processes: losses to 1e-4, weights to 1e-5, in float32",
        proofs(ENGINES + "test_zero_trains_what_ddp_trains", ENGINES + "test_the_run_as_the_logbook_has_it")
        + proofs(ENGINES + "test_a_state_is_saved_by_all_processes_and_loads_again", trainer="sd-scripts"),
    ),
    Trick(
        "Dynamo",
        flag("torch_compile"),
        "the same run uncompiled: losses to 1e-4, same names in the checkpoint",
        proofs(ENGINES + "test_dynamo_changes_no_loss",
               ENGINES + "test_inductor_compiles_blocks_with_the_run_s_own_cache"),
    ),
    Trick(
        "mem_eff_attn, xformers, sdpa",
        lambda run: not {"mem_eff_attn", "xformers", "sdpa"}.isdisjoint(run.flags),
        "upstream's plain attention: prediction and gradient to 1e-5",
        proofs("extensions/reference/test_reference_attention::test_the_same_prediction_and_gradient"),
    ),
)  # fmt: skip
