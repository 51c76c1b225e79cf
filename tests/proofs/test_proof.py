"""What `make proof` is made of, and the proof itself."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from extensions.base.errors import UserError
from extensions.launch.stages import SD_SCRIPTS
from extensions.model import published
from extensions.model.checkpoint import TE2_SDXL, UNET, read_header
from extensions.resume import states
from tests.proofs import drawn, learned, pictures, proof

TEXTS = range(len(pictures.PICTURES))


@pytest.fixture(scope="module")
def ready(standins, tmp_path_factory):
    return pictures.made(tmp_path_factory.mktemp("proof") / "set", standins)


@pytest.fixture(scope="module")
def tokenizer(standins):
    folders = sorted(standins["tokenizers"].iterdir())
    return CLIPTokenizer.from_pretrained(next(folder for folder in folders if "openai" in folder.name))


def test_the_long_texts_differ_behind_their_first_75_tokens_only(tokenizer):
    one, other = (drawn.chunks(tokenizer, pictures.PICTURES[number].text) for number in pictures.EQUAL_AT_FIRST)
    assert torch.equal(one[0], other[0]) and len(one) == len(other) == 2
    assert not torch.equal(one[1], other[1])


def test_every_text_is_its_own(tokenizer):
    texts = [picture.text for picture in pictures.PICTURES]
    assert len(set(texts)) == len(texts) == 8
    assert all(not pictures.PICTURES[number].caption for number in pictures.TAGS_ONLY)


def test_the_base_has_the_published_layout_and_the_pictures_their_latents(ready):
    published.check(read_header(ready.base), "sdxl")
    assert ready.targets.shape == (8, 4, 16, 16) and all(path.is_file() for path in ready.pictures)
    apart = torch.cdist(ready.targets.flatten(1), ready.targets.flatten(1)) + 1e9 * torch.eye(8)
    assert apart.min() > 30
    projection = load_file(ready.base)[TE2_SDXL + "text_projection"]
    assert torch.equal(projection, projection.T)


def found(nearest: dict[int, int], same: bool = False) -> drawn.Drawn:
    """Draws whose nearest picture is their own, but for those named; same: the long texts gave the same latents."""
    seeds = len(drawn.SEEDS)
    latents = torch.arange(8.0).reshape(8, 1, 1, 1, 1).repeat(1, seeds, 1, 1, 1)
    if same:
        one, other = pictures.EQUAL_AT_FIRST
        latents[other] = latents[one]
    own = torch.tensor([nearest.get(number, number) for number in TEXTS])
    return drawn.Drawn(latents, own[:, None].repeat(1, seeds))


@pytest.mark.parametrize(
    ("nearest", "said"),
    [
        ({}, ""),
        ({0: 1}, ""),  # seven of eight
        ({0: 1, 1: 2}, "only 24 draws are right"),
        ({4: 5}, "the long texts are not told apart"),
        ({7: 6}, "the tags are not told apart"),
    ],
)
def test_what_is_learned(nearest, said):
    assert learned.learned(found(nearest)) == said


def test_what_upstream_loses():
    one, other = pictures.EQUAL_AT_FIRST
    lost = {other: one, pictures.TAGS_ONLY[1]: pictures.TAGS_ONLY[0]}
    assert learned.lost_as_upstream(found(lost, same=True)) == ""
    assert "two pictures" in learned.lost_as_upstream(found(lost))
    assert learned.lost_as_upstream(found({other: one}, same=True)) == "the tags are told apart"
    assert "not learned" in learned.lost_as_upstream(found(lost | {0: 1}, same=True))


def test_frozen_blocks_are_named_by_the_recorded_facts(ready, tmp_path):
    moved = {name: tensor + 1 if name.startswith(UNET) else tensor for name, tensor in load_file(ready.base).items()}
    save_file(moved, tmp_path / "moved.safetensors")
    assert "are not as unet_percent=71 says" in learned.not_frozen(ready.base, tmp_path / "moved.safetensors")
    assert not learned.equal(ready.base, tmp_path / "moved.safetensors")
    assert learned.equal(ready.base, ready.base)


def test_half_way_is_the_state_of_then_alone(tmp_path):
    whole, output = tmp_path / "whole", tmp_path / "output"
    for steps in (300, 600):
        (states.folder_of(whole) / states.name_of(steps)).mkdir(parents=True)
    (whole / "last.safetensors").touch()
    proof.half_way(whole, output, 600)
    assert [path.name for path in states.folder_of(output).iterdir()] == [states.name_of(300)]
    assert not (output / "last.safetensors").exists()


def test_a_nearest_picture_is_counted_by_seed():
    targets = torch.stack([torch.full((4, 2, 2), float(number)) for number in range(8)])
    latents = targets[:, None].repeat(1, 4, 1, 1, 1)
    latents[3, 0] = targets[5]
    seen = drawn.nearest_of(latents, targets)
    assert seen[3].tolist() == [5, 3, 3, 3]
    assert drawn.Drawn(latents, seen).right(TEXTS) == 31 and drawn.Drawn(latents, seen).share([3]) == 0.75


def test_without_means_a_darker_picture_is_the_same_picture():
    targets = torch.randn(8, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    latents = (targets + 3 * torch.arange(8.0).view(8, 1, 1, 1))[:, None]
    assert drawn.nearest_of(latents, targets, means=False)[:, 0].tolist() == list(TEXTS)
    assert drawn.nearest_of(latents, targets)[:, 0].tolist() != list(TEXTS)


def test_an_unknown_trainer_is_refused():
    with pytest.raises(UserError, match="TRAINER=mine: there are"):
        proof.chosen("mine")
    assert [row.name for row in proof.chosen("reference")] == ["learned", "share", "resumed", "epsilon", "flow"]


@pytest.mark.slow
@pytest.mark.upstream
def test_a_model_learns_its_texts(tmp_path):
    assert proof.app([f"--out={tmp_path}", f"--trainer={SD_SCRIPTS}"], standalone_mode=False) == 0
    assert (tmp_path / "proof.png").is_file()
