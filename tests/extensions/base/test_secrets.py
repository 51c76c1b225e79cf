"""What looks like a secret, and where it is put out of sight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base import secrets
from tests.helpers.upstream_flags import all_flags

ISSUED = "hf_" + "aB3" * 12


def test_of_upstreams_flags_two_are_secrets():
    assert {name for name in all_flags() if secrets.is_secret(name)} == set(secrets.READ_BY_LIBRARIES)


@pytest.mark.parametrize(
    "name",
    ["api_key", "my_apikey", "token", "hub_token", "db_password", "client_secret", "aws_secret_key", "API_KEY"],
)
def test_names_of_other_plugins(name):
    assert secrets.is_secret(name)


@pytest.mark.parametrize("name", ["keep_tokens", "max_token_length", "token_chunks", "tokenizer_cache_dir", "seed"])
def test_tokens_of_a_text_are_none(name):
    assert not secrets.is_secret(name)


@pytest.mark.parametrize(
    ("value", "hides"),
    [(ISSUED, True), ("https://me:pass@host/x", True), (f"/data/{ISSUED}", False), ("https://host/x", False)],
)
def test_values_that_tell_by_themselves(value, hides):
    assert secrets.is_secret("log_tracker_name", value) == hides


FLAGS = st.dictionaries(
    st.sampled_from(["seed", "wandb_api_key", "huggingface_token", "my_token", "v2"]),
    st.lists(st.text(min_size=1, max_size=8), max_size=2),
)


@given(FLAGS)
def test_what_is_hidden_comes_back_for_the_trainer_alone(flags):
    kept, found = secrets.hidden(flags)
    assert list(kept) == list(flags) and all(kept[name] == words for name, words in flags.items() if not found)
    words = [f"--{name}={values[0]}" for name, values in kept.items() if len(values) == 1]
    again, unset = secrets.revealed(words, found)
    assert not unset or unset.partition("=")[2] == flags[unset[2:].partition("=")[0]][0]
    if not unset and "my_token" in flags and flags["my_token"]:
        assert f"--my_token={' '.join(flags['my_token'])}" in again
    assert not [word for word in again if word.startswith(("--wandb_api_key=$", "--huggingface_token=$"))]


def test_a_reference_whose_variable_is_not_set():
    assert secrets.revealed(["--my_token=$MY_TOKEN"], {}) == ([], "--my_token=$MY_TOKEN")
    assert secrets.revealed(["--seed=$SEED_OF_OTHERS", "--v2"], {}) == (["--seed=$SEED_OF_OTHERS", "--v2"], "")


def test_redacted_texts():
    text = f"+  --wandb_api_key=abcdef123 --x={ISSUED} git+https://me:pass@host/y abc"
    assert secrets.redacted(text, ["abcdef123", "abc"]) == (
        "+  --wandb_api_key=(secret) --x=(secret) git+https://(secret)@host/y abc"
    )
    assert secrets.of_environment({"WANDB_API_KEY": "abcdef", "HF_TOKEN": "short", "PATH": "/usr/bin"}) == ["abcdef"]
