"""Keys and tokens: none in a run folder, on a command line, in a log, a state or a checkpoint."""

import json
import os
import subprocess
from pathlib import Path

from extensions.base.paths import LAUNCHERS
from extensions.logbook import registry
from tests.helpers.launching import launch

KEY, TOKEN, OWN = "5ecret5ecret5ecret5ecret", "hf_" + "t0ken" * 8, "0wn-5ecret-0f-a-plugin"

PLUGIN = """
import glob, os
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl

class Plugin:
    neutral = True
    flags = (Flag("service_token", str, "for a service"),)

    @hookimpl
    def training_begins(self, run):
        lines = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                lines.append(open(path, "rb").read().replace(b"\\0", b" "))
            except OSError:
                pass
        shown = b"\\n".join(lines)
        at_hand = [run.args.service_token, os.environ.get("WANDB_API_KEY"), os.environ.get("HF_TOKEN")]
        with open(os.environ["SEEN"], "w") as file:
            file.write(repr([at_hand, [each.encode() in shown for each in at_hand]]))
"""


def files_with(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_run_with_three_secrets(standins, tmp_path):
    """Two of upstream's flags, one of a plugin from outside; in a launcher and in ARGS."""
    (tmp_path / "code" / "mine").mkdir(parents=True)
    (tmp_path / "code" / "mine" / "telling.py").write_text(PLUGIN)
    plugins = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,record_run,mine.telling"
    words = f"--extensions={plugins} --wandb_api_key={KEY} --huggingface_token {TOKEN} --service_token={OWN}"
    run = launch(
        "25022601", tmp_path / "output", PROFILE="tiny", TRAINER="reference", TINY_STEPS=1, ARGS=words,
        SEEN=tmp_path / "seen", PYTHONPATH=tmp_path / "code",
    )  # fmt: skip
    assert run.code == 0, run.said[-2000:]
    assert (tmp_path / "seen").read_text() == repr([[OWN, KEY, TOKEN], [False, False, False]])
    for secret in (KEY, TOKEN, OWN):
        assert secret not in run.said and files_with(tmp_path / "output", secret) == []
    command = (run.folder / "command.sh").read_text()
    for name in ("WANDB_API_KEY", "HF_TOKEN", "SERVICE_TOKEN"):
        assert f"=${name}'" in command and f"# ${name} is a secret: export it first" in command
    assert run.folder.stat().st_mode & 0o777 == 0o700
    assert run.manifest["flags"]["service_token"] == "$SERVICE_TOKEN"
    done = subprocess.run(["bash", run.folder / "command.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "$WANDB_API_KEY: that variable is not set; export it" in done.stderr


def test_a_dry_run_shows_none(tmp_path):
    environment = os.environ | {"DRY_RUN": "1", "CPU": "1", "TRAINER": "reference", "OUTPUT": str(tmp_path)}
    for args in (f"--wandb_api_key={KEY}", f"--wandb_api_key '{KEY}'", f"--log_tracker_name=https://me:{KEY}@host/x"):
        done = subprocess.run(
            [LAUNCHERS / "25022601.sh"], env=environment | {"ARGS": args}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and KEY not in done.stdout + done.stderr, done.stderr


def test_a_launcher_that_holds_one(tmp_path):
    """What tells of a launcher tells no key."""
    text = (LAUNCHERS / "25022601.sh").read_text().replace('"$(dirname "$0")/lib', f'"{LAUNCHERS}/lib')
    script = tmp_path / "26010101.sh"
    script.write_text(text.replace("  --log_with=tensorboard", f"  --log_with=tensorboard\n  --wandb_api_key={KEY}"))
    assert KEY not in json.dumps(registry.read(script).flags)
