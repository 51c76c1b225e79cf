"""What the logbook says of each run, written down by hand from its words; the launchers are held to this.

Defaults of a session stand in its `session(...)` call, a run's own words in its line. Rates are those of the
U-Net and the text encoders; steps are optimizer steps. Where the words contradict themselves, a comment says
what was taken.
"""

from typing import NamedTuple


class Expected(NamedTuple):
    """One run. numa: node or None. extra: flags that the words name. start, stop: a segment's borders.

    objective: of the sessions from 2511a on, "epsilon", "v" or "flow"; min_snr: its gamma.
    """

    session: str
    words: str
    base: str
    data: str
    gpus: int
    unet: int
    tte: str
    optimizer: str
    lr_unet: float
    lr_te: float | None
    ga: int
    tag: str
    chunks: bool
    ramdisk: bool = False
    numa: int | None = None
    start: int = 0
    stop: int | None = None
    parent: str = ""
    family: str = "sdxl"
    extra: tuple[str, ...] = ()
    objective: str = ""
    min_snr: str | None = None


RUNS: dict[str, Expected] = {}


def session(name: str, **defaults):
    """A function that enters one run of a session: its words, then what they say beyond the defaults."""

    def enter(run: str, words: str, **own) -> None:
        RUNS[run] = Expected(session=name, words=words, **{**defaults, **own})

    return enter


run = session(
    "2412",
    base="215c", data="6k", gpus=1, unet=100, tte="on", optimizer="AdamW8bit", lr_unet=1e-5, lr_te=1e-5, ga=1,
    tag="tags", chunks=False,
)  # fmt: skip
run("24120801", "20 dataset, very first run with TTE on, 1e-5 + 1e-5", data="20")
run("24121001", "TTE on, 1e-5 + 1e-5")
run("24121401", "TTE off, 1e-5", tte="off", lr_te=None)
run("24121901", "TTE only, 1e-5", tte="only", lr_unet=0)
run("24121902", "20 dataset, TTE only, 1e-5", data="20", tte="only", lr_unet=0)
run("24122001", "SD2, 21b base, TTE on, 1e-5 + 1e-5", family="sd2", base="21b", data="6k_sd2")
# "TTE only" leaves the U-Net's rate without a use.
run("24122002", "20 dataset, TTE only, 1e-5 + 1e-5", data="20", tte="only", lr_unet=0)
# "TTE off" leaves the text encoder's rate without a use.
run(
    "24122101", "SD2, 21b base, TTE off, 1e-5 + 1e-5",
    family="sd2", base="21b", data="6k_sd2", tte="off", lr_te=None,
)  # fmt: skip

run = session(
    "2502",
    base="215c", data="6k", gpus=4, unet=63, tte="on", optimizer="AdamW8bit", lr_unet=5e-6, lr_te=3e-6, ga=1,
    tag="concat", chunks=True,
)  # fmt: skip
# "TTE only" and "100% UNET, 5e-6" exclude each other: both rates are taken, so both train.
run(
    "25012301", "Tag only. TTE only + 100% UNET, test for Linux multigpu, 5e-6 + 3e-6",
    unet=100, tag="tags", chunks=False,
)  # fmt: skip
run("25012801", "Tag only. TTE on + 63% UNET, 5e-6 + 3e-6", tag="tags", chunks=False)
run("25022101", "Dual Tag (pick caption or tags), TTE on + 63% UNET, 5e-6 + 3e-6", tag="pick")
run("25022102", "TTE on + 63% UNET, 5e-6 + 3e-6")
run("25022103", "TTE on + 63% UNET, 1e-6 + 1e-5", lr_unet=1e-6, lr_te=1e-5)
run(
    "25022301",
    "TTE on + 100% UNET + GA 4 step, 2e-6 + 2e-5. Deepspeed Zero Stage 2 + Pytorch Dynamo + `mem_eff_attn`",
    unet=100, ga=4, lr_unet=2e-6, lr_te=2e-5,
    extra=("deepspeed", "zero_stage", "torch_compile", "mem_eff_attn"),
)  # fmt: skip
run("25022401", "TTE on + 71% UNET + GA 4 step, 4e-7 + 4e-6", unet=71, ga=4, lr_unet=4e-7, lr_te=4e-6)
run("25022501", "TTE on + 71% UNET + GA 4 step, 1e-6 + 1e-5", unet=71, ga=4, lr_unet=1e-6, lr_te=1e-5)
run("25022502", "TTE on + 71% UNET + GA 4 step, 2e-6 + 8e-6", unet=71, ga=4, lr_unet=2e-6, lr_te=8e-6)
run(
    "25022601", "TTE on + 71% UNET + GA 4 step, ramdisk on, 1.5e-6 + 1.2e-5",
    unet=71, ga=4, lr_unet=1.5e-6, lr_te=1.2e-5, ramdisk=True,
)  # fmt: skip

