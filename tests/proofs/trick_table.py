"""The tricks that the logbook names: which runs use each, what it is held against, and by which tests."""

from collections.abc import Callable
from dataclasses import dataclass

from extensions.launch.stages import REFERENCE, SD_SCRIPTS, TRAINERS
from extensions.logbook.registry import Run


@dataclass(frozen=True)
class Proof:
    """A test, `path::function`, with or without parameters, or a file's tests.

    trainers: those that run in it, where its parameters do not say so; empty: see `tricks.columns`.
    """

    test: str
    trainers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trick:
    """One row. uses: whether a run uses it. oracle: what outside our code the result is held against.

    trainers: those for which it must be proven; none for what runs before a trainer.
    """

    name: str
    uses: Callable[[Run], bool]
    oracle: str
    proofs: tuple[Proof, ...]
    trainers: tuple[str, ...] = TRAINERS


def flag(name: str, value: str | None = None) -> Callable[[Run], bool]:
    """Runs whose launcher has the flag (with that value)."""
    return lambda run: name in run.flags and value in (None, run.flags[name])


def optimizer(name: str) -> Callable[[Run], bool]:
    """Runs with that optimizer."""
    return lambda run: run.optimizer.lower() == name.lower()


def tests(*names: str, trainers: tuple[str, ...] = ()) -> tuple[Proof, ...]:
    """Proofs below tests/: `path` without .py for a whole file, `path::function` for one test."""
    made = []
    for name in names:
        path, colons, function = name.partition("::")
        made.append(Proof(f"tests/{path}.py{colons}{function}", trainers))
    return tuple(made)


def trains(optimizer_type: str) -> tuple[Proof, ...]:
    """The end-to-end test of an optimizer that crashed for the author, with each trainer."""
    test = f"{E2E}test_bf16_updates_run::test_the_optimizers_that_crashed_train"
    return tests(*(f"{test}[{optimizer_type}-nearest-{trainer}]" for trainer in TRAINERS))


def chunks(rule: str) -> Callable[[Run], bool]:
    """Runs with that rule of token_chunks."""
    return lambda run: "token_chunks" in run.extensions and run.flags.get("token_chunks", "a1111") == rule


