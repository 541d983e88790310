from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmagic.catalog import Files, resolve
from llmagic.catalog.hub import Hub
from llmagic.errors import HubError
from llmagic.events import Downloading, Event, Notice
from tests.models.hub import TOKEN, LocalHub, Repo

DATA = {name: name.encode() * 50_000 for name in ("cats-Q8_0.gguf", "cats-Q4_K_M.gguf")}
VISION = {"mmproj-F16.gguf": b"p" * 70_000, "mmproj-F32.gguf": b"q" * 140_000}


@pytest.fixture
def hub(local_hub: LocalHub, tmp_path: Path) -> Hub:
    local_hub.repos["u/cats"] = Repo({**DATA, **VISION, "README.md": b"# cats"})
    return Hub(endpoint=local_hub.address, cache=tmp_path / "cache")


def read(files: Files) -> list[bytes]:
    return [path.read_bytes() for path in (files.model, files.projector) if path is not None]


def test_a_model_and_its_projector_are_downloaded_once(hub: Hub, local_hub: LocalHub) -> None:
    heard: list[Event] = []
    files = resolve("u/cats", hub=hub, tell=heard.append)
    assert read(files) == [DATA["cats-Q4_K_M.gguf"], VISION["mmproj-F16.gguf"]]
    assert files.model.name == "cats-Q4_K_M.gguf"  # not the name of a blob
    assert files.model.parent == files.projector.parent
    assert len(local_hub.downloads()) == 2
    done = [event for event in heard if isinstance(event, Downloading)]
    assert {event.file for event in done} == {"cats-Q4_K_M.gguf", "mmproj-F16.gguf"}
    for file in DATA.keys() & {"cats-Q4_K_M.gguf"}:
        own = [event for event in done if event.file == file]
        assert [event.done for event in own] == sorted(event.done for event in own)
        assert own[0].done == 0
        assert own[-1].done == own[-1].total == len(DATA[file])
    local_hub.requests.clear()
    assert resolve("u/cats", hub=hub, tell=heard.append) == files
    assert local_hub.requests == ["GET /api/models/u/cats"]


def test_the_quantization_is_chosen_by_name(hub: Hub, local_hub: LocalHub) -> None:
    files = resolve("u/cats:q8_0", projector=False, hub=hub)
    assert read(files) == [DATA["cats-Q8_0.gguf"]]
    assert len(local_hub.downloads()) == 1
    with pytest.raises(HubError, match="among Q4_K_M, Q8_0, and got 'Q2_K'"):
        resolve("u/cats:Q2_K", hub=hub)


def test_all_parts_of_a_split_model_come_into_one_folder(hub: Hub, local_hub: LocalHub) -> None:
    parts = {f"big-Q4_K_M-0000{n}-of-00003.gguf": bytes([n]) * 1000 for n in (1, 2, 3)}
    local_hub.repos["u/big"] = Repo(parts)
    model = resolve("u/big", hub=hub).model
    assert model.name == "big-Q4_K_M-00001-of-00003.gguf"
    assert {name: (model.parent / name).read_bytes() for name in parts} == parts
    local_hub.repos["u/big"] = Repo(dict(list(parts.items())[:2]))
    with pytest.raises(HubError, match="all 3 parts .* no big-Q4_K_M-00003-of-00003.gguf"):
        resolve("u/big", hub=hub)


def test_a_new_revision_downloads_only_what_changed(hub: Hub, local_hub: LocalHub) -> None:
    first = resolve("u/cats", hub=hub)
    local_hub.repos["u/cats"].files["mmproj-F16.gguf"] = b"new" * 1000
    local_hub.requests.clear()
    second = resolve("u/cats", hub=hub)
    assert second.model != first.model
    assert second.model.samefile(first.model)
    assert read(second)[1] == b"new" * 1000
    assert local_hub.downloads() == ["GET /cdn/u/cats/mmproj-F16.gguf"]


def test_a_broken_connection_goes_on_where_it_broke(hub: Hub, local_hub: LocalHub) -> None:
    # `huggingface_hub` keeps whole chunks of 10 MiB.
    large = os.urandom(1 << 20) * 24
    local_hub.repos["u/large"] = Repo({"large.gguf": large})
    local_hub.break_after = 15 << 20
    heard: list[Event] = []
    files = resolve("u/large", hub=hub, tell=heard.append)
    assert read(files) == [large]
    first, second = local_hub.downloads()
    assert first == "GET /cdn/u/large/large.gguf"
    assert re.fullmatch(rf"{first} bytes=([1-9]\d*)-", second)
    done = [event.done for event in heard if isinstance(event, Downloading)]
    assert done == sorted(done)
    assert done[-1] == len(large)


