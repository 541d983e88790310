"""A small hub on this machine: the routes that `huggingface_hub` uses, and ways to misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_a-token-for-tests"


@dataclass
class Repo:
    """One repository of one revision."""

    files: dict[str, bytes]
    private: bool = False
    gated: bool = False

    @property
    def commit(self) -> str:
        text = repr(sorted((name, _etag(data)) for name, data in self.files.items()))
        return hashlib.sha1(text.encode()).hexdigest()


@dataclass
class LocalHub:
    """The hub: change its repositories and its moods while it runs."""

    repos: dict[str, Repo] = field(default_factory=dict)
    address: str = ""
    bytes_address: str = ""
    requests: list[str] = field(default_factory=list)
    """Method and path of each request, in order; a range is put behind it."""
    break_after: int = 0
    """Bytes after which the next download's connection is cut, once."""
    ignores_ranges: bool = False
    status: int = 0
    """What everything is answered with, where it is not 0."""
    only: str = ""
    """What a path must hold to be answered so."""
    headers: dict[str, str] = field(default_factory=dict)
    """What errors have besides."""

    def downloads(self) -> list[str]:
        """The requests for bytes."""
        return [each for each in self.requests if each.startswith("GET /cdn/")]


@contextmanager
def running() -> Iterator[LocalHub]:
    """A hub that listens on 127.0.0.1 as long as the block runs."""
    hub = LocalHub()

    class Handler(_Handler):
        state = hub

    # The bytes come from another host, as they do from a real hub.
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    hub.address, hub.bytes_address = (f"http://127.0.0.1:{each.server_port}" for each in servers)
    threads = [threading.Thread(target=each.serve_forever, daemon=True) for each in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    state: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        ranged = self.headers.get("Range", "")
        self.state.requests.append(f"{self.command} {path} {ranged}".strip())
        if self.state.status and self.state.only in path:
            return self._error(self.state.status, "", "out of order")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            return self._info(found[1])
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*found.groups())
        if found := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            return self._bytes(*found.groups())
        self._error(404, "", "no such route")

    def _repo(self, name: str) -> Repo | None:
        repo = self.state.repos.get(name)
        given = self.headers.get("Authorization")
        has_token = given == f"Bearer {TOKEN}"
        if given is not None and not has_token:
            self._error(401, "", "Invalid credentials in Authorization header")
            return None
        if repo is None or (repo.private and not has_token):
            self._error(404 if has_token else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def _info(self, name: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        info = {
            "_id": "1",
            "id": name,
            "sha": repo.commit,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": each} for each in sorted(repo.files)],
        }
        self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        if repo.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._error(401, "GatedRepo", "Access is restricted")
        if revision not in ("main", repo.commit):
            return self._error(404, "RevisionNotFound", "No such revision")
        if file not in repo.files:
            return self._error(404, "EntryNotFound", "No such file")
        data = repo.files[file]
        # As for large files: metadata here, the bytes elsewhere.
        self._send(
            302,
            b"",
            {
                "Location": f"{self.state.bytes_address}/cdn/{name}/{file}",
                "X-Repo-Commit": repo.commit,
                "X-Linked-Etag": f'"{_etag(data)}"',
                "X-Linked-Size": str(len(data)),
                "ETag": '"a-pointer"',
            },
        )

    def _bytes(self, name: str, file: str) -> None:
        data = self.state.repos[name].files[file]
        headers = {"ETag": f'"{_etag(data)}"', "Accept-Ranges": "bytes"}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found and not self.state.ignores_ranges:
            start = int(found[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self._send(206, data[start:], headers)
        self._send(200, data, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.state.break_after and status in (200, 206) and len(body) > self.state.break_after:
            body, self.state.break_after = body[: self.state.break_after], 0
            self.close_connection = True
        self.wfile.write(body)

    def _error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        headers |= self.state.headers
        self._send(status, json.dumps({"error": message}).encode(), headers)
