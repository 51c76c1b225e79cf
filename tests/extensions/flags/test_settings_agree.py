"""A launcher's words and a trainer's parsed flags mean the same: for any words, for every run, for every spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.flags.settings import of_args, of_words
from extensions.flags.words import Flags
from extensions.launch import asked as request
from extensions.logbook import registry
from extensions.reference import flags
from extensions.trainer import arguments
from tests.helpers import asking

WHOLE = st.integers(-1, 300).map(str)
REAL = st.one_of(st.sampled_from(["0", "1e-6", "2E-6", "-1", ".5", "nan", "inf"]), st.floats().map(repr))
VALUES = {
    **dict.fromkeys(("learning_rate", "learning_rate_te", "learning_rate_te1", "learning_rate_te2"), REAL),
    **dict.fromkeys(
        ("train_batch_size", "gradient_accumulation_steps", "max_train_epochs", "max_train_steps", "zero_stage",
         "initial_step", "stop_at_step", "max_token_chunks"), WHOLE),
    "max_token_length": st.sampled_from(["75", "150", "225", "0"]),
    "unet_percent": st.sampled_from(["71", "63.5", "1e2", "0", "101"]),
    "unet_train": st.sampled_from(["attn", r"a\.b|(?i:C)", "", "("]),
    "unet_freeze": st.sampled_from(["=", ".*", "["]),
    "optimizer_type": st.sampled_from(["", "AdamW", "lion8bit", "extensions.cautious_lion.CautiousLion"]),
    "mixed_precision": st.sampled_from(["no", "fp16", "bf16"]),
    "token_chunks": st.sampled_from(["a1111", "plain", "upstream"]),
    "bf16_updates": st.sampled_from(["nearest", "stochastic", "kahan"]),
}  # fmt: skip
SWITCHES = ("train_text_encoder", "deepspeed", "full_bf16", "skip_until_initial_step")
LISTED = ["unet_percent", "token_chunks", "bf16_updates", "resume_at_step"]
OF_SDXL, OF_SD2 = ({"learning_rate_te1", "learning_rate_te2"}, {"learning_rate_te"})


@st.composite
def launches(draw) -> tuple[str, list[str]]:
    """A script, and words that it knows: flags in any order, some without sense."""
    script, other = draw(st.sampled_from([("sdxl_train.py", OF_SD2), ("fine_tune.py", OF_SDXL)]))
    given = [st.tuples(st.just(name), value).map("=".join) for name, value in VALUES.items() if name not in other]
    args = st.lists(st.sampled_from(["weight_decay=1e-2", "betas=.9,.99", "eps=None", "x"]), max_size=2)
    several = args.map(lambda words: ["--optimizer_args", *words])
    one = st.one_of(*given, st.sampled_from(SWITCHES)).map(lambda word: [f"--{word}"])
    each_once = st.lists(st.one_of(one, several), max_size=9, unique_by=lambda words: words[0].partition("=")[0])
    words = sum(draw(each_once), [f"--extensions={','.join(LISTED)}"])
    return script, [*words, *(["--v2"] if script == "fine_tune.py" else [])]


def meaning(read, given):
    """The settings, or the line that refuses."""
    try:
        return read(given)
    except UserError as error:
        return str(error)


@given(launch=launches())
def test_any_words_mean_the_same_parsed_or_not(launch):
    """Where a parser takes them at all; a number may come back in another spelling."""
    script, words = launch
    launched = meaning(of_words, Flags(words))
    try:
        args = arguments.extend(flags.parser(script), manager.Manager(LISTED)).parse_args(words)
    except UserError:
        assert isinstance(launched, str), "what a parser refuses, a launcher does not take"
        return
    parsed = meaning(of_args, args)
    if isinstance(launched, str):
        assert isinstance(parsed, str) and parsed.split("=")[0] == launched.split("=")[0]
    else:
        assert parsed == launched


@pytest.mark.upstream
def test_every_run_means_the_same_through_upstreams_parser(patched):
    from extensions.upstream.__main__ import Upstream

    upstream = Upstream(str(patched))
    for path in sorted(LAUNCHERS.glob(registry.PATTERN)):
        made = request.read(registry.ask(path), {})
        parser = arguments.extend(upstream.parser(made.script), manager.Manager(made.settings.plugins))
        assert of_args(parser.parse_args(made.flags.words())) == made.settings, path.name


@pytest.mark.upstream
@pytest.mark.parametrize(
    ("script", "words"), [("sdxl_train.py", []), ("fine_tune.py", []), ("fine_tune.py", ["--v2"])]
)
def test_where_nothing_is_said_it_is_upstreams_default(script, words, patched):
    from extensions.upstream.__main__ import Upstream

    args = arguments.extend(Upstream(str(patched)).parser(script), manager.Manager()).parse_args(words)
    assert of_args(args) == of_words(Flags(words))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" , ,", []),
        ("dual_tag,record_run", ["dual_tag", "record_run"]),
        ("dual_tag, record_run", ["dual_tag", "record_run"]),
        (" dual_tag ,\trecord_run,", ["dual_tag", "record_run"]),
        ("record_run,,dual_tag", ["record_run", "dual_tag"]),
    ],
)
def test_every_spelling_of_extensions_names_the_same_plugins(text, names):
    """To the launcher, to whoever loads them before the parser is made, and in the parsed flags."""
    words = [f"--extensions={text}"]
    listed = arguments.listed_plugins(words)
    installed = manager.install(listed)
    args = arguments.extend(flags.parser("sdxl_train.py"), installed).parse_args(words)
    assert listed == installed.names == names
    assert of_words(Flags(words)).plugins == of_args(args).plugins == tuple(names)
    assert asking.asked(*words).settings.plugins == tuple(names)
    arguments.require_listed(args, names)


def test_a_plugin_listed_twice_is_refused_by_the_launcher_and_the_trainer():
    words = ["--extensions=dual_tag, dual_tag"]
    for read in (lambda: asking.asked(*words).settings, lambda: arguments.listed_plugins(words)):
        with pytest.raises(UserError, match="--extensions lists dual_tag twice; list it once"):
            read()
