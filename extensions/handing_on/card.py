"""Writes a model card: `python -m extensions.handing_on.card RUN` (make card).

A new folder with README.md, as the hub takes one, and the pictures in it. The header is huggingface_hub's. Of the
data it has count and digests, of the samples the pixels: no caption, no id, no folder of this machine.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from extensions.base import paths, secrets
from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.base.saving import replacing_folder, write_text, writing
from extensions.flags import values
from extensions.handing_on import facts, licences, markdown, pictures, words
from extensions.handing_on import subject as subjects
from extensions.handing_on.subject import Subject
from extensions.report import pages

OUT = paths.RUNTIME / "logs" / "card"
README = "README.md"
ARCHITECTURES = {"sdxl": "stable-diffusion-xl", "sd2": "stable-diffusion-2"}
PATH = re.compile(r"['\"]?(~|\.\.?|[A-Za-z]:|\$\w+)?[/\\]")  # of this machine alone
ADVICE = "make room, or give another folder by OUT="


def main(arguments: list[str]) -> int:
    """Write the card of a run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m extensions.handing_on.card", description="A model card.")
    parser.add_argument("run", help="its number, or the path of a run folder")
    parser.add_argument("--out", default="", help=f"the new folder (in {paths.shown(OUT)})")
    parser.add_argument("--licence", default="", help="the hub's name of it, or its own name")
    parser.add_argument("--base-model", default="", help="the base model's name on the hub, owner/name")
    parser.add_argument("--prompts", default="", help="1: say what the samples were drawn with")
    asked = parser.parse_args(arguments)
    prompts = values.switch("PROMPTS", asked.prompts)
    licence, base_model = licences.read(asked.licence), hub_name(asked.base_model)
    out = Path(os.path.expanduser(asked.out)) if asked.out else None
    if out:
        require_new(out)
    subject = subjects.find(asked.run)
    out = out or OUT / pages.page_of("run", subject.record.key if subject.record else subject.name)[: -len(".html")]
    require_new(out)
    write(subject, out, licence, base_model, prompts)
    print(out / README)
    # In the card it could name a folder of this machine.
    unclear = [f"the flags are not understood: {subject.why_not}"] if subject.why_not else []
    for line in [*unclear, *missing(licence, base_model)]:
        print(line, file=sys.stderr)
    return 0


def require_new(out: Path) -> None:
    """Raise UserError where something is there already: a card is written by hand, too."""
    if os.path.lexists(out):
        raise UserError(f"OUT={out} is there already, and a card may have been written on; give a new folder by OUT=")


def hub_name(name: str) -> str:
    """Return a model's name on the hub. UserError for what is none."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        if name:
            validate_repo_id(name)
    except HFValidationError:
        raise UserError(f"BASE_MODEL={name} is no name of a model on the hub; give owner/name") from None
    return name


def missing(licence: licences.Licence, base_model: str) -> list[str]:
    """Return what a person has yet to say."""
    found = []
    if not licence.name:
        found.append("the licence is missing: fill it in, or give LICENCE=<one, e.g. openrail++>")
    if not base_model:
        found.append("the header names no base model: give BASE_MODEL=<owner/name> where it is on the hub")
    return found


def write(subject: Subject, out: Path, licence: licences.Licence, base_model: str, prompts: bool) -> None:
    """Write the folder; it appears when it is whole."""
    with writing(out, ADVICE):
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(out) as folder:
            text = content(subject, folder, licence, base_model, prompts)
            write_text(folder / README, text)


def content(subject: Subject, folder: Path, licence: licences.Licence, base_model: str, prompts: bool) -> str:
    """Return README.md, its pictures put into the folder."""
    from huggingface_hub import ModelCard

    body = markdown.render(
        "card",
        title=f"Run {subject.name}" + (" (tiny)" if subject.tiny else ""),
        words=subject.header.words,
        notes=facts.notes(subject),
        licence=licence.name,
        short=facts.short(subject),
        lineage=facts.lineage(subject),
        prompting=words.prompting(subject),
        tricks=words.tricks(subject),
        curves=pictures.curves(subject, folder),
        validation=facts.validation(subject),
        sample=pictures.sample(subject, folder, prompts),
        flags=[(name, shown(name, value)) for name, value in subject.flags.items() if name not in facts.OF_DATA],
        versions=facts.versions(subject),
    )
    header = header_of(subject, licence, base_model).to_yaml()
    text = f"---\n{header}\n---\n\n" + re.sub(r"\n{3,}", "\n\n", body).rstrip() + "\n"
    if ModelCard(text).data.to_yaml() != header:
        raise AssertionError("the hub would read another header than was written")
    return text


def header_of(subject: Subject, licence: licences.Licence, base_model: str):
    """Return the header of the hub."""
    from huggingface_hub import ModelCardData

    family = subject.settings.family if subject.settings else ""
    known: dict[str, Any] = {**licence.header}
    known |= {"base_model": base_model, "base_model_relation": "finetune"} if base_model else {}
    tags = [ARCHITECTURES.get(family, "stable-diffusion"), "full-fine-tuning"]
    return ModelCardData(pipeline_tag="text-to-image", tags=tags, **known)


def shown(name: str, value: str) -> str:
    """Return a flag's value without folders of this machine, and without a secret."""
    if secrets.is_secret(name, value):
        return "(a secret)"
    if PATH.match(value):  # as a whole: there may be blanks in it
        return without_folders(value)
    return " ".join(without_folders(word) for word in value.split(" "))


def without_folders(word: str) -> str:
    """Return a text that is a path, or key=path, with the last name of the path alone."""
    key, equals, path = word.partition("=")
    key, path = (key + equals, path) if PATH.match(path) else ("", word)
    return key + re.split(r"[/\\]", path.rstrip("/\\"))[-1] if PATH.match(path) else word


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
