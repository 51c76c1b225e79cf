"""Exit codes, and one line for what a user can mend."""

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
