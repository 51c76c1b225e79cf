"""Says what the U-Net learns to predict: noise, v, or the way from image to noise (rectified flow).

    --objective=epsilon          the noise, as SDXL does
    --objective=v                v of arXiv 2202.00512, with or without --zero_terminal_snr
    --objective=flow             noise - x_0 of x_s = (1 - s) x_0 + s noise; the U-Net is told 1,000 s as it is
    --flow_shift=3               flow: what samples, and whoever reads the checkpoint's metadata, shift s by

For SDXL and SD2, with both trainers. epsilon and v are the trainer's own, which this plugin switches; of flow it adds
the noise and says the target. Flow's s is drawn uniformly from the trainer's random stream, between --min_timestep
and --max_timestep in thousandths, unless a plugin draws timesteps otherwise. A flag that would do nothing beside an
objective is refused. Checkpoints say in their metadata what they are; a base model that is marked for another
objective is refused without --change_prediction.
"""

from extensions.base.errors import UserError
from extensions.flags import settings, values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.model.prediction import EPSILON, FLOW, METADATA, V

# Flags of the trainers that look up a schedule's SNR at a timestep, of which flow has none.
BY_SNR = ("min_snr_gamma", "debiased_estimation_loss")
BY_SCHEDULE = ("huber", "smooth_l1")  # of --loss_type: those that --huber_schedule is for


class Plugin:
    """Chooses the objective; draws, adds and targets what flow needs."""

    claims = ("what the U-Net predicts",)
    excludes = dict.fromkeys(
        ("scale_v_pred_loss_like_noise_pred", "v_pred_like_loss"), "it makes one objective's loss like another's"
    )
    flags = (
        Flag("objective", str, "what the U-Net learns to predict", choices=(EPSILON, V, FLOW)),
        Flag(
            "flow_shift",
            values.shift,
            "flow: shift of s in samples and in the checkpoint's metadata, a number or resolution; "
            "without it that of --timestep_shift, or 1",
            neutral=True,
        ),
    )

    def __init__(self):
        self.flow = False

    @hookimpl
    def check_arguments(self, args):
        """Refuse what would do nothing, and switch the trainer to the objective."""
        if args.objective is None:
            raise UserError("objective is listed without --objective; give epsilon, v or flow, or take it out")
        if args.v_parameterization:
            raise UserError("--objective and --v_parameterization say the same thing twice; drop the latter")
        self.flow = args.objective == FLOW
        if args.flow_shift is not None and not self.flow:
            raise UserError(f"--flow_shift does nothing with --objective={args.objective}; take it out")
        if self.flow:
            self.refuse_schedule(args)
        args.v_parameterization = args.objective == V
        self.range = settings.timestep_range(args)
        self.shift = settings.of_args(args).flow_shift

    def refuse_schedule(self, args) -> None:
        """Raise UserError for flags of a noise schedule, which flow has none of."""
        if args.zero_terminal_snr:
            raise UserError("--zero_terminal_snr does nothing with --objective=flow, without a schedule; drop it")
        if given := [name for name in BY_SNR if getattr(args, name, None)]:
            raise UserError(f"--{given[0]} weighs by a schedule's SNR, and --objective=flow has none; take it out")
        scheduled = getattr(args, "loss_type", "l2") in BY_SCHEDULE and getattr(args, "huber_schedule", "") == "snr"
        if scheduled:
            raise UserError(
                "--huber_schedule=snr looks a schedule's SNR up, and --objective=flow has none; give "
                "--huber_schedule=constant"
            )

    @hookimpl(trylast=True)  # after a plugin that draws by a law of its own
    def draw_timesteps(self, shape):
        if not self.flow:
            return None
        import torch

        low, high = self.range
        return low + (high - low) * torch.rand(shape[0], device="cpu")

    @hookimpl
    def noise_latents(self, latents, noise, timesteps):
        from extensions.objectives import flow

        return flow.noised(latents, noise, timesteps) if self.flow else None

    @hookimpl
    def target(self, latents, noise):
        from extensions.objectives import flow

        return flow.target(latents, noise) if self.flow else None

    @hookimpl
    def checkpoint_metadata(self):
        """Say that it is flow: nobody has a mark for it, and the trainers' metadata would say noise."""
        return {METADATA: FLOW, "sdxl_trainer.flow_shift": f"{self.shift}"} if self.flow else {}
