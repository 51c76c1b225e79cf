"""A process that talks goes on when nobody listens. Real processes."""

import subprocess
import sys

import pytest

TALKS = """
import sys
from pathlib import Path
from extensions.base import streams
streams.keep()
for number in range(2000):
    print(f"line {number} …", flush=True)
    sys.stdout.buffer.write(b"block" * 100)
    print("oh", file=sys.stderr)
Path(sys.argv[1]).write_text("done")
"""


def told(tmp_path, redirection: str, **more) -> str:
    command = f'"{sys.executable}" -c "$0" "$1" {redirection}'
    done = subprocess.run(
        ["bash", "-c", command, TALKS, tmp_path / "end"], capture_output=True, check=False, timeout=60, **more
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert (tmp_path / "end").read_text() == "done"
    return done.stdout


def test_all_is_said_where_somebody_listens(tmp_path):
    said = told(tmp_path, "2> /dev/null").decode()
    assert said.count("line ") == 2000 and said.count("block") == 200_000 and said.startswith("line 0 …\nblock")


@pytest.mark.parametrize("redirection", ["| head -1", ">&-", "2>&-", ">&- 2>&-", "> /dev/full", "2> /dev/full"])
def test_it_goes_on(tmp_path, redirection):
    told(tmp_path, redirection)


def test_a_locale_without_the_character(tmp_path):
    said = told(tmp_path, "2> /dev/null", env={"PYTHONIOENCODING": "latin-1", "PATH": "/usr/bin:/bin"})
    assert said.startswith(b"line 0 \\u2026\nblock")