run = session(
    "2503a",
    base="255c", data="6k", gpus=4, unet=71, tte="on", optimizer="AdamW8bit", lr_unet=1.5e-6, lr_te=1.2e-5,
    ga=4, tag="concat", chunks=True, ramdisk=True,
)  # fmt: skip
run("25030301", "255b base, ramdisk on", base="255b")
run("25030401", "ramdisk on, numa process 0", numa=0)
run("25030402", "ramdisk on, numa process 1", numa=1)
# The node is the record's (numactl); the words name none.
run("25030403", "ramdisk on, Single GPU. Speed reference.", gpus=1, numa=0)
run(
    "25030801", "ramdisk on, 68% UNET, Adjusted for new trainer code / OS / hardware config.",
    unet=68,
)  # fmt: skip

# The session names no percentage; 71 is what its neighbours have and what Lion8bit fits in.
run = session(
    "2503b",
    base="255c", data="6k", gpus=4, unet=71, tte="on", optimizer="AdamW8bit", lr_unet=1e-6, lr_te=1e-5, ga=4,
    tag="concat", chunks=True,
)  # fmt: skip
LION = {"lr_unet": 1e-7, "lr_te": 1e-6}
run("25031501", "Lion. 6k dataset. ~~Was testing CAME and C-Lion.~~", optimizer="Lion", **LION)
run("25031502", "AdaFactor, relative step. 6k dataset.", optimizer="AdaFactor")
run("25031503", "AdaFactor, overrided schedule. 6k dataset.", optimizer="AdaFactor", extra=("lr_scheduler",))
run("25031504", "Lion 8bit. 6k dataset.", optimizer="Lion8bit", **LION)
run("25031505", "AdamW8bit. 6k dataset. ~~Was testing AdamW4bit.~~")
run("25033102", "AdamW8bit. 6k dataset. Sanity check because of OS / Hardware update.")

run = session(
    "2503c",
    base="255c", data="12.4M", gpus=4, unet=71, tte="on", optimizer="AdamW8bit", lr_unet=1.5e-6, lr_te=1.2e-5,
    ga=4, tag="concat", chunks=True,
)  # fmt: skip
run("25030802", "steps 0-10k out of 778k", stop=10_000)
run("25031101", "steps 10-40k out of 778k", start=10_000, stop=40_000, parent="25030802")
run("25031401", "steps 40-50k out of 778k", start=40_000, stop=50_000, parent="25031101")
run("25031402", "steps 50-60k out of 778k", start=50_000, stop=60_000, parent="25031401")
run("25031601", "steps 60-70k out of 778k", start=60_000, stop=70_000, parent="25031402")
run("25031701", "steps 70-100k out of 778k", start=70_000, stop=100_000, parent="25031601")
run("25032201", "steps 100-170k out of 778k", start=100_000, stop=170_000, parent="25031701")
run("25032901", "steps 170-190k out of 778k", start=170_000, stop=190_000, parent="25032201")
run("25033101", "steps 190-210k out of 778k", start=190_000, stop=210_000, parent="25032901")
run("25040601", "steps 210-220k out of 778k", start=210_000, stop=220_000, parent="25033101")
run("25040602", "steps 220-240k out of 778k", start=220_000, stop=240_000, parent="25040601")
run("25040901", "steps 240-320k out of 778k", start=240_000, stop=320_000, parent="25040602")
run("25041301", "steps 320-1EP (778k)", start=320_000, parent="25040901")

