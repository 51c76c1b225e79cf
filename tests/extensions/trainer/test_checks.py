"""What both trainers refuse before anything is read."""

import argparse
import sys
from types import SimpleNamespace

import pytest
from accelerate import DistributedType

from extensions import manager
from extensions.base.errors import UserError
from extensions.data import DATASET
from extensions.flags import settings
from extensions.reference import __main__ as reference
from extensions.reference import flags
from extensions.trainer import arguments, hook_points
from extensions.trainer import checks as common_checks

WORDS = [
    "--pretrained_model_name_or_path=nowhere.safetensors",
    "--output_dir=out",
    "--v2",
    f"--dataset_class={DATASET}",
]
INPUTS = ["--in_json=meta.json", "--train_data_dir=latents"]


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """sd-scripts' entry point sets sys.argv and sys.path."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", list(sys.path))


def parsed(*words: str, plugins: str = "", **more) -> argparse.Namespace:
    """The flags of SD2's script and of plugins, which are installed, and what else sd-scripts has."""
    parser = arguments.extend(flags.parser("fine_tune.py"), manager.install(manager.listed(plugins)))
    args = parser.parse_args([*WORDS, *words, *([f"--extensions={plugins}"] if plugins else [])])
    return argparse.Namespace(**vars(args) | more)


@pytest.mark.parametrize("name", ["full_bf16", "full_fp16"])
@pytest.mark.parametrize("mixed", ["no", "fp16", "bf16"])
def test_full_precision_needs_its_mixed_precision(name, mixed):
    args = parsed(*INPUTS, f"--mixed_precision={mixed}", **{"full_fp16": False, name: True})
    if name.endswith(mixed):
        assert common_checks.check(args).full_precision == mixed
    else:
        with pytest.raises(UserError, match=f"^--{name} needs --mixed_precision"):
            common_checks.check(args)


@pytest.mark.parametrize("form", ["diffusers", "diffusers_safetensors"])
def test_folders_of_diffusers_are_refused(form):
    """A configuration file may say so, too, which no launcher reads."""
    with pytest.raises(UserError, match=f"^--save_model_as={form} needs files from a hub"):
        common_checks.check(parsed(*INPUTS, save_model_as=form))


@pytest.mark.parametrize("script", flags.SCRIPTS)
def test_the_reference_trainer_refuses(script):
    words = [word for word in WORDS if script == "fine_tune.py" or word != "--v2"]
    with pytest.raises(UserError, match="--full_bf16 needs --mixed_precision=bf16"):
        reference.main([script, *words, "--full_bf16"])


@pytest.mark.upstream
@pytest.mark.parametrize("script", flags.SCRIPTS)
def test_sd_scripts_refuses(script, patched):
    from extensions.upstream import __main__ as upstream

    with pytest.raises(UserError, match="--full_bf16 needs --mixed_precision=bf16"):
        upstream.main([str(patched), script, *WORDS, "--full_bf16", "--mixed_precision=fp16"])


@pytest.mark.upstream
def test_sd_scripts_refuses_what_stands_in_a_config_file(patched, tmp_path):
    from extensions.upstream import __main__ as upstream

    (tmp_path / "flags.toml").write_text("full_bf16 = true\n")
    with pytest.raises(UserError, match="--full_bf16 needs --mixed_precision=bf16"):
        upstream.main([str(patched), "fine_tune.py", *WORDS, f"--config_file={tmp_path / 'flags.toml'}"])


@pytest.mark.upstream
@pytest.mark.parametrize(
    ("plugins", "line"),
    [
        ("resume_at_step,save_states", "keep_states = 0"),
        ("resume_at_step,save_states", "states_every_n_steps = -5"),
        ("resume_at_step", "initial_step = -4"),
        ("resume_at_step", 'stop_at_step = "x"'),
        ("on_nan", "on_nan_limit = 0"),
        ("on_nan", 'on_nan = "go on"'),
        ("unet_percent", "unet_percent = 140"),
        ("unet_percent", 'unet_freeze = "("'),
        ("token_chunks", "max_token_chunks = -3"),
    ],
)
def test_a_plugin_s_value_in_a_config_file_is_one_of_its_kind(plugins, line, patched, tmp_path):
    """argparse looks at words alone."""
    from extensions.upstream import __main__ as upstream

    (tmp_path / "flags.toml").write_text(f"{line}\n")
    words = [*WORDS, *INPUTS, f"--extensions={plugins}", f"--config_file={tmp_path / 'flags.toml'}"]
    with pytest.raises(UserError, match=f"--{line.split()[0]}") as caught:
        upstream.main(["--only-check", str(patched), "fine_tune.py", *words])
    assert "\n" not in str(caught.value)


def test_zero_terminal_snr_without_v_is_said(capsys):
    words = [*WORDS, "--zero_terminal_snr"]
    flags.check(flags.parser("fine_tune.py").parse_args([*words, "--v_parameterization"]), "fine_tune.py")
    assert capsys.readouterr().err == ""
    flags.check(flags.parser("fine_tune.py").parse_args(words), "fine_tune.py")
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("low", "high"), [(-1, 10), (10, 9), (0, 1001), (1000, 1000)])
def test_timesteps_that_the_schedule_does_not_have(low, high):
    with pytest.raises(UserError, match=f"--min_timestep={low} --max_timestep={high}: timesteps count from 0"):
        common_checks.check(parsed(*INPUTS, f"--min_timestep={low}", f"--max_timestep={high}"))


