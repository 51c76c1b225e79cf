"""Measures what a card can do by itself: products and convolutions at SDXL's shapes, attention, copies."""

import os
import platform
import shutil
import subprocess
from importlib import metadata

from benchmarks.gpu.setting import Setting, seconds
from extensions.base.errors import UserError

PACKAGES = ("torch", "accelerate", "transformers", "diffusers", "bitsandbytes", "safetensors", "triton", "xformers")
ASKED = (
    "name", "driver_version", "memory.total", "power.limit", "power.default_limit", "clocks.max.sm", "clocks.max.mem",
    "clocks.sm", "pcie.link.gen.max", "pcie.link.gen.current", "pcie.link.width.max", "pcie.link.width.current",
    "temperature.gpu", "persistence_mode",
)  # fmt: skip
# rows, columns in and out: Linear layers at 64x64 and 32x32, and a square product, which has the highest rate.
PRODUCTS = {
    True: ((64, 64, 64), (128, 128, 128)),
    False: ((4096, 640, 5120), (1024, 1280, 10240), (8192, 8192, 8192)),
}
# channels, side: convolutions of 3x3.
CONVOLUTIONS = {True: ((32, 16),), False: ((320, 128), (640, 64), (1280, 32))}
# heads, tokens: self-attention of one image of 1024x1024, heads of 64.
ATTENTION = {True: ((1, 64),), False: ((10, 4096), (20, 1024))}
COPIED = {True: 2**20, False: 2**28}  # bytes


def environment(setting: Setting) -> None:
    """Card, versions, and the rates that all other figures are held against. UserError without the device."""
    import torch

    if setting.cuda and not torch.cuda.is_available():
        raise UserError(
            'PyTorch finds no CUDA device here; ARGS="--device=cpu --size=tiny" tries the check itself on a CPU'
        )
    setting.put("machine", machine(setting))
    setting.put("versions", {name: version for name in PACKAGES if (version := version_of(name))})
    setting.put("nvidia-smi", shown_by_driver(setting))
    products = {f"{r}x{i} by {i}x{o}": product(setting, r, i, o) for r, i, o in PRODUCTS[setting.tiny]}
    setting.put("bf16 products, TFLOP/s", products)
    setting.put("bf16_peak_tflops", max(products.values()))
    shapes = CONVOLUTIONS[setting.tiny]
    setting.put("bf16 convolutions, TFLOP/s", {f"{c} at {s}x{s}": convolution(setting, c, s) for c, s in shapes})
    for heads, tokens in ATTENTION[setting.tiny]:
        setting.put(f"attention of {heads} x {tokens}, seconds", attention(setting, heads, tokens))
    setting.put("copies, GB/s", copies(setting))


def machine(setting: Setting) -> dict:
    """Return the machine, as far as it matters."""
    import torch

    found = {"python": platform.python_version(), "cpus": os.cpu_count(), "cuda": torch.version.cuda}
    if not setting.cuda:
        return found | {"card": "none"}
    facts = torch.cuda.get_device_properties(0)
    return found | {
        "card": facts.name,
        "card_bytes": facts.total_memory,
        "cards": torch.cuda.device_count(),
        "capability": f"{facts.major}.{facts.minor}",
        "bf16": torch.cuda.is_bf16_supported(),
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
        "alloc_conf": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", os.environ.get("PYTORCH_ALLOC_CONF", "")),
    }


def version_of(package: str) -> str:
    """Return an installed version; "" where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def shown_by_driver(setting: Setting) -> dict | str:
    """Return power limit, clocks and PCIe of the first card, as nvidia-smi says them; the reason where it cannot."""
    if not setting.cuda or not shutil.which("nvidia-smi"):
        return "skipped: no nvidia-smi here" if setting.cuda else "skipped: a CPU has none"
    words = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        return f"skipped: nvidia-smi failed: {(done.stderr or done.stdout).strip()[:200]}"
    return dict(zip(ASKED, (cell.strip() for cell in done.stdout.splitlines()[0].split(",")), strict=False))


def product(setting: Setting, rows: int, inner: int, out: int) -> float:
    """TFLOP/s of a product in bf16 (2 FLOP a multiply-add)."""
    import torch

    left = torch.randn(rows, inner, device=setting.device).bfloat16()
    right = torch.randn(inner, out, device=setting.device).bfloat16()
    times = setting.of_size(20, 1)
    took = seconds(setting, lambda: [left @ right for _ in range(times)]) / times
    return 2 * rows * inner * out / took / 1e12


def convolution(setting: Setting, channels: int, side: int) -> float:
    """TFLOP/s of a 3x3 convolution in bf16, forward."""
    import torch

    image = torch.randn(1, channels, side, side, device=setting.device).bfloat16()
    kernel = torch.randn(channels, channels, 3, 3, device=setting.device).bfloat16()
    times = setting.of_size(20, 1)

    def run() -> None:
        for _ in range(times):
            torch.nn.functional.conv2d(image, kernel, padding=1)

    return 2 * 9 * channels**2 * side**2 * times / seconds(setting, run) / 1e12


def attention(setting: Setting, heads: int, tokens: int) -> dict[str, float | str]:
    """Seconds of self-attention forward and backward in bf16, by kernel; the reason where a kernel refuses."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found: dict[str, float | str] = {}
    drawn = [torch.randn(1, heads, tokens, 64, device=setting.device).bfloat16().requires_grad_() for _ in range(3)]

    def run() -> None:
        torch.nn.functional.scaled_dot_product_attention(*drawn).sum().backward()

    for kernel in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"):
        try:
            with sdpa_kernel(getattr(SDPBackend, kernel)):
                found[kernel.lower()] = seconds(setting, run)
        except RuntimeError as error:
            found[kernel.lower()] = f"skipped: {str(error).splitlines()[0][:80]}"
    found["chosen by torch"] = seconds(setting, run)
    return found


def copies(setting: Setting) -> dict[str, float] | str:
    """GB/s between the processor's memory and the card's, and within the card."""
    if not setting.cuda:
        return "skipped: a CPU has no memory of its own beside the machine's"
    import torch

    size = COPIED[setting.tiny]
    here = torch.empty(size, dtype=torch.uint8)
    there, other = (torch.empty(size, dtype=torch.uint8, device="cuda") for _ in range(2))
    found = {}
    for name, memory in (("pageable", here), ("pinned", here.pin_memory())):
        found[f"to the card, {name}"] = size / seconds(setting, lambda m=memory: there.copy_(m)) / 1e9
        found[f"from the card, {name}"] = size / seconds(setting, lambda m=memory: m.copy_(there)) / 1e9
    # Each byte is read and written.
    return found | {"within the card": 2 * size / seconds(setting, lambda: other.copy_(there)) / 1e9}
