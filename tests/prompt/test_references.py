"""What `![](...)` opens: paths, data URIs, attachments, addresses."""

import base64
import http.server
import threading
from pathlib import Path

import pytest

from llmagic.errors import ImageError
from llmagic.prompt import references
from llmagic.prompt.images import open_reference, picture
from tests.prompt.pixels import RAMP


def opened(target, base, attachments=None):
    return open_reference(target, base=base, attachments=attachments or {})


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a.png", "a.png"),
        ("a.png", "./a.png"),
        ("a b.png", "a b.png"),
        ("a b.png", "a%20b.png"),
        ("100%.png", "100%.png"),
        ("a%20b.png", "a%20b.png"),
        ("bücher/ü.png", "bücher/ü.png"),
        ("bücher/ü.png", "b%C3%BCcher/%C3%BC.png"),
        ("a:b.png", "a:b.png"),
        ("图.png", "图.png"),
    ],
)
def test_paths_start_from_the_base(tmp_path, png, name, target):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(png)
    assert opened(target, tmp_path) == picture(RAMP)
    assert opened(str(file), Path("elsewhere")) == picture(RAMP)
    assert picture(target, base=tmp_path) == picture(Path(target), base=tmp_path) == picture(RAMP)


def test_home_file_urls_and_the_working_directory(tmp_path, png, monkeypatch):
    (tmp_path / "a b.png").write_bytes(png)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened("~/a b.png", Path("elsewhere")) == picture(RAMP)
    address = (tmp_path / "a b.png").as_uri()
    assert "%20" in address
    assert opened(address, Path("elsewhere")) == picture(RAMP)
    monkeypatch.chdir(tmp_path)
    assert picture("a b.png") == picture(RAMP)


@pytest.mark.parametrize(
    "target", ["no.png", "nul\0.png", "~nobody-at-all/x.png", "x" * 5000, "\ud800.png", ""]
)
def test_a_path_that_cannot_be_read_is_named_with_its_folder(tmp_path, target):
    with pytest.raises(ImageError) as caught:
        opened(target, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert repr(target)[1:20] in str(caught.value)
    assert len(str(caught.value)) < 12_000


def test_folders_pipes_and_other_files_are_refused(tmp_path):
    import os

    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "text.png").write_text("hello")
    for name, why in [("folder", "a folder"), ("pipe", "regular"), ("text", "not an image")]:
        with pytest.raises(ImageError, match=rf"'{name}\.png'.*{why}"):
            opened(f"{name}.png", tmp_path)


def test_data_uris(tmp_path, png):
    plain = base64.b64encode(png).decode()
    assert opened(f"data:image/png;base64,{plain}", tmp_path) == picture(RAMP)
    assert opened(f"DATA:;Base64,{plain.rstrip('=')}", tmp_path) == picture(RAMP)
    broken = "%0A".join(plain[i : i + 20] for i in range(0, len(plain), 20))
    assert opened(f"data:image/png;base64,{broken}", tmp_path) == picture(RAMP)
    quoted = "".join(f"%{byte:02x}" for byte in png)
    assert opened(f"data:image/png,{quoted}", tmp_path) == picture(RAMP)


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("image/png;base64", "no comma"),
        ("image/png;base64,!!!!", "not base64"),
        ("image/png;base64,A", "not base64"),
        ("image/png;base64,\ud800", "not base64"),
        ("image/png;base64,", "empty"),
        ("image/png;base64,AAAA", "not an image"),
    ],
)
def test_data_uris_that_are_no_image_are_refused_and_cut_short(tmp_path, rest, why):
    with pytest.raises(ImageError, match=why):
        opened(f"data:{rest}", tmp_path)
    with pytest.raises(ImageError) as caught:
        opened(f"data:image/png;base64,{'A' * 100_000}", tmp_path)
    assert len(str(caught.value)) < 1000


def test_attachments(tmp_path, png):
    there = {"a b.png": png}
    assert opened("attachment:a b.png", tmp_path, there) == picture(RAMP)
    assert opened("attachment:a%20b.png", tmp_path, there) == picture(RAMP)
    with pytest.raises(ImageError, match=r"'c\.png'.*'a b\.png'"):
        opened("attachment:c.png", tmp_path, there)
    with pytest.raises(ImageError, match="none"):
        opened("attachment:c.png", tmp_path)


@pytest.fixture
def server(png):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"/a%20b.png": png, "/short.png": png, "/big.png": bytes(50_000)}.get(self.path)
            self.send_response(200 if body else 404)
            if body and self.path != "/big.png":
                self.send_header("Content-Length", str(len(body) + 5 * ("short" in self.path)))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_urls(tmp_path, server, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert opened(f"{server}/a b.png", tmp_path) == picture(RAMP)
    assert opened(f"{server}/a%20b.png", tmp_path) == picture(RAMP)
    with pytest.raises(ImageError, match=r"none\.png'.*404"):
        opened(f"{server}/none.png", tmp_path)
    with pytest.raises(ImageError, match="5 bytes before its end"):
        opened(f"{server}/short.png", tmp_path)
    monkeypatch.setattr(references, "MAX_DOWNLOAD", 40_000)
    with pytest.raises(ImageError, match="larger than"):
        opened(f"{server}/big.png", tmp_path)


@pytest.mark.parametrize(
    "target", ["ftp://x/a.png", "s3://x/a.png", "http://", "http://\ud800/", "http://127.0.0.1:1/a"]
)
def test_addresses_that_cannot_be_opened(tmp_path, target, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ImageError, match="Cannot"):
        opened(target, tmp_path)