@pytest.mark.parametrize(("low", "high"), [(0, 1000), (999, 999), (0, 0), (200, 800)])
def test_timesteps_that_it_has(low, high):
    common_checks.check(parsed(*INPUTS, f"--min_timestep={low}", f"--max_timestep={high}"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--train_batch_size=0"], "--train_batch_size=0 is not a whole number from 1 up"),
        (["--gradient_accumulation_steps=-1"], "--gradient_accumulation_steps=-1 is not a whole number from 1 up"),
        (["--max_train_steps=0"], "--max_train_steps=0 is not a whole number from 1 up"),
        (["--max_train_epochs=0"], "--max_train_epochs=0 is not a whole number from 1 up"),
        (["--max_token_length=75"], "--max_token_length=75: give 150 or 225"),
        (["--max_token_length=100"], "--max_token_length=100: give 150 or 225"),
        (["--caption_dropout_rate=0.1", *INPUTS], "add dual_tag to --extensions"),
        ([], "--in_json is missing"),
    ],
)
def test_values_and_the_data_set_s_flags(words, says):
    with pytest.raises(UserError, match=says):
        common_checks.check(parsed(*words))


def test_what_is_not_refused_comes_back_as_the_settings():
    args = parsed(
        *INPUTS, "--learning_rate=3e-6", "--train_text_encoder", "--unet_percent=50", plugins="unet_percent"
    )
    made = common_checks.check(args)
    assert made == settings.of_args(args)
    assert (made.family, made.plugins, made.unet_percent) == ("sd2", ("unet_percent",), 50.0)
    assert made.rates == {"U-Net": 3e-6, "text encoder 1": 3e-6}


@pytest.mark.parametrize(
    ("plugin", "word", "flag", "value"),
    [
        ("bf16_updates", "--bf16_updates=kahan", "deepspeed", True),
        ("unet_percent", "--unet_percent=50", "block_lr", "1,2"),
        ("unet_percent", "--unet_percent=50", "fused_optimizer_groups", 4),
    ],
)
def test_what_a_listed_plugin_excludes(plugin, word, flag, value):
    """Also what stands in a configuration file, which a launcher does not read."""
    common_checks.check(parsed(*INPUTS, word, plugins=plugin, **{flag: None}))
    common_checks.check(parsed(*INPUTS, **{flag: value}))
    with pytest.raises(
        UserError, match=f"^--{flag} and the plugin {plugin} exclude each other: .*; drop one of them"
    ):
        common_checks.check(parsed(*INPUTS, word, plugins=plugin, **{flag: value}))


def test_compiling_is_the_plugin_s_which_takes_the_flag():
    with pytest.raises(UserError, match="--torch_compile needs the plugin dynamo; add dynamo to --extensions"):
        common_checks.check(parsed(*INPUTS, "--torch_compile"))
    args = parsed(*INPUTS, "--torch_compile", "--dynamo_backend=eager", plugins="dynamo")
    manager.current().hook.check_arguments(args=args)
    common_checks.check(args)


def test_clip_skip_of_sdxl_is_said(capsys):
    words = [word for word in WORDS if word != "--v2"]
    flags.check(flags.parser("sdxl_train.py").parse_args([*words, "--clip_skip=2"]), "sdxl_train.py")
    assert "--clip_skip has no effect on SDXL" in capsys.readouterr().err
    flags.check(flags.parser("fine_tune.py").parse_args([*WORDS, "--clip_skip=2"]), "fine_tune.py")
    assert capsys.readouterr().err == ""


def test_processes_that_train_each_by_itself_are_refused(monkeypatch):
    """accelerate 1.13 and later, started by torchrun on a CPU that they are not told to use."""
    alone = SimpleNamespace(num_processes=1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    common_checks.training_together(alone)  # some clusters set it for every program
    monkeypatch.setenv("LOCAL_RANK", "0")
    said = "^4 processes were started, and accelerate has set up 1 to train together; install"
    with pytest.raises(UserError, match=said):
        common_checks.training_together(alone)
    with pytest.raises(UserError, match=said):  # before a model is loaded
        hook_points.accelerator_made(argparse.Namespace(), alone)
    common_checks.training_together(SimpleNamespace(num_processes=4))


def test_deepspeed_that_accelerate_has_not_set_up_is_refused():
    args, kind = argparse.Namespace(deepspeed=True), DistributedType
    with pytest.raises(UserError, match="^--deepspeed: accelerate has set up MULTI_CPU instead; take "):
        common_checks.deepspeed_set_up(args, SimpleNamespace(distributed_type=kind.MULTI_CPU))
    common_checks.deepspeed_set_up(args, SimpleNamespace(distributed_type=kind.DEEPSPEED))
    common_checks.deepspeed_set_up(argparse.Namespace(), SimpleNamespace(distributed_type=kind.NO))
