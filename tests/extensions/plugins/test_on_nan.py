"""NaN ends the run before the weights are spoiled, names the samples, and can be rolled back."""

import errno
import json
from pathlib import Path

import pytest

from extensions import loop
from extensions.base.errors import NotFinite, UserError
from extensions.plugins import on_nan
from extensions.resume import skipped, states
from tests.helpers import small_trainer
from tests.helpers.small_trainer import Images, Keys, flags, net, train


def poisoned_at(folder, step, **changed):
    """(flags under which optimizer step `step` meets a poisoned sample, that sample's row)."""
    sound = train(flags(folder / "sound", **changed))
    ids = sound.seen[(step - 1) * 2][1]
    row = int(ids[0].removeprefix("image-"))
    return flags(folder, poison=(row,), states_every_n_steps=1, run_folder=folder, **changed), row


def test_it_stops_before_the_update_and_names_everything(tmp_path):
    args, row = poisoned_at(tmp_path, 4)
    with pytest.raises(NotFinite) as caught:
        train(args)
    line = str(caught.value)
    assert caught.value.code == 76 and "\n" not in line
    assert line.startswith("gradients not finite at optimizer step 4") and f"image-{row}" in line
    assert "step00000003" in line and not (tmp_path / skipped.REQUEST).exists()
    last = states.newest_good(states.folder_of(tmp_path))
    assert last.optimizer_steps == 3


def test_a_rollback_goes_on_without_those_samples(tmp_path):
    args, row = poisoned_at(tmp_path, 4, in_json="16")
    args.on_nan = "rollback"
    with pytest.raises(NotFinite):
        train(args)
    request = json.loads((tmp_path / skipped.REQUEST).read_text())
    assert request["optimizer_step"] == 4 and f"image-{row}" in request["samples"] and len(request["samples"]) == 2
    left_out = {int(key.removeprefix("image-")) for key in request["samples"]}
    back_to = states.read(request["state"])
    assert back_to.optimizer_steps == 3 and skipped.of_state(back_to, tmp_path, Images(16, 1)).keys() == left_out
    args.resume_mode, args.resume_from = "exact", states.folder_of(tmp_path) / "step00000003"
    second = train(args)
    assert second.run.optimizer_steps == 8
    seen = {key for _, keys in second.seen for key in keys}
    assert not seen & set(request["samples"])
    last = states.newest_good(states.folder_of(tmp_path))
    carried = {(row, key) for row, _, key in last.facts.skipped}  # the state carries them itself
    assert carried == {(row, f"image-{row}") for row in left_out}
    # Every other batch is where it was.
    whole = train(flags(tmp_path / "whole", in_json="16"))
    kept_places = [
        (a, b) for a, b in zip(second.seen, whole.seen[6:], strict=True) if not set(b[1]) & set(request["samples"])
    ]
    assert kept_places and all(a == b for a, b in kept_places)


def test_a_machine_that_does_not_see_the_state_keeps_all_from_rolling_back(tmp_path, monkeypatch):
    args, _ = poisoned_at(tmp_path, 4)
    args.on_nan = "rollback"

    def of_two(_, mine):
        return [mine, False if mine is True else mine]

    monkeypatch.setattr(on_nan, "from_all", of_two)
    with pytest.raises(NotFinite, match="step00000003, but process 1 cannot read it: all machines need the same"):
        train(args)
    assert not (tmp_path / skipped.REQUEST).exists()
    assert skipped.of_state(states.newest_good(states.folder_of(tmp_path)), tmp_path, Images(13, 1)) == {}


def test_what_stood_in_for_a_corrupt_image_is_named_and_left_out(tmp_path):
    """The plan says `planned`, which no process has read; its stand-in makes NaN, wherever it stands in."""
    shape = dict(in_json="16", states_every_n_steps=1, run_folder=tmp_path, on_nan="rollback")
    sound = train(flags(tmp_path / "sound", in_json="16")).seen
    planned, culprit = (int(sound[place][1][0].removeprefix("image-")) for place in (6, 15))  # of the steps 4 and 8
    args = flags(tmp_path, poison=(culprit,), replaced={planned: (culprit,)}, **shape)
    with pytest.raises(NotFinite, match="at optimizer step 4; its samples: ") as caught:
        train(args)
    named = str(caught.value).partition("its samples: ")[2].partition(";")[0].split(", ")
    assert named == [f"image-{culprit}", *sound[7][1]]
    assert json.loads((tmp_path / skipped.REQUEST).read_text())["samples"] == named
    args.resume_mode, args.resume_from = "exact", states.folder_of(tmp_path) / "step00000003"
    second = train(args)
    assert second.run.optimizer_steps == 8 and second.seen[0] == sound[6]
    carried = states.newest_good(states.folder_of(tmp_path)).facts.skipped
    assert {key for _, _, key in carried} == set(named)


