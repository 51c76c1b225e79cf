"""What a hub answers, and a network that does not, is one line without the token; the hub is a server here."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import HfApi, constants

from extensions.base.errors import UserError
from extensions.handing_on import hub

TOKEN = "hf_" + "z" * 34


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's HTTP as an upload of small files asks for."""

    @property
    def base(self) -> str:
        return f"http://{self.headers['host']}"

    def log_message(self, *_):
        pass

    def answer(self, status: int, content: dict | None = None, **headers) -> None:
        body = json.dumps(content or {}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        state = self.server.state
        state["asked"].append(("GET", self.path, self.headers.get("authorization")))
        if state["fails"]:
            return self.answer(state["fails"], {"error": f"no, {TOKEN}\nnever"})
        if not state["repo"]:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        siblings = [{"rfilename": name} for name in state["files"]]
        self.answer(200, {"id": "a/b", "private": state["repo"] == "private", "siblings": siblings, "sha": "0" * 40})

    def do_POST(self):
        state, body = self.server.state, self.rfile.read(int(self.headers.get("content-length") or 0))
        state["asked"].append(("POST", self.path, self.headers.get("authorization")))
        if self.path.endswith("/repos/create"):
            state["repo"] = "private" if json.loads(body)["private"] else "public"
            return self.answer(200, {"url": f"{self.base}/a/b", "id": "a/b"})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        if "/commit/" not in self.path:  # the card's header, to be looked at
            return self.answer(200, {"errors": [], "warnings": []})
        lines = [json.loads(line) for line in body.splitlines()]
        state["files"] += [line["value"]["path"] for line in lines if line["key"] == "file"]
        self.answer(
            200, {"commitUrl": f"{self.base}/a/b/commit/{40 * chr(49)}", "commitOid": "1" * 40, "success": True}
        )


@pytest.fixture
def server(monkeypatch):
    made = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    made.state = {"repo": "", "files": [], "fails": 0, "asked": []}
    threading.Thread(target=made.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{made.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(hub, "HfApi", lambda token: HfApi(endpoint=address, token=token))
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def files(tmp_path):
    for name in ("x.safetensors", "README.md"):
        (tmp_path / name).write_text("some")
    return {name: tmp_path / name for name in ("x.safetensors", "README.md")}


@pytest.mark.parametrize("private", [True, False])
def test_a_new_repository(server, files, private):
    assert hub.upload("a/b", files, private, TOKEN).endswith("/a/b/commit/" + 40 * "1")
    assert server.state["repo"] == ("private" if private else "public")
    assert sorted(server.state["files"]) == ["README.md", "x.safetensors"]
    assert {token for _, _, token in server.state["asked"]} == {f"Bearer {TOKEN}"}


def test_one_that_is_there_keeps_its_visibility_and_its_old_files(server, files, capsys):
    server.state |= {"repo": "private", "files": ["README.md"]}
    hub.upload("a/b", files, False, TOKEN)
    said = capsys.readouterr().out
    assert "note: a/b is there and stays private" in said and "note: README.md of a/b gets a new version" in said
    assert server.state["repo"] == "private" and not any("create" in path for _, path, _ in server.state["asked"])


def test_what_was_to_be_private_never_goes_to_a_public_one(server, files):
    server.state |= {"repo": "public"}
    with pytest.raises(UserError, match="is there and public, PRIVATE=1 asks for a private one"):
        hub.upload("a/b", files, True, TOKEN)
    assert server.state["files"] == [] and {kind for kind, _, _ in server.state["asked"]} == {"GET"}


@pytest.mark.parametrize(("status", "advice"), [(401, "mend HF_TOKEN"), (403, "let HF_TOKEN write"), (500, "later")])
def test_a_hub_that_refuses(server, files, status, advice):
    server.state |= {"fails": status}
    with pytest.raises(UserError) as error:
        hub.upload("a/b", files, False, TOKEN)
    said = str(error.value)
    assert f"the hub says {status}" in said and advice in said and TOKEN not in said and said.isprintable()


def test_no_network(files, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HfApi", lambda token: HfApi(endpoint="http://127.0.0.1:9", token=token))
    with pytest.raises(UserError, match="a/b was not uploaded") as error:
        hub.upload("a/b", files, False, TOKEN)
    assert TOKEN not in str(error.value) and str(error.value).isprintable()


def test_offline_by_wish(files, monkeypatch):
    """HF_HUB_OFFLINE=1, as the tests of this suite have it."""
    with pytest.raises(UserError, match="a/b was not uploaded"):
        hub.upload("a/b", files, False, TOKEN)
