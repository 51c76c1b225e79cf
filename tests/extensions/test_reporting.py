"""Exit codes, and one line for what a user can mend."""

import pytest

from extensions import reporting
from extensions.errors import UserError
from extensions.reporting import exit_with

WORKER = """Caught UserError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "x.py", line 1, in f
extensions.errors.UserError: latents/7.npz is corrupt; make it again
"""


def test_user_error_is_one_line(capsys):
    assert exit_with(UserError("no base; give one")) == 2
    assert capsys.readouterr().err == "error: no base; give one\n"


def test_a_workers_error_loses_its_traceback(capsys):
    assert exit_with(UserError(WORKER)) == 2
    assert capsys.readouterr().err == "error: latents/7.npz is corrupt; make it again\n"


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
    assert reporting.exit_code_of(refuses, ["x"]) == reporting.USER_ERROR
    assert capsys.readouterr().err == "error: no x here; give another\n"
    with pytest.raises(ZeroDivisionError):  # ours to mend: it keeps its traceback
        reporting.exit_code_of(lambda _: 1 // 0, [])
