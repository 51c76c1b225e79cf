"""Who draws timesteps, of which place: the same for any number of processes, and how even an update is."""

import argparse
from itertools import product
from statistics import fmean, pvariance
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from extensions.base.errors import UserError
from extensions.data.loader import Places
from extensions.objectives import draws
from extensions.plugins.timestep_draws import Plugin
from tests.helpers.plugin_flags import parsed

TRAINERS = {
    "v_parameterization": False, "zero_terminal_snr": False, "min_timestep": None, "max_timestep": None,
    "min_snr_gamma": None, "debiased_estimation_loss": False, "seed": 7, "train_batch_size": 1,
    "gradient_accumulation_steps": 4,
}  # fmt: skip
SHAPE = (1, 4, 16, 12)


def asked(*words: str, plugins="timestep_draws", **more) -> argparse.Namespace:
    return parsed(plugins, *words, **TRAINERS | more)


def plugin(*words: str, **more) -> Plugin:
    made = Plugin()
    made.check_arguments(asked(*words, **more))
    return made


def run_of(args, steps=0, processes=4, process=0, position=None):
    accelerator = SimpleNamespace(num_processes=processes, process_index=process)
    return SimpleNamespace(args=args, accelerator=accelerator, optimizer_steps=steps, position=position)


@pytest.mark.parametrize(
    ("words", "more", "says"),
    [
        (("--timestep_mean=0.1",), {}, "--timestep_mean does nothing with --timestep_law=uniform"),
        (("--timestep_law=beta", "--timestep_deviation=1"), {}, "--timestep_deviation does nothing"),
        (("--timestep_law=logit_normal", "--timestep_beta=1"), {}, "--timestep_beta does nothing"),
        (("--timestep_law=beta", "--timestep_alpha=1"), {}, "needs --timestep_alpha and --timestep_beta"),
        (("--timestep_shift=1",), {}, "--timestep_shift=1 does nothing"),
        (("--timestep_draws=upstream",), {}, "timestep_draws does nothing with --timestep_draws=upstream"),
        ((), {"seed": None}, "draws from --seed"),
        (
            (),
            {"min_timestep": 5, "max_timestep": 5},
            "does nothing where --min_timestep and",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(words, more, says):
    with pytest.raises(UserError, match=says):
        plugin(*words, **more)


@pytest.mark.parametrize("word", ["--timestep_deviation=0", "--timestep_shift=-3", "--timestep_shift=nan"])
def test_numbers_that_make_no_law_are_refused(word):
    with pytest.raises(UserError, match="above 0"):
        asked("--timestep_law=logit_normal", word)


def test_a_negative_mean_is_taken():
    assert plugin("--timestep_law=logit_normal", "--timestep_mean=-0.2").law.mean == -0.2


def of_update(made: Plugin, args, step, processes, position=None) -> dict[int, float]:
    """{place in the order drawn: timestep} of an update, as each process draws its own."""
    found = {}
    for _ in range(args.gradient_accumulation_steps):
        for process in range(processes):
            run = run_of(args, step, processes, process, position)
            (timestep,) = made.draw_timesteps(run, SHAPE, process).tolist()
            found[made.place(run, process)] = timestep
        made.micro_step_ended()
    made.optimizer_step_ended()
    return found


@pytest.mark.parametrize("how", [draws.STRATIFIED, draws.INDEPENDENT])
def test_processes_and_a_resume_change_nothing(how):
    updates = []
    for processes, accumulation in ((4, 4), (2, 8), (1, 16), (16, 1)):
        args = asked(f"--timestep_draws={how}", gradient_accumulation_steps=accumulation)
        made = Plugin()
        made.check_arguments(args)
        updates.append([of_update(made, args, step, processes) for step in (0, 1, 2)])
    assert updates[0] == updates[1] == updates[2] == updates[3]
    again = plugin(f"--timestep_draws={how}")
    args = asked(f"--timestep_draws={how}")
    assert of_update(again, args, 2, 4) == updates[0][2], "a process that begins at step 2"
    assert len(set(updates[0][0].values())) > 12


class Rows:
    """A data set of two sizes, as its order asks for it."""

    batch_size, seed, trained = 1, 7, None
    metadata = SimpleNamespace(buckets=[(64, 64), (128, 96)])
    bucket = np.array([0, 1] * 40)

    def __len__(self):
        return len(self.bucket)


def test_dealt_batches_keep_the_timesteps_of_their_places():
    """Who trains a sample moves by its cost; its timestep is that of its place in the order drawn."""
    args, found = asked(), []
    for order in ("as_drawn", "dealt"):
        places = [Places(Rows(), process, 4, 4, {}, data_order=order) for process in range(4)]
        seen = {}
        for each in places:
            each.begin(0, 0)
        made = Plugin()
        made.check_arguments(args)
        for step, micro_step in product(range(3), range(4)):
            for process, each in enumerate(places):
                run = run_of(args, step, 4, process, SimpleNamespace(places=each))
                (row,) = each.at(step, micro_step).rows
                seen[step, row] = made.draw_timesteps(run, SHAPE, process).item()
            made.micro_step_ended() if micro_step < 3 else made.optimizer_step_ended()
        found.append(seen)
    assert found[0] == found[1] and len(found[0]) == 48


def test_batches_of_several_cover_the_law_together():
    args = asked(train_batch_size=3)
    made = Plugin()
    made.check_arguments(args)
    drawn = [made.draw_timesteps(run_of(args, 5, 4, process), (3, 4, 8, 8), process) for process in range(4)]
    numbers = sorted(int(48 * each / 1000) for each in torch.cat(drawn).tolist())
    assert len(set(numbers)) >= 11  # of 12 strata, a whole timestep may fall into the one below


def test_the_trainers_stream_draws_where_it_is_asked_to():
    made = plugin("--timestep_draws=upstream", "--timestep_law=logit_normal")
    torch.manual_seed(3)
    numbers = torch.rand(2, dtype=torch.float64).numpy()
    torch.manual_seed(3)
    found = made.draw_timesteps(None, (2, 4, 8, 8), 0)
    assert found.tolist() == np.floor(1000 * expit(stats.norm.ppf(numbers))).tolist()


def test_bounds_are_upstreams_first_and_end():
    made, args = plugin(min_timestep=200, max_timestep=300), asked()
    found = [value for step in range(100) for value in of_update(made, args, step, 4).values()]
    assert min(found) == 200 and max(found) == 299


def test_an_update_is_more_even_than_chance_and_than_upstreams():
    """The mean loss of updates of 4 ranks x 4 micro-steps on a model that does not change.

    The model is the best there is for Gaussian latents of variance 0.1: its loss on the noise is
    a^2 c / (a^2 c + b^2) at each timestep. Upstream's ranks draw alike, one timestep for all four.
    """
    alpha = np.sqrt(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))
    sigma = np.sqrt(1 - alpha**2)
    loss = (0.1 * alpha**2 / (0.1 * alpha**2 + sigma**2)).tolist()
    variance = {}
    for how in (draws.STRATIFIED, draws.INDEPENDENT):
        args = asked(f"--timestep_draws={how}")
        made = Plugin()
        made.check_arguments(args)
        means = [fmean(loss[t] for t in of_update(made, args, step, 4).values()) for step in range(300)]
        variance[how] = pvariance(means)
        assert fmean(means) == pytest.approx(fmean(loss), rel=0.1)
    torch.manual_seed(1)
    upstream = pvariance([fmean(loss[t] for t in torch.randint(0, 1000, (4,)).tolist()) for _ in range(300)])
    assert variance[draws.STRATIFIED] <= variance[draws.INDEPENDENT] / 5
    assert variance[draws.STRATIFIED] <= upstream / 20
