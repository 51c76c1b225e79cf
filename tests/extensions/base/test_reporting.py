"""Exit codes, and one line for what a user can mend."""

import errno
import signal
from types import SimpleNamespace
from typing import Annotated

import pytest
import typer
from tqdm import tqdm

from extensions.base import reporting, shared_exit
from extensions.base.errors import UserError
from extensions.base.reporting import exit_with

WORKER = """Caught UserError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "x.py", line 1, in f
extensions.base.errors.UserError: latents/7.npz is corrupt; make it again
"""


def test_user_error_is_one_line(capsys):
    assert exit_with(UserError("no base; give one")) == 2
    assert capsys.readouterr().err == "error: no base; give one\n"


def test_a_line_is_one_write(monkeypatch):
    """Several processes write to one pipe."""
    writes = []
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=writes.append, flush=lambda: None))
    exit_with(UserError("no base; give one"))
    assert writes == ["error: no base; give one\n"]


def test_a_workers_error_loses_its_traceback(capsys):
    assert exit_with(UserError(WORKER)) == 2
    assert capsys.readouterr().err == "error: latents/7.npz is corrupt; make it again\n"


def test_a_workers_error_of_any_kind_loses_its_class(capsys):
    exit_with(UserError(WORKER.replace("errors.UserError", "data.latents.CorruptSample")))
    assert capsys.readouterr().err == "error: latents/7.npz is corrupt; make it again\n"


@pytest.mark.parametrize("wrap", [str, lambda said: f"{WORKER.partition('latents')[0]}{said}\n"])
def test_a_name_with_line_breaks_and_colours_stays_one_line(capsys, wrap):
    exit_with(UserError(wrap("there is no run a\nb\x1b[31m\r\u2028c; make runs lists all")))
    assert capsys.readouterr().err == "error: there is no run a\\nb\\x1b[31m\\r\\u2028c; make runs lists all\n"


def test_other_ends(capsys):
    assert exit_with(None) == 0
    assert exit_with(SystemExit(3)) == 3
    assert exit_with(KeyboardInterrupt()) == 130
    try:
        raise ValueError("ours")
    except ValueError as error:
        assert exit_with(error) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_program_ends_with_its_own_code_or_with_one_line(capsys):
    def refuses(arguments):
        raise UserError(f"no {arguments[0]} here; give another")

    assert reporting.exit_code_of(len, ["a", "b", "c"]) == 3
    assert reporting.exit_code_of(refuses, ["x"]) == UserError.code
    assert capsys.readouterr().err == "error: no x here; give another\n"
    with pytest.raises(ZeroDivisionError):  # ours to mend: it keeps its traceback
        reporting.exit_code_of(lambda _: 1 // 0, [])


def test_a_second_process_says_nothing_new_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(shared_exit.FOLDER, str(tmp_path))
    assert [exit_with(UserError(f"{name} is corrupt; make it again")) for name in ("a", "a", "b")] == [2, 2, 2]
    assert capsys.readouterr().err == "error: a is corrupt; make it again\nerror: b is corrupt; make it again\n"
    assert shared_exit.first_exit() == 2


LOST = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711")


def test_a_lost_connection_is_a_traceback_unless_a_line_came_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(shared_exit.FOLDER, str(tmp_path))
    exit_with(UserError("a is corrupt; make it again"))
    assert exit_with(LOST) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 2 and f"then, in another process: {LOST}" in said
    exit_with(ValueError("Connection closed by peer"))
    assert "ValueError: Connection" in capsys.readouterr().err, "a bug of ours, whatever it says"
    monkeypatch.setenv(shared_exit.FOLDER, str(tmp_path / "of another run"))
    exit_with(LOST)
    assert capsys.readouterr().err.startswith("RuntimeError: [gloo")


def test_the_line_is_printed_though_the_launcher_stops_the_process(tmp_path, monkeypatch, capsys):
    """A SIGTERM between the claim of the line and its print waits for the print."""
    order = []
    monkeypatch.setattr(shared_exit, "claim_line", lambda line: signal.raise_signal(signal.SIGTERM) or True)
    previous = signal.signal(signal.SIGTERM, lambda *_: order.append(capsys.readouterr().err))
    try:
        exit_with(UserError("a is corrupt; make it again"))
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert order == ["error: a is corrupt; make it again\n"]


@pytest.mark.parametrize("words", [["--jobs", "two"], ["--no-such"], ["a", "b"], ["--jobs"]])
def test_a_parser_says_in_one_line_what_is_wrong(words, capsys):
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def main(jobs: Annotated[int, typer.Option()] = 1):
        raise AssertionError(jobs)

    assert reporting.exit_code_of_app(app, words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


def test_an_app_ends_as_it_says():
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def main(code: int):
        if code:
            raise typer.Exit(code)

    assert [reporting.exit_code_of_app(app, [code]) for code in ("0", "3")] == [0, 3]
    assert reporting.exit_code_of_app(app, ["--help"]) == 0


def test_a_full_disk_is_one_line_wherever_it_is_met(capsys):
    def writes(_):
        with open("/dev/full", "w") as file:
            file.write("x")

    full = OSError(errno.ENOSPC, "No space left on device", "/out/x")
    assert exit_with(full) == UserError.code and reporting.exit_code_of(writes, []) == UserError.code
    one, other = capsys.readouterr().err.splitlines()
    assert one.startswith("error: /out/x cannot be written (No space left on device); make room")
    assert other.startswith("error: a file cannot be written (No space left on device); make room")
    with pytest.raises(FileNotFoundError):
        reporting.exit_code_of(lambda _: open("/nowhere/at/all"), [])


def test_the_line_stands_below_a_progress_bar(capsys):
    with tqdm(total=4):
        assert exit_with(UserError("no base; give one")) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: no base; give one"
