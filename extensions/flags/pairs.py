"""Lists flags that say nothing without another flag, and pairs of which only one can hold.

Upstream refuses some of them once data and models are loaded, with a traceback; of most it is silent.
"""

from extensions.base.errors import UserError
from extensions.flags.words import Flags

TE_RATES = ("learning_rate_te", "learning_rate_te1", "learning_rate_te2")
PROMPTS = ("sample_prompts", "sample_captions")  # one of them is enough
# {flag: (flags that upstream reads together with it only, what happens without it)}.
NEED_A_SWITCH = {
    "deepspeed": (
        ("zero_stage", "offload_optimizer_device", "offload_optimizer_nvme_path", "offload_param_device",
         "offload_param_nvme_path", "zero3_init_flag", "zero3_save_16bit_model", "fp16_master_weights_and_gradients"),
        "every process would keep the whole optimizer state, as under DDP",
    ),
    "torch_compile": (("dynamo_backend",), "nothing would be compiled"),
    "train_text_encoder": (TE_RATES, "the text encoders stay as they are"),
    "v_parameterization": (("scale_v_pred_loss_like_noise_pred",), "there is no v whose loss could be scaled"),
    "noise_offset": (("adaptive_noise_scale",), "there is no offset that it could adapt"),
    PROMPTS[0]: (("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first"), "there is nothing to draw"),
}  # fmt: skip
BOTH = "both name the optimizer"
# One of the two, and why.
EXCLUDE = (
    ("use_8bit_adam", "optimizer_type", BOTH),
    ("use_lion_optimizer", "optimizer_type", BOTH),
    ("use_8bit_adam", "use_lion_optimizer", BOTH),
    ("train_text_encoder", "cache_text_encoder_outputs", "text encoders that train give other states at each step"),
    ("weighted_captions", "cache_text_encoder_outputs", "the weights are read when a text is encoded"),
    ("v_parameterization", "v_pred_like_loss", "the latter makes a loss on noise like that on v, which is trained"),
    ("fused_backward_pass", "fused_optimizer_groups", "both step in the backward pass"),
    ("resume", "resume_from", "both restore a state"),
)


def check(flags: Flags) -> None:
    """Raise UserError for the first flag without effect, and the first pair."""
    for switch, (names, instead) in NEED_A_SWITCH.items():
        switches = PROMPTS if switch in PROMPTS else (switch,)
        given = [] if any(name in flags for name in switches) else [name for name in names if name in flags]
        if given:
            raise UserError(
                f"--{given[0]} without --{switch} has no effect: {instead}; add --{switch}, or take --{given[0]} out"
            )
    for one, other, why in EXCLUDE:
        if one in flags and other in flags:
            raise UserError(f"--{one} and --{other} exclude each other: {why}; drop one of them")