V = {"objective": "v", "min_snr": "5"}
EPS = {"objective": "epsilon", "min_snr": None}
OFF = {"unet": 100, "tte": "off", "lr_te": None}
run = session(
    "2511a",
    base="AK-NIL-1.2", data="6k", gpus=4, unet=71, tte="on", optimizer="AdamW8bit", lr_unet=1.5e-6, lr_te=1.2e-5,
    ga=4, tag="concat", chunks=True, **V,
)  # fmt: skip
run("25111001", "TTE on + 71% UNET, 1.5e-6 + 1.2e-5. Failure: blurred images")
run("25111002", "TTE on + 71% UNET, eps mode, 1.5e-6 + 1.2e-5. Success", **EPS)
run("25111201", "TTE off + 100% UNET, min-SNR off, 1.5e-6. Failure: blurred images", min_snr=None, **OFF)
run(
    "25111202", "AC-NoobAI-1.0 base (a v-pred model), TTE off + 100% UNET, min-SNR off, 1.5e-6. Success",
    base="AC-NoobAI-1.0", min_snr=None, **OFF,
)  # fmt: skip
run(
    "25111301", "AC-NIL-0.1 base, TTE on + 71% UNET, 1.5e-6 + 1.2e-5. Success after merge, at 0.55",
    base="AC-NIL-0.1",
)  # fmt: skip
run(
    "25111501", "AC-NIL-0.1 base, TTE on + 71% UNET, 1e-5 + 1e-5. Kinda works",
    base="AC-NIL-0.1", lr_unet=1e-5, lr_te=1e-5,
)  # fmt: skip
# From here on no share of the U-Net is named: what 2511a has with and without text encoders is taken.
run("25111601", "TTE off, 1e-5. Kinda works", lr_unet=1e-5, **OFF)

# Two rates are named, so that the text encoders train.
run = session(
    "2511b",
    base="AK-NIL-1.2", data="12.4M", gpus=4, unet=71, tte="on", optimizer="AdamW8bit", lr_unet=1.5e-6, lr_te=1.2e-5,
    ga=4, tag="concat", chunks=True, **V,
)  # fmt: skip
run("25111701", "v-pred. Failed, stopped after 55k steps")
run(
    "25112101", "AC-NIL-0.11 base, a blend of 25111701. NaN after 14k steps",
    base="blend(base, 25111701@11274, 0.75)",
)  # fmt: skip
run("25112201", "eps mode again, 0-1EP. Works after merge", **EPS)

run = session(
    "2601",
    base="blend(base, 25112201, 0.5)", data="6k", gpus=4, optimizer="AdamW8bit", lr_unet=1e-5, ga=4, tag="concat",
    chunks=True, **OFF, **V,
)  # fmt: skip
run("26011001", "2EP base, 10EP. Failed", base="2EP")
run("26011101", "8EP. Hope after merge, at 0.85")
run("26011102", "8+49EP. Hope after merge, at 0.82", base="26011101 epoch-000008")
run(
    "26011501",
    "v-pred to 2.5EP, 12.4M dataset. Zero uncond needs merge, at 0.82; null uncond works as it is",
    base="26011102 epoch-000049", data="12.4M",
)  # fmt: skip

run = session(
    "2602",
    base="VL-2.5EP", data="12.4M", gpus=4, optimizer="AdamW8bit", lr_unet=1e-5, ga=4, tag="concat", chunks=True,
    objective="flow", **OFF,
)  # fmt: skip
# Two launchers without a line: what differs from the session is the recorded commands'.
run("26020101", "no line in the logbook", base="26011101 epoch-000008", data="6k")
run("26020102", "no line in the logbook", base="26011102 epoch-000049")
run("26022301", "6k dataset, 10EP, 1GPU. Success", data="6k", gpus=1)
