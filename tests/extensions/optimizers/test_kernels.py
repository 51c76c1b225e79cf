"""A compiled rounding gives the definition's bits, or is not used."""

import pytest
import torch

from extensions.optimizers import kernels, rounding

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("function", [rounding.nudge_, rounding.rest_], ids=lambda function: function.__name__)
def test_a_compiled_form_gives_the_same_bits(function):
    """Compiled for a CPU: C++ in the place of Triton."""
    made = kernels.compiled(function)
    assert kernels.different(function, made, CPU) == 0
    assert kernels.tried(function, CPU) is not function
    short = torch.randn(130)  # another length, and no multiple of a vector
    one, other = short.clone(), short.clone()
    noise = torch.randint(-(2**15), 2**15, (130,)).to(torch.int16)
    function(one, noise)
    made(other, noise)
    assert torch.equal(one, other)


def test_one_that_leaves_out_a_cast_is_found_and_not_used(monkeypatch, capsys):
    def without(values, noise):
        """What a compiler makes of a remainder by a cast to bf16 and back, which it takes for nothing."""
        rounding.nudge_(values.zero_(), noise)

    assert kernels.different(rounding.rest_, without, CPU) > kernels.TRIED / 4
    monkeypatch.setattr(kernels, "compiled", lambda function: without)
    assert kernels.tried(rounding.rest_, CPU) is rounding.rest_
    assert "numbers come out otherwise" in capsys.readouterr().out


def test_a_compiler_that_fails_is_told_in_a_line(monkeypatch, capsys):
    def fails(function):
        raise RuntimeError("Cannot find a working triton installation\nand much more")

    monkeypatch.setattr(kernels, "compiled", fails)
    assert kernels.tried(rounding.nudge_, CPU) is rounding.nudge_
    said = capsys.readouterr().out
    assert "(RuntimeError: Cannot find a working triton installation)" in said and said.count("\n") == 1


def test_a_processor_takes_the_definition():
    assert kernels.of(CPU) == (rounding.nudge_, rounding.rest_)


def test_a_difference_in_any_number_is_counted():
    def off_by_one_unit(values, noise):
        rounding.nudge_(values, noise)
        values[7] *= 2

    assert kernels.different(rounding.nudge_, off_by_one_unit, CPU) == 1
