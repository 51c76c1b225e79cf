"""Notes the norm of an update's gradients, before they are clipped, without changing how a trainer steps."""

from accelerate import DistributedType


class GradientNorm:
    """Watches a run; `value()` is the Euclidean norm of all gradients of the last update, None where none is known.

    What the trainer's own clipping computes is taken. Where it does not clip (--max_grad_norm=0), the gradients are
    passed over once before an update, 5 GB in bf16. None with fused backward passes, whose gradients never meet.
    """

    def __init__(self, run):
        self.run, self.last = run, None
        accelerator, optimizer = run.accelerator, run.optimizer
        self.sharded = accelerator.distributed_type == DistributedType.DEEPSPEED
        if self.sharded:
            return
        clip, step = accelerator.clip_grad_norm_, optimizer.step

        def clipping(*arguments, **keywords):
            self.last = clip(*arguments, **keywords)
            return self.last

        def stepping(*arguments, **keywords):
            if accelerator.sync_gradients:
                self.last = norm_of(optimizer.param_groups)
            return step(*arguments, **keywords)

        if run.args.max_grad_norm:
            accelerator.clip_grad_norm_ = clipping
        elif not getattr(run.args, "fused_backward_pass", False):
            optimizer.step = stepping

    def value(self) -> float | None:
        """Read it, once an update; on a GPU this waits for it."""
        if self.sharded:
            self.last = self.run.accelerator.deepspeed_engine_wrapped.engine.get_global_grad_norm()
        return None if self.last is None else float(self.last)


def norm_of(groups: list[dict]):
    """Return the norm over all gradients of an optimizer's groups, a scalar in float32; None without any."""
    import torch

    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return None
    return torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32)).norm()
