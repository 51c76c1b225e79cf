"""Every module has its test: tests/<same folders>/test_<module>.py, or a line here that says which test covers it.

A file test_<module>_<more>.py is a further part of the same test.
"""

from pathlib import Path

import pytest

from extensions.base.paths import ROOT

# What is tested by way of another file's test, where it is used.
COVERED = {
    "averages/beside": "../end_to_end/test_averages_run.py",
    "averages/ranks": "averages/test_shown.py",
    "averages/shares": "averages/test_snapshots.py",
    "data/batches": "data/test_dataset.py",
    "data/composing": "data/test_dataset_fields.py",
    "data/hashing": "data/test_order.py",
    "data/index/layout": "data/index/test_reader.py",
    "data/latents": "data/test_npz.py",
    "data/make/wish": "data/make/test_encode.py",
    "data/outputs/header": "data/outputs/test_store.py",
    "data/outputs/layout": "data/outputs/test_store.py",
    "data/outputs/made_with": "plugins/test_text_outputs.py",
    "data/outputs/write": "data/outputs/test_store.py",
    "data/pack/header": "data/pack/test_store.py",
    "data/pack/places": "data/pack/test_store.py",
    "data/pack/plan": "data/pack/test_make.py",
    "data/pack/write": "data/pack/test_make.py",
    "data/store": "data/pack/test_store.py",
    "flags/pairs": "flags/test_contradictions.py",
    "handing_on/__main__": "handing_on/test_export.py",
    "handing_on/evidence": "handing_on/test_verify.py",
    "handing_on/facts": "handing_on/test_card.py",
    "handing_on/kept": "handing_on/test_verify.py",
    "handing_on/licences": "handing_on/test_card.py",
    "handing_on/pictures": "handing_on/test_card.py",
    "handing_on/subject": "handing_on/test_card.py",
    "handing_on/looking": "../end_to_end/test_blends_run.py",
    "handing_on/loaded": "handing_on/test_export.py",
    "handing_on/stored": "handing_on/test_export.py",
    "launch/__main__": "../end_to_end/test_tiny_run.py",
    "launch/command": "launch/test_machines.py",
    "launch/copying": "launch/test_ramdisk.py",
    "launch/text_outputs": "../end_to_end/test_text_outputs_run.py",
    "launch/run_folder": "launch/test_machines.py",
    "logbook/__main__": "logbook/test_commands.py",
    "logbook/diff": "logbook/test_commands.py",
    "logbook/header": "logbook/test_registry.py",
    "logbook/tables": "logbook/test_commands.py",
    "model/diffusion": "reference/test_noise.py",
    "model/losses": "upstream/test_noising.py",
    "model/shapes_text": "model/test_shapes.py",
    "model/shapes_unet": "model/test_shapes.py",
    "model/shapes_vae": "model/test_shapes.py",
    "model/sizes": "upstream/test_shapes.py",
    "plan/__main__": "plan/test_plan.py",
    "plan/tables": "plan/test_plan.py",
    "reference/calls": "plugins/test_validate.py",
    "report/differing": "report/test_compared.py",
    "resume/parts": "resume/test_capture.py",
    "resume/pending_checkpoints": "../end_to_end/test_owed_checkpoints.py",
    "resume/process_notes": "resume/test_writer_processes.py",
    "resume/same_start": "plugins/test_resume_at_step.py",
    "resume/schedule": "plugins/test_resume_at_step.py",
    "standins/ensure": "standins/test_datasets.py",
    "standins/model_sd2": "standins/test_checkpoints.py",
    "standins/model_sdxl": "standins/test_checkpoints.py",
    "standins/recipe": "standins/test_checkpoints.py",
    "standins/weights": "standins/test_checkpoints.py",
    "text/composing": "plugins/test_dual_tag.py",
    "upstream/calls": "plugins/test_validate.py",
    "upstream/fired": "upstream/test_silent.py",
    "upstream/git": "upstream/test_reading.py",
    "upstream/patches": "../patches/test_patches.py",
    "upstream/tree": "../patches/test_patches.py",
    "upstream/wrappers": "upstream/test_seams.py",
}
# Tests of what no single module does.
TESTS = ROOT / "tests" / "extensions"
OF_SEVERAL = {"standins/test_checkpoints.py", "test_walls.py"}


def modules() -> list[str]:
    """Every module of extensions/ that is not a package's head, as folder/name."""
    found = (path.relative_to(ROOT / "extensions") for path in (ROOT / "extensions").rglob("*.py"))
    return sorted(str(path.with_suffix("")) for path in found if path.stem != "__init__")


def stem(module: str) -> str:
    return "main" if module.endswith("__main__") else Path(module).name


@pytest.mark.parametrize("module", modules())
def test_every_module_has_its_test(module):
    own = (TESTS / module).with_name(f"test_{stem(module)}.py")
    if module in COVERED:
        assert (TESTS / COVERED[module]).resolve().is_file() and not own.exists()
    else:
        assert own.is_file()


def test_the_table_names_modules_that_there_are():
    assert set(COVERED) <= set(modules())


def test_every_test_is_of_a_module():
    names = {str(Path(module).with_name(f"test_{stem(module)}")) for module in modules()}
    found = {str(path.relative_to(TESTS).with_suffix("")) for path in TESTS.rglob("test_*.py")}
    strays = {name for name in found if not any(name == own or name.startswith(f"{own}_") for own in names)}
    assert {f"{name}.py" for name in strays} == OF_SEVERAL
