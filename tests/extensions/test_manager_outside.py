"""Plugins of anybody's, by the dotted name of their module: used like our own, refused in one line."""

import sys
import zlib

import pytest

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.flags.words import Flags
from extensions.resume import identity
from extensions.trainer import arguments
from tests.helpers.plugin_flags import parsed

PLUGIN = """
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl


class Plugin:
    flags = (Flag("loudness", values.whole(1), "how loud", default=2, unit="times"),)

    @hookimpl
    def compose_text(self, caption, args):
        return caption.upper() + "!" * args.loudness
"""


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A function that writes a module into a package of this test's own; the module's dotted name."""
    name = f"somebodys_{zlib.crc32(request.node.nodeid.encode())}"
    folder = tmp_path / "a folder" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent)
    before = set(sys.modules)

    def write(module: str, text: str) -> str:
        (folder / f"{module}.py").write_text(text)
        return f"{name}.{module}"

    yield write
    for module in set(sys.modules) - before:
        if module.partition(".")[0] == name:
            del sys.modules[module]


def test_its_flags_are_parsed_and_its_hook_is_called(package):
    name = package("louder", PLUGIN)
    args = parsed(f"dual_tag, {name}", "--loudness=3")
    made = manager.install(arguments.listed_plugins([f"--extensions={name},record_run"]))
    assert made.names == [name, "record_run"]
    assert made.hook.compose_text(caption="a cat", tags="", key="", fields={}, draw=None, args=args) == "A CAT!!!"
    assert parsed(name).loudness == 2
    with pytest.raises(UserError, match="--loudness: '0' is not a whole number from 1 up"):
        parsed(name, "--loudness=0")


def test_launcher_and_states_know_it_like_one_of_ours(package):
    name = package("louder", PLUGIN)
    made = settings.of_words(Flags.of_text(f"--extensions={name} --loudness=3"))
    assert made.plugins == (name,)
    assert not manager.is_neutral(name) and identity.neutral_flags([name]) == set()
    quiet = package("quiet", PLUGIN.replace("class Plugin:", "class Plugin:\n    neutral = True"))
    assert manager.is_neutral(quiet) and identity.neutral_flags([quiet]) == {"loudness"}


def test_a_flag_of_one_that_is_not_listed_has_no_owner(package):
    package("louder", PLUGIN)
    with pytest.raises(UserError, match="unknown flag --loudness; neither the trainer nor a plugin has it"):
        parsed("dual_tag", "--loudness=3")


def test_two_that_add_one_flag(package):
    one, other = package("one", PLUGIN), package("other", PLUGIN)
    with pytest.raises(UserError, match=f"plugin {other} adds a flag that is there already: .*--loudness") as caught:
        parsed(f"{one},{other}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "missing"),
    [("no_such.plugin", "no_such"), ("extensions.plugin", "extensions.plugin"), ("json.decoder.x", "json.decoder.x")],
)
def test_a_name_of_nothing(name, missing):
    with pytest.raises(UserError, match=f"no module {missing} for the plugin {name}; is it on PYTHONPATH") as caught:
        manager.Manager([name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [".", ".louder", "..louder", "louder.", "a..b", "./louder.py", "not a.name"])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError) as caught:
        manager.Manager([name])
    assert "--extensions: " in str(caught.value) and "\n" not in str(caught.value)


def test_a_module_without_a_plugin(package):
    name = package("empty", "class Plugins:\n    pass\n")
    with pytest.raises(UserError, match=f"{name} has no class Plugin; see extensions/README.md"):
        manager.Manager([name])


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("import no_such_library\n", ModuleNotFoundError, "No module named 'no_such_library'"),
        ("from json import no_such_name\n", ImportError, "cannot import name 'no_such_name'"),
        ("import json\n\njson.no_such_name\n", AttributeError, "module 'json' has no attribute 'no_such_name'"),
        ("class Plugin\n", SyntaxError, ""),
        ("raise ValueError('not today')\n", ValueError, "not today"),
    ],
)
def test_what_fails_inside_of_it_stays_its_own_error(package, text, error, says):
    """Its author needs the traceback."""
    name = package("broken", text)
    with pytest.raises(error, match=says):
        manager.Manager([name])


def test_one_that_knows_no_such_hook(package):
    name = package("odd", PLUGIN.replace("compose_text", "compose"))
    with pytest.raises(UserError, match=f"plugin {name} does not fit extensions/hookspecs.py"):
        manager.Manager([name])
