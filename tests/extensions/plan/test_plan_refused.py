"""`make plan`: bad input is one line before anything is printed; which card a plan is for."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.plan import plan
from extensions.plan import tables as plan_tables
from extensions.plan.__main__ import main

BAD = [
    ("25022611", {}, "there is no run 25022611; near it"),
    ("", {}, "make plan needs a run"),
    ("25022601", {"GPUS": "0"}, "GPUS=0 is not a whole number from 1 up"),
    ("25022601", {"NNODES": "two"}, "NNODES=two is not a whole number from 1 up"),
    ("25022601", {"VRAM": "lots"}, "VRAM=lots is not a number of GB above 0"),
    ("25022601", {"IMG_S": "0"}, "IMG_S=0 is not a number of images a second above 0"),
    ("25022601", {"IMG_S": "nan"}, "IMG_S=nan is not"),
    ("25022601", {"IMAGES": "-4"}, "IMAGES=-4 is not a whole number"),
    ("25022601", {"PROFILE": "tiny"}, "make plan is about the full-size run"),
    ("25022601", {"TRAINER": "mine"}, "TRAINER=mine is unknown"),
    ("25022601", {"ARGS": "'--a"}, "ARGS=.* cannot be read"),
    ("25022601", {"ARGS": "--unet_percent=140"}, "--unet_percent=140 is not a percentage above 0 and up to 100"),
    ("25022601", {"ARGS": "--unet_percent=all"}, "--unet_percent=all is not a number"),
    ("25022601", {"ARGS": "--train_batch_size=0"}, "--train_batch_size=0 is not a whole number from 1 up"),
    ("25022601", {"ARGS": "--max_train_epochs=0"}, "--max_train_epochs=0 is not"),
    ("25022601", {"ARGS": "--mixed_precision=no"}, "--full_bf16 needs --mixed_precision=bf16"),
    ("25022601", {"ARGS": "--resolution=huge"}, "--resolution=huge is neither"),
    (
        "25031101",
        {"ARGS": "--stop_at_step=5"},
        "--stop_at_step=5 is not after optimizer step 10000, where the run starts",
    ),
    ("24121401", {"ARGS": "--learning_rate=0"}, "nothing to train"),
    ("25022301", {"ARGS": "--zero_stage=3"}, "--zero_stage=3 splits the weights"),
    ("25022601", {"ARGS": "--deepspeed --optimizer_type=AdaFactor"}, "AdaFactor does not work with --deepspeed"),
    (
        "25022601",
        {"ARGS": "--extensions=unet_percent,bf16_updates --deepspeed --bf16_updates=kahan"},
        "--deepspeed and the plugin bf16_updates exclude each other",
    ),
]


@pytest.mark.parametrize(("run", "variables", "message"), BAD)
def test_bad_input_is_one_line_before_anything_is_printed(run, variables, message, capsys):
    with pytest.raises(UserError, match=message) as caught:
        plan_tables.show(run, variables, lambda _: None)
    assert "\n" not in str(caught.value) and capsys.readouterr().out == ""


def test_the_command_ends_with_2_and_one_line(capsys):
    assert exit_code_of(main, ["25022611"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_header_without_a_card_asks_for_one():
    made = plan.read("25022601", {})
    with pytest.raises(UserError, match="give VRAM=24"):
        plan.card_of({}, replace(made.head, hardware="4x something"))


def test_a_card_in_this_machine_wins_over_the_header(monkeypatch):
    import torch

    head = plan.read("25022601", {}).head
    monkeypatch.setattr(plan.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert plan.card_of({}, head) == (24.0, "the launcher's header")
    cards = [SimpleNamespace(total_memory=gb * 2**30) for gb in (48, 32)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", cards.__getitem__)
    assert plan.card_of({}, head) == (32.0, "this machine")
    assert plan.card_of({"VRAM": "12"}, head) == (12.0, "VRAM")
