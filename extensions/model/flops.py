"""Says what a pass through the U-Net costs at a size, in floating-point operations.

Of SDXL's U-Net as published, one image and 77 tokens, forward, two operations a multiply-add. Convolutions and Linear
layers cost in proportion to the pixels, self-attention to their square, the text's keys and values the same at any
size: so three numbers say all of it. They solve the counts of PyTorch's FlopCounterMode on diffusers' U-Net at three
sizes, and a test counts others. The backward pass costs 1.97 to 1.99 times as much, from 512x512 to 1024x1024.
"""

FIXED, A_PIXEL, A_PAIR = 52_531_036_160, 363_591_680, 2_800  # by pixels of the latents, 8x8 of the image each


def unet_mflop(width: int, height: int) -> int:
    """Return the cost of an image of so many pixels, in 10^6 operations, rounded down: alike on every machine."""
    pixels = (width // 8) * (height // 8)
    return (FIXED + A_PIXEL * pixels + A_PAIR * pixels**2) // 10**6
