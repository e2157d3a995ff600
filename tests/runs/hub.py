"""A stand-in of the hub on this machine: repositories are folders, and the endpoints are those that huggingface_hub's client calls."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

SHA = "0" * 40


class Hub(BaseHTTPRequestHandler):
    root: Path
    sizes: dict[str, int]
    """What is said of a file's size, where that is a lie."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            (self.root / name).mkdir(parents=True, exist_ok=True)
            (self.root / name / ".private").write_text(str(asked.get("private", asked.get("visibility"))))
            return self.answer({"url": f"https://huggingface.co/{name}", "name": name})
        if path == "/api/validate-yaml":  # of a card
            yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
            return self.answer({"errors": [], "warnings": []})
        if path.endswith("/preupload/main"):
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return self.answer({"files": files})
        if path.endswith("/commit/main"):
            folder = self.root / path.removeprefix("/api/models/").removesuffix("/commit/main")
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    (folder / line["value"]["path"]).write_bytes(base64.b64decode(line["value"]["content"]))
            return self.answer(
                {"commitUrl": f"https://huggingface.co/{folder.parent.name}/{folder.name}/commit/{SHA}", "commitOid": SHA, "success": True}
            )
        return self.answer({"error": path}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/api/whoami-v2":
            return self.answer({"name": "me", "type": "user"})
        if path.startswith("/api/models/"):
            user, name = path.removeprefix("/api/models/").split("/")[:2]
            folder = self.root / user / name
            if not folder.is_dir():
                return self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".private"]
            names = [file.relative_to(folder).as_posix() for file in files]
            siblings = [
                {"rfilename": name, "size": self.sizes.get(name, file.stat().st_size)} for name, file in zip(names, files, strict=True)
            ]
            return self.answer({"id": f"{user}/{name}", "sha": SHA, "siblings": siblings, "private": True, "tags": []})
        repository, _, file = path.strip("/").partition(f"/resolve/{SHA}/")
        source = self.root / repository / file
        if not file or not source.is_file():
            return self.answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        content = source.read_bytes()
        return self.send(content, 200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": SHA})

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(content).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub(root: Path, monkeypatch: Any) -> Iterator[type[Hub]]:
    """The client of huggingface_hub talks to a stand-in whose repositories are the folders in ``root``."""
    import huggingface_hub

    kind = type("HubOfFolders", (Hub,), {"root": root, "sizes": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = partial(huggingface_hub.HfApi, endpoint=f"http://127.0.0.1:{server.server_port}", token="hf_test")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(huggingface_hub, "HfApi", client)
            yield kind
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
