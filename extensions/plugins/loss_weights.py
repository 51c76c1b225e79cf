"""Weighs the loss of each sample: by its timestep, by its error's size, by what a file says of it.

    --loss_weight=min_snr --loss_weight_gamma=5    the error of x_0 counts min(SNR, gamma) times (arXiv 2303.09556)
    --loss_weight=debiased                         the error of the noise counts 1 / sqrt(SNR) (arXiv 2310.08442)
    --loss_weight_snr=upstream                     by the schedule before --zero_terminal_snr, as sd-scripts does
    --loss_weight=velocity                         the error of flow's velocity counts once (arXiv 2506.02221)
    --loss_weight=edm2 --loss_weight_rate=0.01     learned: L exp(-u) + u, u of the noise level (arXiv 2312.02696)
    --loss_huber=0.1                               errors beyond it count as they are, not squared
    --sample_weights=FILE                          lines of id, tab, weight; a sample without one weighs 1

Weights by SNR are the papers': by the SNR that is trained at, for noise and v, with zero terminal SNR too. For both
trainers. sd-scripts' own flags for the same rules are refused beside these. Several weights are multiplied; the
batch's loss is the mean, so that a weight is a share of the learning rate. Learned weights and their optimizer are in
training states; the loss that is logged is then L exp(-u) + u, which may fall below 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from extensions.base.errors import UserError
from extensions.flags import settings, values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.model.prediction import EPSILON, FLOW, V

if TYPE_CHECKING:
    import torch

    from extensions.objectives.learned import Learned
    from extensions.objectives.sample_weights import SampleWeights

MIN_SNR, DEBIASED, VELOCITY, EDM2 = RULES = "min_snr", "debiased", "velocity", "edm2"
BY_SNR = (MIN_SNR, DEBIASED, VELOCITY)
ENDLESS = (DEBIASED, VELOCITY)  # where noise is predicted, towards SNR 0
PART = "loss_weights.safetensors"  # of a training state
RATE = 0.01
PAPER, UPSTREAM = "paper", "upstream"
GAMMA = 5.0  # the paper's
OF_THE_TRAINER = {"min_snr_gamma": MIN_SNR, "debiased_estimation_loss": DEBIASED}


class Plugin:
    """Weighs; everything else of the training stays."""

    claims = ("weights of losses",)
    excludes = {"masked_loss": "it needs the loss of each pixel, and weights are of samples"}
    flags = (
        Flag("loss_weight", str, "rule by which a timestep's loss weighs", choices=RULES),
        Flag("loss_weight_gamma", values.above_zero, "min_snr: SNRs above it weigh like it (5)"),
        Flag(
            "loss_weight_snr",
            str,
            "of the schedule that is trained (paper), or, as sd-scripts takes it, before its rescaling to SNR 0",
            choices=(PAPER, UPSTREAM),
        ),
        Flag("loss_weight_rate", values.above_zero, "edm2: learning rate of the weights (0.01)"),
        Flag("loss_huber", values.above_zero, "errors beyond it count as they are, not squared"),
        Flag("sample_weights", Path, "file of lines: id, tab, weight"),
    )  # fmt: skip

    def __init__(self):
        self.by_timestep: torch.Tensor | None = None
        self.of_samples: SampleWeights | None = None
        self.learned: Learned | None = None

    @hookimpl
    def check_arguments(self, args):
        """Refuse what would do nothing or say the same twice, and read the samples' weights."""
        if not (args.loss_weight or args.loss_huber or args.sample_weights):
            raise UserError(
                "loss_weights is listed without --loss_weight, --loss_huber or --sample_weights; give one"
            )
        for name, rule in OF_THE_TRAINER.items():
            if getattr(args, name, None) and args.loss_weight:
                raise UserError(
                    f"--{name} and --loss_weight={args.loss_weight}: give one of them ({rule} is the former)"
                )
        if args.loss_weight != MIN_SNR and args.loss_weight_gamma is not None:
            raise UserError("--loss_weight_gamma does nothing without --loss_weight=min_snr; take it out")
        self.asked = settings.of_args(args)
        self.check_snr(args)
        self.check_learned(args)
        if args.loss_huber and getattr(args, "loss_type", "l2") != "l2":
            raise UserError(f"--loss_huber and --loss_type={args.loss_type} both say how errors count; drop one")
        if args.sample_weights:
            self.read_samples(args)

    def check_snr(self, args) -> None:
        """Raise UserError for a rule by SNR where there is none, or where it has no bound."""
        asked, upstream = self.asked, args.loss_weight_snr == UPSTREAM
        if args.loss_weight_snr and not (args.loss_weight in BY_SNR and asked.zero_snr):
            raise UserError(
                "--loss_weight_snr does nothing without --loss_weight and --zero_terminal_snr; take it out"
            )
        if args.loss_weight in BY_SNR and asked.prediction == FLOW:
            raise UserError(
                f"--loss_weight={args.loss_weight} weighs by a schedule's SNR, and flow has none; drop it"
            )
        endless = args.loss_weight in ENDLESS and asked.prediction == EPSILON and asked.zero_snr
        if endless and not upstream:
            raise UserError(
                f"--loss_weight={args.loss_weight} has no bound at SNR 0 where noise is predicted; take "
                "--zero_terminal_snr out"
            )

    def check_learned(self, args) -> None:
        """Raise UserError where learned weights cannot learn."""
        if args.loss_weight != EDM2:
            if args.loss_weight_rate is not None:
                raise UserError("--loss_weight_rate does nothing without --loss_weight=edm2; take it out")
            return
        if self.asked.mixed_precision == "fp16":
            raise UserError(
                "--loss_weight=edm2 with --mixed_precision=fp16: its gradients would be scaled; give bf16"
            )
        if self.asked.zero_stage is not None:
            raise UserError(
                "--loss_weight=edm2 has an optimizer of its own, which --deepspeed does not know; drop one"
            )

    def read_samples(self, args) -> None:
        from extensions.data import DATASET
        from extensions.objectives.sample_weights import SampleWeights

        if args.dataset_class != DATASET:
            raise UserError(f"--sample_weights goes by the ids of one data set; give --dataset_class={DATASET}")
        self.of_samples = SampleWeights(args.sample_weights)

    @hookimpl
    def training_begins(self, run):
        """Make sure that the weights are of these data, and that it is known which sample is which."""
        self.begin(run)
        if self.of_samples is None:
            return
        if run.position is None:
            raise UserError("--sample_weights needs the data in an order that is known; add resume_at_step")
        if not run.dataloader.dataset.metadata.rows_of(self.of_samples.some):
            raise UserError(f"--sample_weights={run.args.sample_weights} names no image of --in_json; give its own")

    def begin(self, run) -> None:
        """Make the weights that learn, once: the state of a run may come before or after."""
        from extensions.objectives.learned import Learned

        if run.args.loss_weight == EDM2 and self.learned is None:
            self.learned = Learned(run.args.seed or 0, run.args.loss_weight_rate or RATE, run.accelerator.device)

    @hookimpl
    def state_restored(self, run, state):
        """Go on with what the state has. UserError for other samples' weights than it was made with."""
        from extensions.resume import parts

        self.begin(run)
        found = parts.read(state.file(PART)) if PART in state.facts.files else {}
        if self.learned is not None and "learned" in found:
            self.learned.take(found["learned"])
        elif self.learned is not None:
            print("loss_weights: the state has no learned weights; they begin here", flush=True)
        own = self.of_samples.digest() if self.of_samples is not None else ""
        if own != found.get("samples", "") and "data" not in run.args.resume_allow.split(","):
            raise UserError(
                f"{state.path} was made with other --sample_weights; give --resume_allow=data to change them"
            )

    @hookimpl
    def state_parts(self, run):
        """From process 0: learned weights are the same on every one."""
        if not run.accelerator.is_main_process or not (self.learned or self.of_samples):
            return []
        return [(PART, self.state)]

    def state(self) -> dict:
        """Return what a training state keeps of the weights."""
        found = {"learned": self.learned.state()} if self.learned is not None else {}
        return found | ({"samples": self.of_samples.digest()} if self.of_samples is not None else {})

    @hookimpl(tryfirst=True)  # a training state of this step has the weights after it
    def optimizer_step_ended(self, run):
        if self.learned is not None:
            self.learned.step(run.accelerator)

    def table(self, args, device) -> torch.Tensor:
        """Return the weight of each timestep of the schedule, float32 (1000,), made once."""
        from extensions.objectives import weights

        if self.by_timestep is None:
            ratio = weights.snr(self.asked.zero_snr and args.loss_weight_snr != UPSTREAM)
            v = self.asked.prediction == V
            if args.loss_weight == MIN_SNR:
                made = weights.min_snr(ratio, args.loss_weight_gamma or GAMMA, v)
            else:
                made = weights.debiased(ratio, v) if args.loss_weight == DEBIASED else weights.velocity(ratio, v)
            self.by_timestep = made.float().to(device)
        return self.by_timestep

    def log_sigma(self, timesteps) -> torch.Tensor:
        """Return ln (b / a) at these timesteps, float32 (b,)."""
        from extensions.model.diffusion import TIMESTEPS
        from extensions.objectives import weights

        if self.asked.prediction == FLOW:
            return (timesteps.float() / TIMESTEPS).logit()
        if self.by_timestep is None:
            self.by_timestep = (-weights.snr(self.asked.zero_snr).log() / 2).float().to(timesteps.device)
        return self.by_timestep[timesteps]

    @hookimpl
    def weigh_loss(self, run, losses):
        import torch

        from extensions.objectives import weights

        if run.args.loss_huber:
            losses.values = weights.pseudo_huber(losses.predicted, losses.target, run.args.loss_huber)
        if self.learned is not None:
            losses.values = self.learned.weigh(losses.values, self.log_sigma(losses.timesteps))
        elif run.args.loss_weight:
            losses.values = losses.values * self.table(run.args, losses.timesteps.device)[losses.timesteps]
        if self.of_samples is not None:
            found = torch.tensor(self.of_samples.of(run.position.keys[-1]), dtype=torch.float32)
            losses.values = losses.values * found.to(losses.values.device)
