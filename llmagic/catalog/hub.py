"""Models from a hub, through `huggingface_hub`: its cache, its token, its offline mode."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmagic.catalog.choosing import (
    choose_model,
    choose_projector,
    is_gguf,
    is_model,
    part_of,
    parts,
    quant,
)
from llmagic.errors import HubError, Interrupted
from llmagic.events import Downloading, Event, Notice

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_Tell = Callable[[Event], None]

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
CONNECT = "Check the connection, HF_ENDPOINT and HF_HUB_OFFLINE, or give the path of a file."

MANY = "it had too many requests, status 429"

_TOO_MANY = 429
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class _Listing:
    """The GGUF files of a repository; `folder` is where they are if only the cache was asked."""

    names: tuple[str, ...]
    commit: str
    folder: Path | None = None


@dataclass(frozen=True)
class Revision:
    """What was downloaded of one revision: its folder, and the GGUF files in it."""

    repo: str
    commit: str
    folder: Path
    names: tuple[str, ...]


def holder(revisions: Sequence[Revision], wanted: str) -> Revision | None:
    """The first of a repository's revisions with a model, with all parts of it where one has them.

    Parameters
    ----------
    revisions : sequence of Revision
        The newest first.
    wanted : str
        As for `choose_model`.
    """
    found = [(each, choose_model(each.names, wanted)) for each in revisions]
    having = [(each, model) for each, model in found if model is not None]
    whole = [each for each, model in having if set(parts(model)) <= set(each.names)]
    return next(iter([*whole, *(each for each, _ in having)]), None)


class Hub:
    """A hub and the cache of what was downloaded from it.

    Parameters
    ----------
    endpoint : str, optional
        Its address; by default what HF_ENDPOINT says, else the library's own.
    cache : Path, optional
        By default what HF_HUB_CACHE or HF_HOME say, else the library's own.
    """

    def __init__(self, *, endpoint: str | None = None, cache: Path | None = None) -> None:
        self._endpoint = endpoint
        self._cache = cache

    def get(
        self, repo: str, wanted: str, wants_projector: bool, tell: _Tell
    ) -> tuple[Path, Path | None]:
        """A model and its projector, downloaded unless the cache has them.

        The hub is asked which files there are now. Where it cannot be reached, what the cache has
        is used.

        Parameters
        ----------
        repo : str
            `user/repo`.
        wanted : str
            A quantization or a file's name; "": the usual one (`choosing.PREFERRED`).
        wants_projector : bool
            Whether to take the projector as well, if there is one.

        Raises
        ------
        HubError
            No such repository, file or access, or neither a way there nor the files in the cache.
        Interrupted
            By Ctrl-C.
        """
        listing = self._listing(repo, wanted, tell)
        model = choose_model(listing.names, wanted)
        if model is None:
            raise HubError(_no_model(repo, wanted, listing.names))
        if len(missing := set(parts(model)) - set(listing.names)):
            raise HubError(
                f"expected all {part_of(model)[1]} parts of {model!r} in {repo!r}"
                f"{' (in the cache)' if listing.folder else ''}, and there is no "
                f"{', '.join(sorted(missing))}."
            )
        projector = choose_projector(model, listing.names) if wants_projector else None
        paths = [self._file(repo, listing, name, tell) for name in parts(model)]
        if projector is None:
            return paths[0], None
        return paths[0], self._file(repo, listing, projector, tell)

    # Which files there are --------------------------------------------------------------------

    def _listing(self, repo: str, wanted: str, tell: _Tell) -> _Listing:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        api = HfApi(endpoint=self._endpoint)
        try:
            info = api.model_info(repo, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        except HFValidationError as error:
            raise HubError(f"expected a hub's user/repo, and got {repo!r}: {error}") from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status == _TOO_MANY:
                return self._cached(repo, wanted, MANY, _later(error), tell)
            if status < 500:
                raise _refused(repo, error) from error
            return self._cached(repo, wanted, f"it says {status}", CONNECT, tell)
        except UnicodeEncodeError as error:
            raise HubError(
                f"HF_TOKEN has characters that no token has. Copy it again, or {LOGIN}."
            ) from error
        except Exception as error:  # the connection's errors are those of the HTTP library in use
            return self._cached(repo, wanted, _reason(error), CONNECT, tell)
        names = tuple(each.rfilename for each in info.siblings or () if is_gguf(each.rfilename))
        return _Listing(names, str(info.sha))

    def _cached(self, repo: str, wanted: str, why: str, remedy: str, tell: _Tell) -> _Listing:
        """What the cache has of a repository: its newest revision with the model."""
        own = [each for each in self.cached() if each.repo == repo]
        if not own:
            raise HubError(
                f"{repo!r} is not in the hub's cache, and the hub cannot be used: {why}. {remedy}"
            )
        found = holder(own, wanted)
        if found is None:
            names = dict.fromkeys(name for each in own for name in each.names)
            raise HubError(
                f"{_no_model(repo, wanted, tuple(names))} That is what the hub's cache has; the "
                f"hub cannot be used: {why}. {remedy}"
            )
        tell(Notice(f"the hub cannot be used ({why}): {repo} is taken from its cache."))
        return _Listing(found.names, found.commit, found.folder)

    def cached(self) -> list[Revision]:
        """Every downloaded revision that has a model in it, the newest first."""
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.errors import CacheNotFound

        try:
            repos = scan_cache_dir(self._cache).repos
        except (CacheNotFound, ValueError, OSError):  # none, a file, or one that cannot be read
            return []
        found = [
            (revision.last_modified, each.repo_id, revision)
            for each in repos
            if each.repo_type == "model"
            for revision in each.revisions
        ]
        # Those that share their files are of one age; their order must not change.
        found.sort(key=lambda each: (-each[0], each[2].commit_hash))
        revisions = [
            Revision(
                repo,
                revision.commit_hash,
                revision.snapshot_path,
                tuple(
                    file.file_path.relative_to(revision.snapshot_path).as_posix()
                    for file in revision.files
                    if is_gguf(file.file_name)
                ),
            )
            for _, repo, revision in found
        ]
        return [each for each in revisions if any(map(is_model, each.names))]

    # Getting them -----------------------------------------------------------------------------

    def _file(self, repo: str, listing: _Listing, name: str, tell: _Tell) -> Path:
        if listing.folder is not None:
            return listing.folder / name
        from huggingface_hub import hf_hub_download
        from huggingface_hub.constants import HF_HUB_CACHE
        from huggingface_hub.errors import HfHubHTTPError

        try:
            return Path(
                hf_hub_download(
                    repo,
                    name,
                    revision=listing.commit,
                    endpoint=self._endpoint,
                    cache_dir=self._cache,
                    tqdm_class=_bar(name, tell),
                )
            )
        except KeyboardInterrupt as error:
            raise Interrupted(f"{name} was not downloaded.") from error
        except HfHubHTTPError as error:
            raise _refused(f"{repo}/{name}", error) from error
        except Exception as error:
            if isinstance(error.__cause__, HfHubHTTPError):
                # The library speaks of the connection, whatever the hub said of the file.
                raise _refused(f"{repo}/{name}", error.__cause__) from error
            if isinstance(error, OSError) and error.errno in _FULL:
                raise HubError(
                    f"the disk is full: {name!r} of {repo!r} has no room in the hub's cache, "
                    f"{str(self._cache or HF_HUB_CACHE)!r}. Make room there, or set HF_HUB_CACHE "
                    "to a folder on another disk."
                ) from error
            raise HubError(
                f"{name!r} of {repo!r} could not be downloaded: {_reason(error)}. Try again; what "
                "is complete is not downloaded again."
            ) from error


def _bar(name: str, tell: _Tell) -> type[Any]:
    """A class for `huggingface_hub` to report progress to, as it would draw a bar."""
    from tqdm import tqdm

    class Reporting(tqdm):  # type: ignore[misc,type-arg,unused-ignore]
        def __init__(self, *args: Any, total: float | None = None, **kwargs: Any) -> None:
            # It draws nothing: events are shown in one way for all that takes time.
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "total": total, "disable": True})
            self._done = int(kwargs.get("initial") or 0)
            self._all = int(total or 0)
            tell(Downloading(name, self._done, self._all))

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            tell(Downloading(name, self._done, self._all))

    return Reporting


# What went wrong ------------------------------------------------------------------------------


def _no_model(repo: str, wanted: str, names: tuple[str, ...]) -> str:
    models = sorted(name for name in names if is_model(name))
    if not models:
        return (
            f"expected a repository with GGUF files, and {repo!r} has no model among "
            f"{len(names)} of them. Look for one whose name ends in GGUF, or convert the model."
        )
    known = ", ".join(dict.fromkeys(quant(name) or name for name in models))
    return f"expected a quantization of {repo!r} among {known}, and got {wanted!r}."


def _refused(what: str, error: HfHubHTTPError) -> HubError:
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    status = error.response.status_code
    has_token = "authorization" in error.response.request.headers
    if isinstance(error, GatedRepoError):
        return HubError(
            f"{what!r} wants its conditions accepted: open its page on the hub, accept them, and "
            f"{LOGIN}."
        )
    if status == 401 and has_token:
        # The hub says it of every request with such a token, of public models, too.
        return HubError(
            f"the hub does not know the token that {what!r} was asked for with (status 401): it is "
            "mistyped, or no longer valid. Log in anew with `hf auth login`, or set HF_TOKEN to "
            "another one; public models need none."
        )
    if status == 403 and has_token:
        return HubError(
            f"the token may not read {what!r} (status 403). Give it that right in the hub's "
            "settings, or set HF_TOKEN to another one."
        )
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        return HubError(
            f"there is no {what!r} on the hub, or it is private (status {status}). Check the name; "
            f"if it is private, {LOGIN}."
        )
    if isinstance(error, EntryNotFoundError):
        return HubError(f"{what!r} is not on the hub (status {status}).")
    if status == _TOO_MANY:
        return HubError(f"the hub refused {what!r}: {MANY}. {_later(error)}")
    return HubError(f"the hub refused {what!r} (status {status}). Try again later.")


def _later(error: HfHubHTTPError) -> str:
    """What to do after too many requests; some hubs say how many seconds to wait."""
    headers = error.response.headers
    told = headers.get("RateLimit", ""), headers.get("Retry-After", "")
    found = re.search(r"\bt=(\d+)", told[0]) or re.fullmatch(r"(\d+)", told[1])
    when = f"in {found[1]} s" if found else "in some minutes"
    return f"Try again {when}; more are allowed with a token: {LOGIN}."


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