E2E, PLUGINS, OPTIMIZERS = "end_to_end/", "extensions/plugins/", "extensions/optimizers/"
PROOFS = "proofs/"
OURS, LAUNCH, PLAN = "extensions/reference/", "extensions/launch/", "extensions/plan/"
CHUNKS = f"{PLUGINS}test_token_chunks"
STATE = f"{OPTIMIZERS}test_state::test_restored_it_goes_on_to_the_same_weights"
TRICKS = (
    Trick(
        "dual tags (concat, pick, tags only)",
        flag("dual_tag"),
        "stated probabilities; one process and no workers",
        tests(f"{PLUGINS}test_dual_tag", f"{PLUGINS}test_dual_tag_data_set", f"{PLUGINS}test_dual_tag_refused",
              f"{E2E}test_dual_tag_run"),
    ),
    Trick(
        "A1111's 75-token chunks",
        chunks("a1111"),
        "A1111's rule stated apart, 10,000 captions to the token; transformers' CLIP, chunk by chunk",
        tests(CHUNKS, f"{CHUNKS}_states", f"{CHUNKS}_report", "extensions/text/test_chunks",
              "extensions/text/test_encoding", "extensions/text/test_chunk_report",
              f"{E2E}test_tiny_run::test_log_ends_with_what_was_cut_and_the_chunks_used"),
    ),
    Trick(
        "the cut at 75, 150, 225 tokens, as recorded",
        chunks("upstream"),
        "sd-scripts' own strategies: ids, states, losses to 1e-4",
        tests(f"{OURS}test_text", trainers=(REFERENCE,))
        + tests(f"{E2E}test_own_cut", trainers=TRAINERS),
    ),
    Trick(
        "N % of the U-Net",
        lambda run: run.unet_percent < 100,
        "the recorded blocks and counts; frozen tensors bit for bit, all others move",
        tests(f"{PLUGINS}test_unet_percent", "extensions/model/test_unet_blocks",
              f"{E2E}test_tiny_run::test_frozen_blocks_are_bit_identical_and_others_moved")
        + tests(f"{E2E}test_upstream_equality::test_frozen_parameters_stay_and_all_others_move",
                trainers=(SD_SCRIPTS,)),
    ),
    Trick(
        "optimizers: save, restore, go on",
        lambda run: True,
        "the unbroken run, bit for bit, in fp32, mixed and full bf16",
        tests(STATE, f"{OPTIMIZERS}test_trial", f"{E2E}test_exact_resume::test_other_optimizers_and_sd2"),
    ),
    Trick(
        "AdamW4bit",
        optimizer("AdamW4bit"),
        "torchao's own arithmetic",
        tests(f"{OPTIMIZERS}test_adamw4bit") + trains("extensions.optimizers.AdamW4bit"),
    ),
    Trick(
        "C-Lion",
        optimizer("C-Lion"),
        "pytorch-optimizer and the paper",
        tests(f"{OPTIMIZERS}test_cautious_lion") + trains("extensions.optimizers.CautiousLion"),
    ),
    Trick(
        "bf16 updates: stochastic, Kahan",
        flag("bf16_updates"),
        "statistics at 5 sigma, sums in fp64, fp32 steps",
        tests(f"{OPTIMIZERS}test_rounding", f"{PLUGINS}test_bf16_updates", f"{OPTIMIZERS}test_updates",
              f"{OPTIMIZERS}test_updates_quadratic", f"{OPTIMIZERS}test_updates_model",
              f"{E2E}test_bf16_updates_run"),
    ),
    Trick(
        "ZeRO-2 with accumulation",
        flag("deepspeed"),
        "DDP of two processes: losses to 1e-4, weights to 3 % of the way, in float32 (Lion8bit, whose state is cut "
        "elsewhere: 5e-4, 20 %); in full bf16 losses to 2e-2",
        tests(f"{E2E}test_engines::test_zero_trains_what_ddp_trains",
              f"{E2E}test_engines::test_zero_trains_what_ddp_trains_in_full_bf16",
              f"{E2E}test_engines::test_the_run_as_the_logbook_has_it")
        + tests(f"{E2E}test_engines::test_a_state_is_saved_by_all_processes_and_loads_again",
                trainers=(SD_SCRIPTS,)),
    ),
    Trick(
        "Dynamo",
        flag("torch_compile"),
        "the same run uncompiled: losses to 1e-4 (inductor in bf16: 2e-2), same names in the checkpoint",
        tests(f"{PLUGINS}test_dynamo", f"{E2E}test_engines::test_dynamo_changes_no_loss",
              f"{E2E}test_engines::test_inductor_compiles_blocks_with_the_run_s_own_cache")
        + tests(f"{E2E}test_engines::test_a_second_launch_finds_the_compiled_code", trainers=(REFERENCE,)),
    ),
    Trick(
        "mem_eff_attn, xformers, sdpa",
        lambda run: not {"mem_eff_attn", "xformers", "sdpa"}.isdisjoint(run.flags),
        "plain attention, upstream's and diffusers': prediction and gradient to 1e-5",
        tests(f"{OURS}test_models_attention"),
    ),
    Trick(
        "several GPUs",
        lambda run: run.gpus > 1,
        "one process on the same global batch",
        tests(f"{E2E}test_several_processes")
        + tests(f"{E2E}test_reference_trainer::test_two_processes_train_what_one_trains_on_the_same_global_batch",
                trainers=(REFERENCE,)),
    ),
    Trick(
        "two machines",
        lambda run: False,
        "one machine with two processes",
        tests(f"{E2E}test_topology::test_two_machines_train_what_one_with_two_processes_trains",
              f"{LAUNCH}test_machines"),
    ),
    Trick(
        "NUMA process 0 / 1",
        lambda run: run.numa is not None,
        "a numactl that records its arguments; the real one where it is installed",
        tests(f"{LAUNCH}test_numa", f"{E2E}test_topology::test_on_a_numa_node_and_from_a_ram_disk"),
    ),
    Trick(
        "ramdisk on",
        lambda run: run.ramdisk,
        "sha256 of the sources; a real tmpfs, a full one too",
        tests(f"{LAUNCH}test_ramdisk", f"{LAUNCH}test_memory",
              f"{E2E}test_topology::test_on_a_numa_node_and_from_a_ram_disk"),
    ),
    Trick(
        "resume at a step",
        flag("initial_step"),
        "the unbroken run: samples, losses and weights to the last bit, killed or stopped anywhere",
        tests(f"{PLUGINS}test_resume_at_step", f"{E2E}test_exact_resume", f"{PROOFS}test_kills"),
    ),
    Trick(
        "v-prediction, zero terminal SNR, min-SNR; SD2 in full bf16",
        flag("v_parameterization"),
        "the papers' formulas in float64; but min-SNR with zero terminal SNR is sd-scripts', not the paper's "
        "(README, \"Where upstream's way is an accident\")",
        tests(f"{OURS}test_noise_papers", f"{E2E}test_sd2"),
    ),
    Trick(
        "rectified flow, logit-normal timesteps, shift",
        flag("objective", "flow"),
        "the paper's formulas in float64; scipy's distribution; diffusers' samplers for flow; one trainer the other",
        tests("extensions/objectives/test_flow", "extensions/objectives/test_laws", f"{E2E}test_objectives_run"),
    ),
    Trick(
        "a blend as the base",
        lambda run: str(run.flags["pretrained_model_name_or_path"]).startswith("blend("),
        "weights in float64; the ends to the bit",
        tests("extensions/averages/test_blending", f"{E2E}test_blends_run::test_a_run_begins_with_a_blend"),
        trainers=(),
    ),
    Trick(
        "cost before launch",
        lambda run: True,
        "recorded steps of every complete log; recorded memory to 10 %",
        tests(f"{PLAN}test_plan", f"{PLAN}test_plan_refused", f"{PLAN}test_vram_fit"),
        trainers=(),
    ),
)  # fmt: skip
