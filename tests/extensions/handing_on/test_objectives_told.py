"""What accounts say of objectives: the logbook's shorthand, the fork's flags by their effect, and our plugins'."""

import pytest

from extensions.flags import settings
from extensions.flags.words import Flags
from extensions.handing_on import objectives_told

SESSION = "SDXL, AK-NIL-1.2 base, v-pred + ZTSNR + min-SNR 5"
RF = "SDXL, RF with logit-normal(0,1) and timestep shift 3, TTE off"


@pytest.mark.parametrize(
    ("own", "session", "said"),
    [
        ("TTE on", SESSION, {"objective": "v", "--zero_terminal_snr": "on", "--min_snr_gamma": "5"}),
        ("min-SNR off", SESSION, {"objective": "v", "--zero_terminal_snr": "on"}),
        ("eps mode", SESSION, {"objective": "epsilon"}),
        ("10EP", RF, {"objective": "flow", "timestep law": "logit-normal(0,1)", "timestep shift": "3"}),
        ("TTE on", "SDXL, 215c base", {}),
        ("PERFORMED", "SDXL", {}),
    ],
)
def test_words(own, session, said):
    assert objectives_told.of_words(own, f"{own}; {session}") == said


def made(text: str) -> tuple[settings.Settings, dict]:
    flags = Flags.of_text(text)
    return settings.of_words(flags), flags.as_dict()


def test_a_command_of_the_fork_is_told_by_its_effect():
    """Its --flow_uniform_shift asks for a uniform law, and the law was its default."""
    said = objectives_told.of_command(*made("--learning_rate=1e-5 --flow_model --flow_uniform_shift"))
    assert said == {"objective": "flow", "timestep law": "logit-normal(0,1)", "timestep shift": "1"}
    assert objectives_told.of_command(*made("--learning_rate=1 --v_parameterization")) == {"objective": "v"}
    assert objectives_told.of_command(*made("--learning_rate=1")) == {"objective": "epsilon"}


@pytest.mark.parametrize(
    ("more", "law", "shift"),
    [
        ("", "uniform", "1"),
        (",timestep_draws --timestep_law=logit_normal --timestep_shift=3", "logit-normal(0,1)", "3"),
        (",timestep_draws --timestep_law=logit_normal --timestep_mean=-0.2", "logit-normal(-0.2,1)", "1"),
        (",timestep_draws --timestep_law=cosmap", "cosmap", "1"),
    ],
)
def test_a_launcher(more, law, shift):
    said = objectives_told.of_launcher(*made(f"--learning_rate=1 --objective=flow --extensions=objective{more}"))
    assert said == {"objective": "flow", "timestep law": law, "timestep shift": shift}
    assert objectives_told.of_launcher(*made("--learning_rate=1")) == {"objective": "epsilon"}
