"""Wraps upstream's functions, one wrapper a seam. Its first argument is upstream's own function."""

import inspect
from array import array

import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.model import checkpoint, prediction, published, untrained
from extensions.model.models import Models
from extensions.model.unet_names import ldm_of_diffusers
from extensions.text.literal import literal
from extensions.text.word_cache import bounded
from extensions.trainer import hook_points
from extensions.upstream import calls, shapes, weights

_models: Models | None = None
_base: dict[str, torch.Tensor] = {}  # the base model's file, mapped; with --vae, that file's autoencoder


def models() -> Models | None:
    """Return the models that upstream has loaded in this process."""
    return _models


def load_sdxl(upstream, model_version, ckpt_path, *arguments, **keywords):
    """SDXL of whatever size the file has; the plugins see the models before anything is wrapped."""
    header = checkpoint.read_header(ckpt_path)
    published.check(header, "sdxl")
    with shapes.sized_for_sdxl(header), weights.without_extras(header, "sdxl"):
        loaded = upstream(model_version, ckpt_path, *arguments, **keywords)
    encoder1, encoder2, vae, unet = loaded[:4]
    _announce(Models("sdxl", unet, [encoder1, encoder2], vae), ckpt_path)
    return loaded


def load_sd2(upstream, v2, ckpt_path, *arguments, **keywords):
    """SD2 likewise. Without --v2 the file would be read as SD1.5, which this project does not train."""
    header = checkpoint.read_header(ckpt_path)
    checkpoint.require_family(header, "sd2" if v2 else "sd1")
    published.check(header, "sd2")
    with shapes.sized_for_sd2(header), weights.without_extras(header, "sd2"):
        loaded = upstream(v2, ckpt_path, *arguments, **keywords)
    encoder, vae, unet = loaded
    _announce(Models("sd2", unet, [encoder], vae, ldm_of_diffusers(header.shapes)), ckpt_path)
    return loaded


def load_vae(upstream, vae_id, dtype):
    """--vae: one safetensors file with an autoencoder of any width, which is also what a checkpoint gets."""
    vae, tensors = weights.vae(upstream, vae_id, dtype)
    _base.update(tensors)
    return vae


def _announce(loaded: Models, path) -> None:
    global _models
    for encoder in loaded.text_encoders:
        _own_storage(encoder)
    _models = loaded
    loaded.calls = calls.calls_of(loaded)
    _base.clear()
    _base.update(untrained.mapped(path))
    manager.current().hook.models_loaded(models=loaded)


def _own_storage(encoder) -> None:
    """Give q, k and v storage of their own.

    Upstream's conversion leaves them as views of one tensor; savers that refuse or drop shared storage
    (safetensors, accelerate's save_state) then lose two of the three.
    """
    for parameter in encoder.parameters():
        if parameter.untyped_storage().nbytes() != parameter.nbytes:
            parameter.data = parameter.data.clone()


def prepare_accelerator(upstream, args):
    """Upstream's accelerator; how it is to wrap models is said before it wraps one."""
    accelerator = upstream(args)
    hook_points.accelerator_made(args, accelerator)
    return accelerator


def get_optimizer(upstream, args, trainable_params):
    """Let plugins freeze and filter, hand upstream what is left to train, show them the optimizer."""
    if _models is None:
        raise UserError("sd-scripts did not load its models by a function that we wrap: take the pinned sd-scripts")
    groups = hook_points.choose_parameters(_models, _as_groups(trainable_params, args.learning_rate))
    _full_bf16(args)
    name, words, optimizer = upstream(args, groups if _is_grouped(trainable_params) else groups[0]["params"])
    hook_points.optimizer_built(_models, optimizer)
    return name, words, optimizer


def _full_bf16(args) -> None:
    """fine_tune.py takes --full_bf16 and does nothing with it; sdxl_train.py casts its models itself, later.

    Casting changes a parameter's data and keeps the object, so that the groups stay those of the models.
    """
    if _models.family == "sd2" and getattr(args, "full_bf16", False):
        for model in _models.named().values():
            model.to(torch.bfloat16)
        print("fine_tune.py: --full_bf16: weights, gradients and optimizer state are bf16", flush=True)


