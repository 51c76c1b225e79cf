"""Reads the sizes of text encoders and autoencoder from a checkpoint's tensor shapes; both trainers build from them.

Attention heads cannot be read off a shape; SDXL, SD2 and their text encoders all use 64 channels a head,
and that is the rule here.
"""

from extensions.model.checkpoint import VAE, Header

HEAD_CHANNELS = 64
# SD2 was trained on the penultimate hidden state: both trainers build all layers but the last.
SD2_TEXT_LAYERS = 23


def clip_huggingface(header: Header, prefix: str) -> dict:
    """CLIPTextConfig sizes from transformers' key names (SDXL's first encoder)."""
    layers = prefix + "encoder.layers."
    return clip_config(
        header.shape(prefix + "embeddings.token_embedding.weight"),
        header.shape(layers + "0.mlp.fc1.weight")[0],
        header.layers(layers),
    )


def clip_open(header: Header, prefix: str) -> dict:
    """CLIPTextConfig sizes from open_clip's key names (SDXL's second encoder, SD2's one)."""
    blocks = prefix + "transformer.resblocks."
    config = clip_config(
        header.shape(prefix + "token_embedding.weight"),
        header.shape(blocks + "0.mlp.c_fc.weight")[0],
        header.layers(blocks),
    )
    projection = header.shapes.get(prefix + "text_projection")
    return config | ({"projection_dim": projection[1]} if projection else {})


def clip_config(token_embedding: tuple[int, ...], intermediate: int, layers: int) -> dict:
    """Return the size arguments of transformers' CLIPTextConfig."""
    vocabulary, hidden = token_embedding
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden // HEAD_CHANNELS),
    }


def vae_config(header: Header) -> dict:
    """diffusers' configuration of the checkpoint's autoencoder."""
    channels = header.shape(VAE + "encoder.conv_in.weight")[0]
    return {
        "block_out_channels": [channels * multiple for multiple in (1, 2, 4, 4)],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
    }
