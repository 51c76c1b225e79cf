"""Reads the size of a model from its checkpoint's tensor shapes, for upstream's loaders.

Upstream builds SDXL and SD2 from module constants and literals of the full size. Here the same loaders
build whatever size the file has: a full-size checkpoint gives exactly upstream's own values, so nothing
changes for it, and a shrunken one needs no switch in the trainer. Attention heads cannot be read off a
shape; the rule for them is in extensions/model/sizes.py.
"""

from contextlib import ExitStack, contextmanager

from extensions.model.checkpoint import TE1_SDXL, TE2_SDXL, TE_SD2, UNET, VAE, Header
from extensions.model.sizes import HEAD_CHANNELS, SD2_TEXT_LAYERS, clip_huggingface, clip_open
from extensions.upstream.uses import set_constants


def sdxl(header: Header) -> dict[str, dict]:
    """Sizes of an SDXL checkpoint: {"unet": …, "te1": …, "te2": …, "vae": …}."""
    time_embed, channels = header.shape(UNET + "time_embed.0.weight")
    return {
        "unet": {
            "MODEL_CHANNELS": channels,
            "TIME_EMBED_DIM": time_embed,
            "ADM_IN_CHANNELS": header.shape(UNET + "label_emb.0.0.weight")[1],
            "CONTEXT_DIM": header.shape(UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight")[1],
        },
        # Transformer blocks by width: upstream's literals are 2 at the second level, 10 at the third.
        "depths": {
            multiple * channels: header.layers(f"{UNET}input_blocks.{block}.1.transformer_blocks.")
            for multiple, block in ((2, 4), (4, 7))
        },
        "te1": clip_huggingface(header, TE1_SDXL),
        "te2": clip_open(header, TE2_SDXL),
        "vae": vae(header),
    }


def sd2(header: Header) -> dict[str, dict]:
    """Sizes of an SD2 checkpoint: {"config": …, "unet": …, "te": …, "vae": …}."""
    channels = header.shape(UNET + "input_blocks.0.0.weight")[0]
    text = clip_open(header, TE_SD2) | {"num_hidden_layers": SD2_TEXT_LAYERS}
    heads = [channels * multiple // HEAD_CHANNELS for multiple in (1, 2, 4, 4)]
    context = header.shape(UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")[1]
    config = {
        "UNET_PARAMS_MODEL_CHANNELS": channels,
        "V2_UNET_PARAMS_ATTENTION_HEAD_DIM": heads,
        "V2_UNET_PARAMS_CONTEXT_DIM": context,
    }
    # The class reads these whatever its config says.
    unet = {
        "BLOCK_OUT_CHANNELS": tuple(channels * multiple for multiple in (1, 2, 4, 4)),
        "TIMESTEP_INPUT_DIM": channels,
        "TIME_EMBED_DIM": channels * 4,
    }
    return {"config": config, "unet": unet, "te": text, "vae": vae(header)}


def vae(header: Header) -> dict:
    """Sizes of the autoencoder, as upstream's module constants name them."""
    return {"VAE_PARAMS_CH": header.shape(VAE + "encoder.conv_in.weight")[0]}


def transformer_of(upstream, sizes: dict[str, dict]):
    """Upstream's Transformer2DModel with the context width and, by its own width, the depth of the file."""

    def build(*arguments, in_channels, **keywords):
        fixed = {
            "cross_attention_dim": sizes["unet"]["CONTEXT_DIM"],
            "num_transformer_layers": sizes["depths"][in_channels],
        }
        return upstream(*arguments, in_channels=in_channels, **keywords | fixed)

    return build


def overriding(function, **fixed):
    """Return `function` with some keyword arguments always set to our values."""

    def call(*arguments, **keywords):
        return function(*arguments, **keywords | fixed)

    return call


@contextmanager
def sized_for_sdxl(header: Header):
    """Let upstream's SDXL classes build the sizes of `header` while this is open."""
    from library import model_util, sdxl_model_util, sdxl_original_unet

    sizes = sdxl(header)
    transformer = transformer_of(sdxl_original_unet.Transformer2DModel, sizes)
    # The loader makes the first encoder's config, then the second's.
    config = in_turn(sdxl_model_util.CLIPTextConfig, [sizes["te1"], sizes["te2"]])
    with ExitStack() as stack:
        set_constants(stack, sdxl_original_unet, sizes["unet"])
        set_constants(stack, model_util, sizes["vae"])
        set_constants(stack, sdxl_original_unet, {"Transformer2DModel": transformer})
        set_constants(stack, sdxl_model_util, {"CLIPTextConfig": config})
        yield


@contextmanager
def sized_for_sd2(header: Header):
    """Let upstream's SD2 classes build the sizes of `header` while this is open."""
    from library import model_util, original_unet

    sizes = sd2(header)
    with ExitStack() as stack:
        set_constants(stack, model_util, sizes["config"] | sizes["vae"])
        set_constants(stack, original_unet, sizes["unet"])
        set_constants(stack, model_util, {"CLIPTextConfig": overriding(model_util.CLIPTextConfig, **sizes["te"])})
        yield


def in_turn(function, overrides: list[dict]):
    """Return `function` with the first set of overrides at the first call, the second at the second."""
    waiting = iter(overrides)

    def call(*arguments, **keywords):
        return function(*arguments, **keywords | next(waiting))

    return call