def test_with_other_data_the_images_stay_left_out_and_not_their_rows(tmp_path, monkeypatch, capsys):
    """The same images in another order, and one that is gone."""
    args, _ = poisoned_at(tmp_path, 4, in_json="16")
    args.on_nan = "rollback"
    with pytest.raises(NotFinite):
        train(args)
    gone, stays = json.loads((tmp_path / skipped.REQUEST).read_text())["samples"]

    class Others(Images):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            keys = [f"image-{row}" for row in range(16)]
            self.metadata = Keys(key if key != gone else "new" for key in reversed(keys))
            self.fingerprint = "others"

    monkeypatch.setattr(small_trainer, "Images", Others)
    args.resume_mode, args.resume_from = "exact", states.folder_of(tmp_path) / "step00000003"
    args.resume_allow, args.poison, args.max_train_steps = "data,flags", (), 16
    capsys.readouterr()
    second = train(args)
    seen = {key for _, keys in second.seen for key in keys}
    assert seen == {*(f"image-{row}" for row in range(16)), "new"} - {gone, stays}
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("roll-backs left out")]
    assert said == [f"roll-backs left out {gone}: not in these data, or not to be found; dropped"]


def test_a_run_begun_again_knows_nothing_of_an_earlier_life(tmp_path):
    args, _ = poisoned_at(tmp_path, 4, in_json="16")
    args.on_nan = "rollback"
    with pytest.raises(NotFinite):
        train(args)
    train(flags(tmp_path, in_json="16", states_every_n_steps=1, stop_at_step=3))  # the data were mended
    again = states.newest_good(states.folder_of(tmp_path))
    assert again.optimizer_steps == 3 and skipped.of_state(again, tmp_path, Images(16, 1)) == {}


def test_without_a_state_there_is_nothing_to_roll_back_to(tmp_path):
    args, _ = poisoned_at(tmp_path, 1)
    args.on_nan = "rollback"
    with pytest.raises(NotFinite, match="no state was saved yet"):
        train(args)
    assert not (tmp_path / skipped.REQUEST).exists()


def test_a_loss_that_no_gradient_shows(tmp_path, monkeypatch):
    """Fused backward passes never call the optimizer's step."""
    monkeypatch.setattr(on_nan.Plugin, "look", lambda self, optimizer: None)
    args, _ = poisoned_at(tmp_path, 3)
    with pytest.raises(NotFinite, match="loss not finite at optimizer step 3"):
        train(args)
    assert states.newest_good(states.folder_of(tmp_path)).optimizer_steps == 2


def test_a_sound_run_is_not_changed(tmp_path):
    with_it = train(flags(tmp_path / "a"))
    without = train(flags(tmp_path / "b", extensions="resume_at_step,save_states"))
    assert with_it.losses == without.losses
    assert loop.current().position is not None and Images(3, 1) and net()


def test_refused(tmp_path):
    with pytest.raises(UserError, match="add save_states"):
        train(flags(tmp_path, extensions="resume_at_step,on_nan", on_nan="rollback"))
    with pytest.raises(UserError, match="a launcher's work.*start it by make train"):
        train(flags(tmp_path, on_nan="rollback"))
    with pytest.raises(UserError, match="--on_nan_limit: '0' is not a whole number from 1 up"):
        flags(tmp_path, "--on_nan_limit=0")
    with pytest.raises(UserError, match="--on_nan: invalid choice: 'go on'"):
        flags(tmp_path, "--on_nan=go on")


@pytest.mark.parametrize("name", [skipped.REQUEST, skipped.FILE])
def test_a_full_disk_keeps_from_rolling_back_and_hides_no_reason(tmp_path, monkeypatch, name):
    args, _ = poisoned_at(tmp_path, 4)
    args.on_nan = "rollback"

    def full(write):
        def maybe(path, text):
            if Path(path).name == name:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            write(path, text)

        return maybe

    for module in (on_nan, skipped):
        monkeypatch.setattr(module, "write_text", full(module.write_text))
    said = rf"gradients not finite at optimizer step 4; .*step00000003, but there is no roll-back: .*{name} cannot be"
    with pytest.raises(NotFinite, match=said):
        train(args)
    assert not (tmp_path / skipped.REQUEST).exists()
    assert skipped.of_state(states.newest_good(states.folder_of(tmp_path)), tmp_path, Images(13, 1)) == {}
