"""Where a name is used, in a small library whose functions have moved behind re-exports."""

import importlib
import sys
from contextlib import ExitStack

import pytest

from extensions.base.errors import UserError
from extensions.upstream import fired, uses
from extensions.upstream.seam import Fires, Seam

FILES = {
    "toy/__init__.py": "",
    "toy/parts.py": "SIZE = 4096\n\ndef work(x):\n    return x * SIZE\n\ndef twice(x):\n    return work(work(x))\n",
    "toy/util.py": "from toy.parts import SIZE, twice, work\n",
    "toy/early.py": "from toy.parts import work as mine\n\ndef use(x):\n    return mine(x)\n",
    "toy/alone.py": "SIZE = 12\n\ndef work(x):\n    return -x\n",
    "toy_train.py": "from toy.util import work\nfrom toy import early, util\n\ndef train(x):\n    return work(x)\n",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The library, its trainer not yet imported; and it is gone afterwards."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("toy.early", "toy.alone", "toy.util"):
        importlib.import_module(name)
    yield sys.modules
    for name in [name for name in sys.modules if name.startswith("toy")]:
        del sys.modules[name]


def seam(**changes):
    facts = {"module": "toy.util", "name": "work", "wrapper": lambda upstream, x: upstream(x) + 1, "takes": ("x",)}
    return Seam(**facts | {"reason": "a test"} | changes)


def test_the_old_way_is_seen_by_nobody_who_calls_it_elsewhere(toy):
    util = toy["toy.util"]
    wrapped = seam().around(util.work)
    util.work = wrapped
    assert util.work(1) == 4097
    assert toy["toy.parts"].twice(1) == 4096 * 4096 and toy["toy.early"].use(1) == 4096


def test_a_seam_is_found_where_it_is_used(toy):
    fired.forget()
    made = seam()
    assert not fired.was_called(made.path)
    made.install()
    trainer = importlib.import_module("toy_train")
    made.install()
    assert toy["toy.parts"].twice(1) == 4096 * 4097 + 1 and fired.was_called(made.path)
    assert toy["toy.early"].use(1) == trainer.train(1) == toy["toy.util"].work(1) == 4097
    assert toy["toy.alone"].work(1) == -1, "another function of that name"


def test_what_the_trainer_had_from_elsewhere_is_found_the_second_time(toy):
    made, original = seam(), toy["toy.parts"].work
    made.install()
    toy["toy.alone"].kept = original
    made.install()
    assert toy["toy.alone"].kept(1) == 4097


def test_a_constant_is_set_where_it_is_read_and_put_back(toy):
    with ExitStack() as stack:
        uses.set_constants(stack, toy["toy.util"], {"SIZE": 2})
        assert toy["toy.parts"].work(3) == 6 and toy["toy.alone"].SIZE == 12
    assert toy["toy.parts"].work(3) == 3 * 4096 and toy["toy.util"].SIZE == 4096
    with pytest.raises(AttributeError), ExitStack() as stack:
        uses.set_constants(stack, toy["toy.util"], {"NO_SUCH": 2})


def test_only_the_tree_is_looked_at(toy):
    names = {module.__name__ for module in uses.modules(toy["toy.util"])}
    assert names == {"toy", "toy.parts", "toy.util", "toy.early", "toy.alone"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"module": "toy.gone"}, r"sd-scripts has no toy\.gone any more"),
        ({"name": "gone"}, r"sd-scripts has no toy\.util\.gone any more"),
        ({"takes": ("y",)}, r"sd-scripts' toy\.util\.work takes no y any more"),
    ],
)
def test_what_upstream_dropped_is_one_line(toy, changes, says):
    with pytest.raises(UserError, match=says):
        seam(**changes).install()


def test_a_seam_says_when():
    assert seam(fires=Fires("at the end")).fires.moment == "at the end"
