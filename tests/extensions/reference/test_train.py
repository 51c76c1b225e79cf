"""What trains, in which mode and dtype, before the first step. The loop itself: tests/end_to_end."""

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

from extensions import manager
from extensions.reference import flags, train

COMMON = ["--dataset_class=extensions.data.dataset.LatentsDataset", "--gradient_checkpointing", "--seed=1"]


@pytest.fixture
def training(standins, tmp_path, monkeypatch):
    """A run that is prepared, from flags."""
    forget_accelerate()

    def prepared(*words):
        given = [
            f"--pretrained_model_name_or_path={standins['sdxl']}", f"--tokenizer_cache_dir={standins['tokenizers']}",
            f"--in_json={standins['meta_sdxl']}", f"--train_data_dir={standins['data_sdxl']}",
            f"--output_dir={tmp_path}",
        ]  # fmt: skip
        args = flags.parser("sdxl_train.py").parse_args([*COMMON, *given, *words])
        monkeypatch.setattr(manager, "_args", args)
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        run = train.Training(args, "sdxl")
        run.prepare()
        return run

    yield prepared
    forget_accelerate()


def forget_accelerate():
    """accelerate keeps one state a process: another precision would be refused."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_text_encoders_only_leaves_the_unet_frozen_and_one_layer_without_use(training):
    run = training(
        "--learning_rate=0", "--train_text_encoder", "--learning_rate_te1=1e-5", "--learning_rate_te2=1e-5"
    )
    unet, (first, second) = run.models.unet, run.models.text_encoders
    assert not any(p.requires_grad for p in unet.parameters())
    last = set(first.text_model.encoder.layers[-1].parameters()) | set(first.text_model.final_layer_norm.parameters())
    assert {p for p in first.parameters() if not p.requires_grad} == last
    assert all(p.requires_grad for p in second.parameters()) and second.training
    assert run.group_names == ["text_encoder1", "text_encoder2"]


def test_unet_only_leaves_the_text_encoders_frozen_in_the_working_dtype(training):
    run = training("--mixed_precision=bf16", "--learning_rate=1e-5")
    assert {p.dtype for p in run.models.unet.parameters()} == {torch.float32}
    for encoder in run.models.text_encoders:
        assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())
        assert {p.dtype for p in encoder.parameters()} == {torch.bfloat16}


def test_full_bf16_is_bf16_everywhere_also_in_the_optimizers_groups(training):
    run = training("--mixed_precision=bf16", "--full_bf16", "--train_text_encoder", "--learning_rate=1e-5")
    models = run.models.named().values()
    assert {p.dtype for model in models for p in model.parameters()} == {torch.bfloat16}
    held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for model in models for p in model.parameters()}


def test_epochs_become_optimizer_steps(training):
    run = training("--max_train_epochs=3", "--gradient_accumulation_steps=4", "--learning_rate=1e-5")
    batches = len(run.loader)
    assert run.args.max_train_steps == 3 * -(-batches // 4)
