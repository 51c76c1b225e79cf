"""`make export`: what diffusers opens gives what the checkpoint gives; what cannot be exported is one line."""

import json
import os

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTokenizer, CLIPTokenizerFast

from extensions.base import paths
from extensions.evaluation import sampling
from extensions.evaluation.objective import Objective
from extensions.evaluation.prompts import Prompt
from extensions.handing_on import __main__ as verbs
from extensions.handing_on import export
from extensions.model.models import Calls
from extensions.reference import calls, models
from extensions.reference.text import Text
from extensions.text.encoding import encode_sd2, encode_sdxl
from tests.helpers import exporting, run_folders

PIPELINES = {"sdxl": StableDiffusionXLPipeline, "sd2": StableDiffusionPipeline}
EACH = ["sdxl", pytest.param("sd2", marks=pytest.mark.slow)]


def drawn(pipe, prompt: Prompt) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt.text, negative_prompt=prompt.negative, width=64, height=96, num_inference_steps=3, guidance_scale=4.0,
        latents=sampling.first_noise(prompt), output_type="latent",
    ).images  # fmt: skip


def ours(checkpoint, family, standins, prompt: Prompt, objective) -> torch.Tensor:
    """Latents by the reference trainer's models and this project's own sampler; pooled as the file's rule is."""
    loaded = models.load(str(checkpoint), family, torch.float32).models
    text = Text(family, str(standins["tokenizers"]), None)
    for model in loaded.named().values():
        model.eval().requires_grad_(False)
    if family == "sdxl":
        projection = loaded.text_encoders[1].text_projection
        projection.weight.data = projection.weight.data.T.contiguous()

    def encode(ids):
        if family == "sd2":
            return [encode_sd2(ids[0], loaded.text_encoders[0], None)]
        return encode_sdxl(ids, loaded.text_encoders, projection, text.tokenizers[1].eos_token_id)

    def predict(noisy, timesteps, encoded, sizes):
        return loaded.unet(noisy, timesteps, **calls.conditions(encoded, sizes, torch.float32)).sample

    loaded.calls = Calls(encode, predict)
    with torch.no_grad():
        return sampling.Sampler(loaded, text.tokenize, objective).latents(prompt)


@pytest.mark.parametrize("family", EACH)
def test_a_folder_draws_what_the_checkpoint_draws_in_a_pipeline_and_in_ours(family, made, exported, standins):
    """Three ways to the same latents: the folder, diffusers' single-file conversion of the checkpoint, our sampler.

    Ours asks the U-Net for one image at a time, a pipeline for two: that is where the last digits go.
    """
    prompt = Prompt("a red fox, (snow:1.2), at dusk", 64, 96, "a blur", steps=3, guidance=4.0, seed=11)
    folder = exported[family, "diffusers"]
    pipe = PIPELINES[family].from_pretrained(folder, local_files_only=True)
    found = drawn(pipe, prompt)
    theirs = PIPELINES[family].from_single_file(str(made[family]), config=str(folder), local_files_only=True)
    assert type(theirs.scheduler) is type(pipe.scheduler)
    torch.testing.assert_close(found, drawn(theirs, prompt), atol=1e-5, rtol=1e-5)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    objective = Objective("v", pipe.scheduler.config.rescale_betas_zero_snr)
    assert objective.zero_snr == (family == "sdxl") and pipe.scheduler.config.timestep_spacing == "trailing"
    wanted = ours(made[family], family, standins, prompt, objective)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("family", EACH)
def test_a_single_file_is_the_checkpoint_bit_for_bit_and_opens_as_a_pipeline(family, made, exported):
    before, after = load_file(made[family]), load_file(exported[family, "safetensors"])
    for name, tensor in before.items():
        assert torch.equal(after.pop(name), tensor), name
    assert list(after) == (["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"]
                           if family == "sdxl" else [])  # fmt: skip
    folder = str(exported[family, "diffusers"])
    pipe = PIPELINES[family].from_single_file(str(exported[family, "safetensors"]), config=folder)
    prompt = Prompt("a fox", 64, 96, "", steps=3, guidance=4.0, seed=1)
    theirs = PIPELINES[family].from_pretrained(folder)
    torch.testing.assert_close(drawn(pipe, prompt), drawn(theirs, prompt), atol=1e-5, rtol=1e-5)


