"""Whatever is recomputed, the weights are the same to the bit; the budget holds; what contradicts is refused."""

import copy
import types

import pytest
import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import contradictions
from extensions.flags.words import Flags
from extensions.hookspecs import hookimpl
from extensions.model import recomputation
from extensions.model.pieces import Pass
from extensions.plugins import recompute
from extensions.resume import identity
from tests.helpers import both_models
from tests.helpers.plugin_flags import parsed

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
SMALL = 0.002  # GB: some of a stand-in's pieces


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["sdxl", "sd2"])
def family(request):
    return request.param


@pytest.fixture(scope="module", params=TRAINERS)
def loaded(request, family, standins):
    """A trainer's models; not to be changed."""
    if request.param == "sd-scripts":
        request.getfixturevalue("patched")
    return both_models.models_of(request.param, family, str(standins[family]))


class Accelerator:
    """What the plugin asks of one, on one process."""

    device, num_processes, is_main_process, process_index = torch.device("cpu"), 1, True, 0

    def __init__(self):
        self.said: list[str] = []

    def print(self, text: str) -> None:
        self.said.append(text)


def run_of(args, buckets=None) -> types.SimpleNamespace:
    dataset = types.SimpleNamespace(metadata=types.SimpleNamespace(buckets=buckets or [(128, 128), (64, 192)]))
    return types.SimpleNamespace(
        args=args, accelerator=Accelerator(), dataloader=types.SimpleNamespace(dataset=dataset), optimizer_steps=1
    )


def begun(models, said, **trainers):
    """The plugin as training begins, and its run."""
    args = parsed("recompute", f"--recompute={said}", **{"gradient_checkpointing": False} | trainers)
    made = recompute.Plugin()
    made.check_arguments(args)
    made.models_loaded(models)
    run = run_of(args)
    made.training_begins(run)
    return made, run


def test_the_choice_is_said_in_one_line_and_recorded(loaded, monkeypatch):
    heard = []

    class Listener:
        @hookimpl
        def figures_measured(self, figures):
            heard.append(figures)

    listening = manager.Manager()
    listening.register("listener", Listener())
    monkeypatch.setattr(manager, "_current", listening)
    made, run = begun(copy.deepcopy(loaded), SMALL)
    [line] = run.accelerator.said
    assert line.startswith(f"recompute={SMALL}: kept: ") and "TFLOP" in line and "\n" not in line
    for _ in range(2):
        made.optimizer_step_ended(run)
    [figures] = heard
    assert 0 < figures["recompute"]["kept_gb"] <= SMALL and 0 < figures["recompute"]["recomputed_share"] < 1


def test_without_a_card_auto_recomputes_all_and_says_so(loaded):
    made, run = begun(copy.deepcopy(loaded), "auto")
    assert run.accelerator.said[0].startswith("recompute=auto: no card, so as all: kept: 0 of ")
    assert all(module.on for module in made.wrapped.values())


def test_on_a_card_auto_measures_two_steps(loaded, monkeypatch):
    """What is left after them, less what the largest bucket takes more than those that were seen."""
    models = copy.deepcopy(loaded)
    made = recompute.Plugin()
    made.check_arguments(parsed("recompute", gradient_checkpointing=False))
    made.models_loaded(models)
    run = run_of(parsed("recompute", sdpa=True), [(128, 128), (64, 64)])
    run.accelerator.device = torch.device("cuda")
    made.training_begins(run)
    assert all(module.on for module in made.wrapped.values())
    free = 0.01 * 2**30
    monkeypatch.setattr(recompute, "spare", lambda device: free)
    for batch in ({"latents": torch.empty(1, 4, 8, 8)}, {"latents": None, "images": torch.empty(1, 3, 32, 32)}):
        made.micro_step_ended(batch)
        made.optimizer_step_ended(run)
    missing = [Pass(side, side, tokens=made.largest.tokens, number=4) for side in (128, 64)]
    large, small = (recompute.activations.bytes_of(made.unet_shapes, one) for one in missing)
    kept = [unit for unit, module in made.wrapped.items() if not module.on]
    assert kept == list(recomputation.choose(made.units, free - large + small, made.forward).kept)
    assert 0 < len(kept) < len(made.units) and "GB to spare: kept: " in run.accelerator.said[-1]


def test_no_memory_left_keeps_nothing(loaded, monkeypatch):
    made, run = begun(copy.deepcopy(loaded), "all")
    monkeypatch.setattr(recompute, "spare", lambda device: -1.0)
    made.choose_measured(run)
    assert all(module.on for module in made.wrapped.values())


def test_spare_memory_is_what_was_never_needed(monkeypatch):
    """Free now, less what PyTorch had more at its peak, less the margin."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 400)
    assert recompute.spare(torch.device("cuda")) == pytest.approx(500 - 100 - recomputation.MARGIN * 1000)


def test_upstream_leaves_everything_as_it_is(loaded):
    models = copy.deepcopy(loaded)
    made, run = begun(models, "upstream", gradient_checkpointing=True)
    made.optimizer_step_ended(run)
    assert not made.wrapped and run.accelerator.said == []
    assert not any("forward" in vars(m) for model in models.named().values() for m in model.modules())


@pytest.mark.parametrize("said", ["auto", "all", "none", "2"])
def test_two_ways_to_recompute_are_refused(said):
    args = parsed("recompute", f"--recompute={said}", gradient_checkpointing=True)
    with pytest.raises(UserError, match=r"--gradient_checkpointing and --recompute=\S+ contradict") as caught:
        recompute.Plugin().check_arguments(args)
    assert "\n" not in str(caught.value)


def test_a_resume_may_choose_otherwise_but_not_go_from_the_trainers_own_way():
    def made_with(flags):
        return {"flags": {"seed": "1"} | flags}

    plain = made_with({"extensions": "dual_tag"})
    for said in ("auto", "all", "none", "2.0"):
        chosen = made_with({"extensions": "dual_tag,recompute", "recompute": said})
        assert identity.comparable(chosen) == identity.comparable(plain)
    theirs = made_with({"extensions": "dual_tag", "gradient_checkpointing": "True"})
    assert identity.comparable(theirs) != identity.comparable(plain)


@pytest.mark.parametrize("said", ["some", "-1", "nan", "2GB"])
def test_other_values_are_refused(said):
    with pytest.raises(UserError, match="neither auto, all, none, upstream nor a number of GB from 0 up"):
        parsed("recompute", f"--recompute={said}")


@pytest.mark.parametrize("flag", ["torch_compile", "fused_backward_pass"])
def test_what_was_not_shown_to_work_is_refused(flag):
    words = f"--extensions=recompute,dynamo --optimizer_type=AdaFactor --{flag}"
    with pytest.raises(UserError, match=f"--{flag} and the plugin recompute exclude each other"):
        contradictions.check(Flags.of_text(words), 1)


def test_a_parsed_budget_is_a_number():
    assert parsed("recompute", "--recompute=4.5").recompute == 4.5
