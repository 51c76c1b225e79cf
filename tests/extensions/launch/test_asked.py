"""What a launcher and its caller ask for: every word in its place, and one line for each that has none."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.flags.words import Flags
from extensions.launch import asked as request
from extensions.launch.machines import Machines
from tests.helpers import asking

NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).map("z_{}".format)  # of no flag that is looked at
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
WORDS = st.lists(
    st.one_of(NAMES.map("--{}".format), st.tuples(NAMES, VALUES).map(lambda two: "--{}={}".format(*two)))
)


def test_nothing_but_a_script():
    made = request.read(["1", "sdxl_train.py"], {})
    plain = request.Asked(run="1", script="sdxl_train.py", flags=Flags(), extra=Flags(), gpus=1)
    assert made == plain and made.machines == Machines() and made.trainer == "sd-scripts" and not made.cpu


@given(words=WORDS)
def test_flags_are_the_launchers_words(words):
    made = request.read(["1", "GPUS=2", "PARENT=0", "fine_tune.py", *words], {})
    assert made.flags == Flags(words) and made.notes == () and (made.gpus, made.parent) == (2, "0")


@pytest.mark.parametrize(
    ("facts", "environment", "found"),
    [
        (["GPUS=4"], {}, {"gpus": 4, "gpus_asked": False}),
        (["GPUS=4"], {"GPUS": "4"}, {"gpus": 4, "gpus_asked": True}),
        (["GPUS="], {}, {"gpus": 1}),
        (["RAMDISK=1", "NUMA=0"], {}, {"ramdisk": True, "numa": 0, "numa_asked": False}),
        (["RAMDISK=0", "NUMA=1"], {"NUMA": "1"}, {"ramdisk": False, "numa": 1, "numa_asked": True}),
        (["NUMA=none"], {}, {"numa": None}),
        ([], {"PROFILE": "tiny", "TINY_STEPS": "20"}, {"tiny": True, "tiny_steps": 20, "cpu": True}),
        ([], {"CPU": "1"}, {"tiny": False, "tiny_steps": 8, "cpu": True}),
        ([], {"CPU": "0"}, {"cpu": False}),
        ([], {"TRAINER": "reference"}, {"trainer": "reference", "trainer_asked": True}),
        ([], {"TRAINER": ""}, {"trainer": "sd-scripts", "trainer_asked": False}),
        ([], {"SD_SCRIPTS_REF": "v1"}, {"sd_scripts_commit": "v1"}),
        (["SD_SCRIPTS_REF=v2"], {"SD_SCRIPTS_REF": "v1"}, {"sd_scripts_commit": "v2"}),
        ([], {"RESUME": "parent"}, {"resume": "parent", "force": False}),
        ([], {"FORCE": "1", "DRY_RUN": "1", "STEP": "7"}, {"force": True, "dry_run": True, "batch_step": 7}),
        (["RAMDISK=yes"], {"FORCE": "true", "DRY_RUN": "yes"}, {"force": True, "dry_run": True, "ramdisk": True}),
        (["RAMDISK=no"], {"FORCE": "false", "DRY_RUN": "no"}, {"force": False, "dry_run": False, "ramdisk": False}),
        ([], {"FORCE": "0", "DRY_RUN": "0", "STEP": ""}, {"force": False, "dry_run": False, "batch_step": 0}),
    ],
)
def test_facts_and_variables(facts, environment, found):
    made = asking.asked(facts=facts, **environment)
    assert {name: getattr(made, name) for name in found} == found


@pytest.mark.parametrize(
    ("facts", "environment", "line"),
    [
        (["GPUS=0"], {}, "GPUS=0 is not a whole number from 1 to 128"),
        (["GPUS=two"], {}, "GPUS=two is not a whole number"),
        (["NUMA=-1"], {}, "NUMA=-1 is not a whole number from 0 up"),
        (["NUMA=a"], {}, "NUMA=a is not a whole number"),
        (["RAMDISK=on"], {}, "RAMDISK=on is neither yes nor no: give RAMDISK=1 or RAMDISK=0"),
        ([], {"CPU": "on", "PROFILE": "tiny"}, "CPU=on is neither yes nor no"),
        ([], {"DRY_RUN": "please"}, "DRY_RUN=please is neither yes nor no"),
        ([], {"FORCE": "2"}, "FORCE=2 is neither yes nor no"),
        ([], {"RESUME": "auto", "FORCE": "true"}, "RESUME=auto goes on and FORCE=1 starts over"),
        ([], {"TINY_STEPS": "0"}, "TINY_STEPS=0 is not a whole number from 1 up"),
        ([], {"TINY_STEPS": "x"}, "TINY_STEPS=x is not a whole number"),
        ([], {"STEP": "0"}, "STEP=0 is not a whole number from 1 up"),
        ([], {"PROFILE": "huge"}, "PROFILE=huge is unknown; there is PROFILE=tiny"),
        ([], {"TRAINER": "other"}, "TRAINER=other is unknown; there is sd-scripts, reference"),
        (
            [],
            {"TRAINER": "reference", "SD_SCRIPTS_REF": "v1"},
            "SD_SCRIPTS_REF=v1 has no effect on TRAINER=reference",
        ),
        ([], {"RESUME": "yes"}, "RESUME=yes is unknown; there is RESUME=auto and RESUME=parent"),
        ([], {"RESUME": "auto", "FORCE": "1"}, "RESUME=auto goes on and FORCE=1 starts over"),
        ([], {"ARGS": "word"}, "'word' stands before any flag"),
        ([], {"ARGS": "--a='"}, 'ARGS="--a=\'" cannot be read'),
        ([], {"NODE_RANK": "1"}, "NODE_RANK is set without NNODES"),
    ],
)
def test_what_is_malformed_is_one_line(facts, environment, line):
    with pytest.raises(UserError) as caught:
        asking.asked(facts=facts, **environment)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


@pytest.mark.parametrize("rest", [[], ["GPUS=1"], ["GPUS=1", "--seed=1"], ["--seed=1"]])
def test_a_launch_without_a_trainer(rest):
    with pytest.raises(UserError, match=r"^train/26010101.sh: launch needs a trainer first, e.g. launch"):
        request.read(["26010101", *rest], {})


def test_args_win_and_are_kept_apart():
    made = asking.asked("--seed=1", "--v2", ARGS="--seed=2 --output_dir='a b'")
    assert made.flags.as_dict() == {"seed": "2", "v2": True, "output_dir": "a b"}
    assert made.extra.as_dict() == {"seed": "2", "output_dir": "a b"}


def test_args_replace_the_launchers_attention_with_a_note():
    made = asking.asked("--xformers", "--seed=1", ARGS="--sdpa")
    assert made.flags.as_dict() == {"seed": "1", "sdpa": True} and made.notes == ("ARGS: --sdpa replaces --xformers",)


def test_the_callers_own_variables_are_the_default(monkeypatch):
    monkeypatch.setenv("TRAINER", "reference")
    assert request.read(["1", "sdxl_train.py"]).trainer == "reference"
    assert request.read(["1", "sdxl_train.py"], {}).trainer == "sd-scripts"


def test_what_launch_sh_hands_over_is_read_to_the_letter(tmp_path):
    """A launcher with blanks, quotes, a line break and an equals sign in its words."""
    words = ["--output_dir=a  b", '--log_prefix=it\'s "so"', "--v2", "--lr_scheduler_args", "a=1", "x\ny"]
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    script = tmp_path / "26010101.sh"
    script.write_text(f'GPUS=3\nPARENT=26010100\nsource "{LAUNCHERS}/lib/launch.sh"\nlaunch fine_tune.py {quoted}\n')
    done = subprocess.run(
        ["bash", str(script)], env={"PATH": "/usr/bin:/bin", "LAUNCH_FACTS": "1"}, capture_output=True, check=True
    )
    made = request.read(done.stdout.decode().split("\0")[:-1], {})
    assert (made.run, made.script, made.parent) == ("26010101", "fine_tune.py", "26010100")
    assert made.flags == Flags(words) and made.gpus == 3


@pytest.mark.parametrize(
    ("facts", "environment"),
    [
        (["GPUS=1", "sdxl_train.py", "--output_dir=/m\udce4"], {}),
        ([], {"LOGS": "/\udce4"}),
        ([], {"TMPDIR": "\udcff"}),
    ],
)
def test_names_of_files_that_are_no_utf8(facts, environment):
    with pytest.raises(UserError, match=r"=/?m?\\xe4 is not UTF-8; rename|TMPDIR=\\xff is not UTF-8"):
        request.read(["26010101", *(facts or ["sdxl_train.py"])], environment)
    request.read(["26010101", "sdxl_train.py", "--output_dir=/ä 日本"], {"LOGS": "/ä"})