def test_the_keys_by_which_user_interfaces_open_it(exported):
    """ComfyUI's and A1111's rules (comfy/supported_models.py, modules/sd_models_config.py), in our words."""
    with safe_open(exported["sdxl", "safetensors"], framework="pt") as file:
        keys, metadata = set(file.keys()), file.metadata()
        stored = file.get_tensor("conditioner.embedders.1.model.text_projection")
    assert "conditioner.embedders.1.model.ln_final.weight" in keys  # A1111: an SDXL base
    assert "v_pred" in keys  # both: v-prediction
    assert "ztsnr" in keys and not any(name.startswith("edm") for name in keys)  # ComfyUI: rescale the schedule
    assert metadata["modelspec.prediction_type"] == "v"
    second = load_file(exported["sdxl", "diffusers"] / "text_encoder_2" / "model.safetensors")
    # ComfyUI transposes text_projection to transformers' layout, in which the folder has it; A1111 multiplies by it.
    assert torch.equal(second["text_projection.weight"], stored.T)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_number_is_the_checkpoints_rounded_once(made, tmp_path, dtype):
    called = {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    out = export.export(exporting.wish(made["sd2"], dtype=called, out=tmp_path / "x.safetensors"))
    before, after = load_file(made["sd2"]), load_file(out)
    assert all(torch.equal(after[name], tensor.to(dtype)) for name, tensor in before.items())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", export.DTYPES)
@pytest.mark.parametrize("kind", export.FORMATS)
@pytest.mark.parametrize("family", PIPELINES)
def test_every_kind_is_verified(family, kind, dtype, made, tmp_path, capsys):
    out = tmp_path / f"x{'.safetensors' * (kind == 'safetensors')}"
    export.export(exporting.wish(made[family], format=kind, dtype=dtype, out=out, verify=True))
    said = capsys.readouterr().out
    figures = [float(line.rpartition(": ")[2]) for line in said.splitlines() if line.startswith("  ")]
    assert len(figures) == (4 if family == "sdxl" else 3) and max(figures) <= 1e-5


def test_a_prompt_is_read_as_it_was_trained(exported, standins):
    """The id 0 is padding and an exclamation mark at once; published files take each mark for padding."""
    from extensions.text import chunks

    folder = exported["sdxl", "diffusers"]
    theirs_of = [CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2")]
    theirs_of += [CLIPTokenizerFast.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2")]
    trained = Text("sdxl", str(standins["tokenizers"]), None).tokenizers
    for text in ("a fox!", "!!", "! , !?", "a red fox, 1girl", "ünï ☃"):
        for theirs, own in zip(theirs_of, trained * 2, strict=True):
            assert theirs(text).input_ids[1:-1] == chunks.ids_of(text, own)
    assert [each.pad_token_id for each in theirs_of] == [49407, 0] * 2
    sd2 = CLIPTokenizer.from_pretrained(exported["sd2", "diffusers"] / "tokenizer")
    assert sd2.pad_token_id == 0 and sd2("a fox!").input_ids == trained[0]("a fox!").input_ids


def test_configurations_are_the_published_ones_where_it_matters(exported):
    folder = exported["sdxl", "diffusers"]
    vae = json.loads((folder / "vae" / "config.json").read_text())
    assert (vae["scaling_factor"], vae["force_upcast"]) == (0.13025, True)
    assert json.loads((exported["sd2", "diffusers"] / "vae" / "config.json").read_text())["scaling_factor"] == 0.18215
    encoders = [
        json.loads((folder / name / "config.json").read_text()) for name in ("text_encoder", "text_encoder_2")
    ]
    assert [each["hidden_act"] for each in encoders] == ["quick_gelu", "gelu"]
    assert [each["architectures"] for each in encoders] == [["CLIPTextModel"], ["CLIPTextModelWithProjection"]]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert not any(name.startswith(".") for name in files) and "model_index.json" in files


def test_the_title_is_the_runs(made, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    run_folders.folder_of(tmp_path / "logs", "25022601", "20260301T100000Z", [])
    out = export.export(exporting.wish(made["sdxl"], out=tmp_path / "x.safetensors"))
    with safe_open(out, framework="pt") as file:
        said = file.metadata()
    assert said["modelspec.title"] == "model_out_25022601, optimizer step 3,890"
    assert said["modelspec.description"].startswith("TTE on + 71% UNET") and said["format"] == "pt"


def test_the_last_checkpoint_of_a_run_and_its_averages(standins, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    output = tmp_path / "model_out_25022601"
    bias = "model.diffusion_model.out.2.bias"
    for name, steps, value in (("at-step00000010", 10, 1.0), ("last", 20, 2.0)):
        facts = exporting.FACTS | {"sdxl_trainer.optimizer_steps": str(steps)}
        exporting.checkpoint(
            standins, "sdxl", output / f"{name}.safetensors", facts, **{bias: torch.full((4,), value)}
        )
    facts = facts | {"sdxl_trainer.average": "0.10"}
    averaged = output / "last.ema-0.10.safetensors"
    exporting.checkpoint(standins, "sdxl", averaged, facts, **{bias: torch.full((4,), 3.0)})
    os.utime(output / "at-step00000010.safetensors")  # touched last, and not the last
    assert verbs.main(["export", "--verify=0", "--dtype=fp32", "25022601"]) == 0
    made = output / "export" / "25022601-last-fp32.safetensors"
    assert load_file(made)[bias][0] == 2 and f"exported {made}" in capsys.readouterr().out
    assert verbs.main(["export", "--verify=0", "--dtype=fp32", "--ema=1", str(output) + "/"]) == 0
    with safe_open(output / "export" / "25022601-last.ema-0.10-fp32.safetensors", framework="pt") as file:
        assert file.get_tensor(bias)[0] == 3
        assert file.metadata()["modelspec.title"].endswith("step 20, weights averaged (0.10)")
    assert verbs.main(["export", "--verify=0", "--ema=0.10", "model_out_25022601"]) == 0