def test_a_server_without_ranges_begins_again(hub: Hub, local_hub: LocalHub) -> None:
    local_hub.break_after, local_hub.ignores_ranges = 200_000, True
    files = resolve("u/cats", projector=False, hub=hub)
    assert read(files) == [DATA["cats-Q4_K_M.gguf"]]


def test_a_private_repository_needs_the_token(
    hub: Hub, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_hub.repos["u/cats"].private = True
    with pytest.raises(HubError, match=r"no 'u/cats' on the hub, or it is private.*HF_TOKEN"):
        resolve("u/cats", hub=hub)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert read(resolve("u/cats", projector=False, hub=hub)) == [DATA["cats-Q4_K_M.gguf"]]


def test_a_gated_repository_says_where_to_accept(hub: Hub, local_hub: LocalHub) -> None:
    local_hub.repos["u/cats"].gated = True
    with pytest.raises(HubError, match="wants its conditions accepted.*hf auth login"):
        resolve("u/cats", hub=hub)


def test_a_token_that_is_not_good_is_told(
    hub: Hub, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of-yesterday")
    with pytest.raises(HubError, match=r"not know the token .*'u/cats'.*401.*set HF_TOKEN"):
        resolve("u/cats", hub=hub)
    monkeypatch.setenv("HF_TOKEN", "\N{LEFT DOUBLE QUOTATION MARK}hf_quoted")
    with pytest.raises(HubError, match="HF_TOKEN has characters that no token has"):
        resolve("u/cats", hub=hub)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    local_hub.status = 403
    with pytest.raises(HubError, match=r"token may not read 'u/cats' .*403.*Give it that right"):
        resolve("u/cats", hub=hub)
    local_hub.only = "/resolve/"
    with pytest.raises(HubError, match=r"token may not read 'u/cats/cats-Q4_K_M.gguf'"):
        resolve("u/cats", hub=hub)


def test_too_many_requests_say_when_to_try_again(hub: Hub, local_hub: LocalHub) -> None:
    local_hub.status = 429
    for headers, when in (
        ({}, "in some minutes"),
        ({"Retry-After": "7"}, "in 7 s"),
        ({"RateLimit": '"api";r=0;t=55'}, "in 55 s"),
    ):
        local_hub.headers = headers
        with pytest.raises(HubError, match=rf"too many requests.*429.*again {when}; .*HF_TOKEN"):
            resolve("u/cats", hub=hub)
    # For a file the library asks five times more, each time after the seconds that the hub says.
    local_hub.only, local_hub.headers = "/resolve/", {"RateLimit": '"resolvers";r=0;t=0'}
    with pytest.raises(HubError, match=r"'u/cats/cats-Q4_K_M.gguf'.*too many requests"):
        resolve("u/cats", hub=hub)
    local_hub.status = 0
    files = resolve("u/cats", hub=hub)
    local_hub.status, local_hub.only = 429, ""
    heard: list[Event] = []
    assert resolve("u/cats", hub=hub, tell=heard.append) == files
    assert any(isinstance(event, Notice) and "429" in event.text for event in heard)


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_a_full_disk_is_told_and_nothing_is_left(
    local_hub: LocalHub, mount: Callable[..., Path]
) -> None:
    local_hub.repos["u/large"] = Repo({"large.gguf": bytes(4 << 20)})
    cache = mount("size=1m")
    hub = Hub(endpoint=local_hub.address, cache=cache)
    with pytest.raises(HubError, match=rf"disk is full: 'large.gguf'.*{cache}.*HF_HUB_CACHE"):
        resolve("u/large", hub=hub)
    assert all(path.stat().st_size < 1000 for path in cache.rglob("*") if path.is_file())
    mount("size=16m")
    assert resolve("u/large", hub=hub).model.stat().st_size == 4 << 20


def test_a_repository_that_does_not_exist(hub: Hub) -> None:
    with pytest.raises(HubError, match="no 'u/dogs' on the hub.*Check the name"):
        resolve("u/dogs", hub=hub)


def test_a_repository_without_a_model(hub: Hub, local_hub: LocalHub) -> None:
    local_hub.repos["u/text"] = Repo({"model.safetensors": b"x"})
    with pytest.raises(HubError, match="has no model.*GGUF"):
        resolve("u/text", hub=hub)


def test_what_the_cache_has_serves_while_the_hub_does_not(
    hub: Hub, local_hub: LocalHub, tmp_path: Path
) -> None:
    files = resolve("u/cats:Q8_0", hub=hub)
    local_hub.status = 503
    heard: list[Event] = []
    assert resolve("u/cats:Q8_0", hub=hub, tell=heard.append) == files
    assert any(isinstance(event, Notice) and "503" in event.text for event in heard)
    # Nobody listens there.
    nowhere = Hub(endpoint="http://127.0.0.1:9", cache=tmp_path / "cache")
    assert resolve("u/cats", hub=nowhere) == files
    with pytest.raises(HubError, match="among Q8_0, and got 'Q4_K_M'"):
        resolve("u/cats:Q4_K_M", hub=nowhere)
    with pytest.raises(HubError, match="'u/dogs' is not in the hub's cache, and the hub cannot"):
        resolve("u/dogs", hub=nowhere)


def test_what_an_older_revision_has_serves_while_the_hub_does_not(
    hub: Hub, local_hub: LocalHub
) -> None:
    older = resolve("u/cats:Q8_0", hub=hub)
    local_hub.repos["u/cats"] = Repo({"cats-Q4_K_M.gguf": b"new" * 1000})
    newer = resolve("u/cats:Q4_K_M", hub=hub)
    assert newer.model.parent != older.model.parent
    local_hub.status = 503
    assert resolve("u/cats:Q8_0", hub=hub) == older
    assert resolve("u/cats", hub=hub) == newer
    with pytest.raises(HubError, match=r"among Q4_K_M, Q8_0, and got 'Q2_K'.*cache.*says 503"):
        resolve("u/cats:Q2_K", hub=hub)


def test_a_whole_model_goes_before_parts_of_a_newer_revision(hub: Hub, local_hub: LocalHub) -> None:
    names = [f"big-Q8_0-0000{n}-of-00002.gguf" for n in (1, 2)]
    local_hub.repos["u/big"] = Repo(dict.fromkeys(names, b"old" * 1000))
    older = resolve("u/big", hub=hub)

    def stop(event: Event) -> None:
        if isinstance(event, Downloading) and event.file == names[1]:
            raise KeyboardInterrupt

    local_hub.repos["u/big"] = Repo({name: name.encode() * 1000 for name in names})
    with pytest.raises(KeyboardInterrupt):
        resolve("u/big", hub=hub, tell=stop)
    local_hub.status = 503
    assert resolve("u/big", hub=hub) == older


def test_a_cache_that_is_a_file_has_no_models(local_hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    hub = Hub(endpoint=local_hub.address, cache=tmp_path / "cache")
    assert hub.cached() == []
    local_hub.status = 503
    with pytest.raises(HubError, match="'u/cats' is not in the hub's cache"):
        resolve("u/cats", hub=hub)


def test_an_incomplete_download_is_no_model(hub: Hub, local_hub: LocalHub, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Downloading) and event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="cats-Q4_K_M.gguf was not downloaded"):
        resolve("u/cats", hub=hub, tell=stop)
    local_hub.status = 503
    with pytest.raises(HubError, match="not in the hub's cache"):
        resolve("u/cats", hub=hub)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_the_environment_names_hub_cache_and_offline_mode(
    local_hub: LocalHub, tmp_path: Path
) -> None:
    local_hub.repos["u/cats"] = Repo({**DATA, **VISION})
    code = "from llmagic.catalog import resolve; print(resolve('u/cats').model)"
    environment = {**os.environ, "HF_ENDPOINT": local_hub.address, "HF_HOME": str(tmp_path / "hf")}

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command,
            env=environment | more,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )

    offline = run(HF_HUB_OFFLINE="1")
    assert offline.returncode == 1
    assert "HF_HUB_OFFLINE is set" in offline.stderr
    assert local_hub.requests == []
    first = run()
    assert first.returncode == 0, first.stderr
    assert Path(first.stdout.strip()).read_bytes() == DATA["cats-Q4_K_M.gguf"]
    assert str(tmp_path / "hf") in first.stdout
    local_hub.requests.clear()
    assert run(HF_HUB_OFFLINE="1").stdout == first.stdout
    assert local_hub.requests == []
