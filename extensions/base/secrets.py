"""Keeps keys and tokens out of what others can read: a flag's secret travels in a variable, and its name in the flag.

A command line is in the process list of every user, and stands in command.sh and manifest.json. What looks like a
secret there is `--wandb_api_key=$WANDB_API_KEY`, word by word: the trainer puts in what the variable holds.
"""

import re
from collections.abc import Iterable, Mapping

# Variables that the libraries read by themselves: the flag itself is left out where the trainer starts, so that not
# even its parsed flags hold the secret.
READ_BY_LIBRARIES = {"wandb_api_key": "WANDB_API_KEY", "huggingface_token": "HF_TOKEN"}
NAMES = re.compile(
    r"(^|_)(api_?key|(access|private|secret|account|auth)_?key|secret|token|password|passwd|passphrase|credentials?)$",
    re.IGNORECASE,
)
# As their issuers make them: Hugging Face, GitHub, Amazon; and an address with a password in it.
ISSUED = re.compile(r"(hf_[A-Za-z0-9]{30,}|gh[opsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}|AKIA[A-Z0-9]{16})")
PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
REFERENCE = re.compile(r"\$([A-Z][A-Z0-9_]*)")
LEAST = 6  # characters: a shorter one is no secret, and would be found in every text


def is_secret(name: str, value: str = "") -> bool:
    """Tell whether a flag, without its dashes, or what it is given looks like a secret."""
    return bool(NAMES.search(name) or ISSUED.fullmatch(value) or PASSWORD.search(value))


def variable_of(name: str) -> str:
    """Return the variable that holds a flag's secret."""
    return READ_BY_LIBRARIES.get(name) or re.sub(r"\W", "_", name).upper()


def hidden(flags: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the flags, by name, with references for secrets; and {variable: secret}."""
    kept, found = dict(flags), {}
    for name, words in flags.items():
        value = " ".join(words)
        if not value or REFERENCE.fullmatch(value) or not is_secret(name, value):
            continue
        found[variable_of(name)] = value
        kept[name] = [f"${variable_of(name)}"]
    return kept, found


def revealed(words: Iterable[str], environment: Mapping[str, str]) -> tuple[list[str], str]:
    """Return a trainer's words with the secrets in their places, and a reference whose variable is not set, or "".

    Those that a library reads by itself are left out.
    """
    found = []
    for word in words:
        flag, equals, value = word.partition("=")
        name, reference = flag.removeprefix("--"), REFERENCE.fullmatch(value)
        if not (flag.startswith("--") and equals and reference and variable_of(name) == reference[1]):
            found.append(word)
        elif reference[1] not in environment:
            return [], word
        elif name not in READ_BY_LIBRARIES:
            found.append(f"{flag}={environment[reference[1]]}")
    return found, ""


def of_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets that the variables of the environment hold, by their names."""
    return [value for name, value in environment.items() if is_secret(name) and len(value) >= LEAST]


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text without these secrets, and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "(secret)") if len(secret) >= LEAST else text
    return PASSWORD.sub("(secret)", ISSUED.sub("(secret)", text))