def _is_grouped(parameters) -> bool:
    return isinstance(parameters[0], dict)


def _as_groups(parameters, learning_rate: float) -> list[dict]:
    if _is_grouped(parameters):
        return parameters
    return [{"params": list(parameters), "lr": learning_rate}]


def load_tokenizer(upstream, *arguments, **keywords):
    """Upstream's tokenizer, which finds no special tokens in texts; its memory of words is bounded."""
    return bounded(literal(upstream(*arguments, **keywords)))


def tokenize_sdxl(upstream, strategy, text):
    """Token ids by a plugin, or upstream's."""
    return _tokenize(upstream, strategy, text, [strategy.tokenizer1, strategy.tokenizer2])


def tokenize_sd2(upstream, strategy, text):
    """Return the same for one tokenizer."""
    return _tokenize(upstream, strategy, text, [strategy.tokenizer])


def _tokenize(upstream, strategy, text, tokenizers):
    texts = [text] if isinstance(text, str) else list(text)
    ids = manager.current().hook.tokenize(texts=texts, tokenizers=tokenizers)
    return upstream(strategy, text) if ids is None else ids


def encode_sdxl(upstream, strategy, tokenize_strategy, models, tokens):
    """Hidden states by a plugin, or upstream's: [states of TE1, states of TE2, pooled]."""
    unwrapped = models[2] if len(models) > 2 else models[1]
    states = manager.current().hook.encode_tokens(
        input_ids=list(tokens),
        tokenizers=[tokenize_strategy.tokenizer1, tokenize_strategy.tokenizer2],
        text_encoders=list(models[:2]),
        projection=unwrapped.text_projection,
        clip_skip=None,
    )
    return upstream(strategy, tokenize_strategy, models, tokens) if states is None else states


def encode_sd2(upstream, strategy, tokenize_strategy, models, tokens):
    """Hidden states by a plugin, or upstream's: [states]."""
    states = manager.current().hook.encode_tokens(
        input_ids=list(tokens),
        tokenizers=[tokenize_strategy.tokenizer],
        text_encoders=list(models[:1]),
        projection=None,
        clip_skip=strategy.clip_skip,
    )
    return upstream(strategy, tokenize_strategy, models, tokens) if states is None else states


def begin_losses(upstream, recorder):
    """Upstream's record of an epoch's losses, in eight bytes a micro-step: the same doubles, so the same means."""
    upstream(recorder)
    recorder.loss_list = array("d", recorder.loss_list)


def prepare_deepspeed_args(upstream, args):
    """Upstream's one change to the flags, less the cut to one data-loader worker.

    It is there because workers died under DeepSpeed's launcher; ours are started by accelerate or torchrun, and
    one worker cannot read and tokenize for a GPU that waits.
    """
    workers = args.max_data_loader_n_workers
    upstream(args)
    args.max_data_loader_n_workers = workers


def prepare_deepspeed_plugin(upstream, args):
    """Upstream's plugin, with --max_grad_norm=0 as no clipping: accelerate leaves out a 0, and then fills in 1.0."""
    plugin = upstream(args)
    if plugin is not None:
        plugin.deepspeed_config["gradient_clipping"] = args.max_grad_norm
    return plugin


def save_checkpoint(upstream, *arguments, **keywords):
    """Write beside the final name, with the plugins' metadata, then rename.

    What does not train has the base's bits, and the marks of the prediction are set.
    """
    call = inspect.signature(upstream).bind(*arguments, **keywords)
    steps = call.arguments["steps"]
    path, metadata = call.arguments["output_file"], call.arguments["metadata"]
    dtype = call.arguments.get("save_dtype")

    def complete(tensors):
        found = untrained.with_base_bits(tensors, _base, _models, dtype)
        return untrained.marked(found, prediction.marks_of(manager.args(), _models.family, _base))

    with hook_points.writing_checkpoint(path, metadata, _models, steps, dtype) as (temporary, merged):
        call.arguments |= {"output_file": str(temporary), "metadata": merged or None}
        with weights.completed(upstream, complete, _base):
            return upstream(*call.args, **call.kwargs)
