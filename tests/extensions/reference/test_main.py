"""The start of the reference trainer: scripts that it stands for, and the same optimizers as in a run."""

import pytest
import torch

from extensions.base.errors import UserError
from extensions.reference import __main__ as reference
from extensions.reference import flags, train


@pytest.mark.parametrize("words", [["train_network.py", "--v2"], ["--only-check", "train_network.py"]])
def test_a_script_that_it_does_not_stand_for(words):
    with pytest.raises(UserError) as caught:
        reference.main(words)
    known = "a launcher calls sdxl_train.py and fine_tune.py"
    assert str(caught.value) == f"the reference trainer has no script train_network.py; {known}"


@pytest.mark.parametrize("words", [[], ["--only-check"]])
def test_a_word_that_is_missing(words, capsys):
    assert reference.run(words) == UserError.code
    said = capsys.readouterr().err
    assert said.startswith("error: python -m extensions.reference was given no SCRIPT; it is called as")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("script", "family"), flags.SCRIPTS.items())
def test_a_script_trains_its_family(script, family, monkeypatch):
    trained = []
    monkeypatch.setattr(train, "train", lambda args, family: trained.append((args.v2, family)))
    words = ["--pretrained_model_name_or_path=x", "--output_dir=y", "--dataset_class=some.Other"]
    reference.main([script, *words, *(["--v2"] if family == "sd2" else [])])
    assert trained == [(family == "sd2", family)]


def test_its_optimizer_and_schedule_are_those_of_one_process():
    trainer = reference.Reference()
    args = trainer.parser("sdxl_train.py").parse_args(["--lr_scheduler=linear", "--max_train_steps=10"])
    made = trainer.optimizer(args, [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1e-3}])
    schedule = trainer.schedule(args, made)
    assert type(made) is torch.optim.AdamW
    rates = []
    for _ in range(10):
        made.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates == pytest.approx([1e-3 * left / 10 for left in range(9, -1, -1)])
