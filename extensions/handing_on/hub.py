"""Talks to a hub through huggingface_hub; whatever it answers, or does not, is one line."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from extensions.base import secrets
from extensions.base.errors import UserError, english

MESSAGE = "Upload a model"
ADVICE = {401: "mend HF_TOKEN", 403: "let HF_TOKEN write to it", 404: "mend REPO=", 429: "wait, then the same again"}


def upload(repo: str, files: Mapping[str, Path], private: bool, token: str) -> str:
    """Upload files in one commit; its address. UserError, in one line, for all that a hub or a network can say.

    Nothing is uploaded to a public repository where a private one was asked for.
    """
    api = HfApi(token=token)
    with in_one_line(repo, token):
        before = present(api, repo)
        if before is None:
            api.create_repo(repo, private=private, repo_type="model", exist_ok=False)
        elif private and not before.private:
            raise UserError(f"{repo} is there and public, PRIVATE=1 asks for a private one; give another REPO=")
        else:
            if before.private and not private:
                print(f"note: {repo} is there and stays private")
            for name in sorted({each.rfilename for each in before.siblings or []} & files.keys()):
                print(f"note: {name} of {repo} gets a new version; the hub keeps the old one")
        operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        return str(api.create_commit(repo, operations, commit_message=MESSAGE).commit_url)


def present(api: HfApi, repo: str):
    """Return what the hub says of a repository; None where there is none."""
    try:
        return api.model_info(repo)
    except RepositoryNotFoundError:
        return None


@contextmanager
def in_one_line(repo: str, token: str):
    """Turn what goes wrong into one line, without the token."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        said = error.server_message or english(error)
        advice = ADVICE.get(status, "the same again later goes on")
        raise UserError(f"{repo}: the hub says {status} ({clean(said, token)}); {advice}") from None
    except HFValidationError as error:
        raise UserError(f"REPO={repo}: {clean(english(error), token)}; give REPO=<user>/<name>") from None
    except (OSError, ValueError, RuntimeError) as error:  # of requests, sockets, and the library's own
        raise UserError(f"{repo} was not uploaded ({clean(english(error), token)}); then the same again") from None


def clean(text: str, token: str) -> str:
    """Return the beginning of a text, without secrets."""
    said = secrets.redacted(" ".join(text.split()), [token])
    return said if len(said) <= 200 else f"{said[:200]}…"
