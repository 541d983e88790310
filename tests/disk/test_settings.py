"""Written with one setting, asked with another: what means another state is not used, the rest is.

llama.cpp checks none of these when a state is loaded, so a wrong hit would show in no error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFValueType

from llmagic.model import library
from llmagic.session import Session, Turn
from llmagic.settings import Loading
from tests.engine.variants import variant
from tests.notebook.conftest import write_picture
from tests.oracle import assert_exact
from tests.probe.models import lora
from tests.toys import Toy

Named = Callable[[str], Toy]


@dataclass(frozen=True)
class Setting:
    """A model with everything about it that a session may be told."""

    model: Path
    projector: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def open(self, store: Path | bool) -> Session:
        return Session(self.model, projector=self.projector or False, store=store, **self.options)


def ask(session: Session, picture: Path) -> Turn:
    images = [picture] if session.engine.projector is not None else []
    text = "What is there to be seen? " * 12
    return session.ask(text, images=images, max_tokens=6, temperature=0.7, replay=True)


def flipped(source: Path, target: Path) -> Path:
    """The same file but for one bit of one weight."""
    data = bytearray(source.read_bytes())
    data[-3] ^= 1
    target.write_bytes(data)
    return target


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def loading(**settings: Any) -> dict[str, Any]:
    return {"loading": Loading(**settings)}


class Pairs:
    """Pairs of settings; a method's name is what differs."""

    def __init__(self, toy_named: Named, folder: Path) -> None:
        self.llama, self.seeing, self.folder = toy_named("llama"), toy_named("qwen2vl"), folder

    def text(self, **options: Any) -> Setting:
        return Setting(self.llama.model, None, options)

    def images(self, **options: Any) -> Setting:
        return Setting(self.seeing.model, self.seeing.projector, options)

    def model(self) -> tuple[Setting, Setting]:
        return self.text(), Setting(flipped(self.llama.model, self.folder / "other.gguf"))

    def projector(self) -> tuple[Setting, Setting]:
        assert self.seeing.projector is not None
        other = flipped(self.seeing.projector, self.folder / "mmproj-other.gguf")
        return self.images(), Setting(self.seeing.model, other)

    def image_tokens(self) -> tuple[Setting, Setting]:
        return self.images(), self.images(**loading(image_tokens=12))

    def kv_type(self) -> tuple[Setting, Setting]:
        return self.images(), self.images(**loading(kv_type="q8_0"))

    def quantised(self) -> Setting:
        return self.text(**loading(kv_type="q8_0"))

    def threads(self) -> tuple[Setting, Setting]:
        return self.text(**loading(n_threads=1)), self.text(**loading(n_threads=3))

    def threads_for_prompts(self) -> tuple[Setting, Setting]:
        return self.text(), self.text(**loading(n_threads_batch=3))

    def template(self) -> tuple[Setting, Setting]:
        return self.text(), self.text(template=TEMPLATE)

    def lora(self) -> tuple[Setting, Setting]:
        return self.text(**self.adapted(1.0)), self.text()

    def lora_scale(self) -> tuple[Setting, Setting]:
        return self.text(**self.adapted(1.0)), self.text(**self.adapted(0.5))

    def lora_file(self) -> tuple[Setting, Setting]:
        other = lora(self.folder / "other-lora.gguf", scale=2.0)
        return self.text(**self.adapted(1.0)), self.text(**loading(lora=((str(other), 1.0),)))

    def adapted(self, scale: float) -> dict[str, Any]:
        return loading(lora=((str(lora(self.folder / "lora.gguf")), scale),))

    def rope_base(self) -> tuple[Setting, Setting]:
        """The same weights; only the header says how positions turn them."""
        base = {"llama.rope.freq_base": (20_000.0, GGUFValueType.FLOAT32)}
        other = variant(self.llama.model, self.folder / "rope.gguf", metadata=base)
        return self.text(), Setting(other)

    def rope_factors(self) -> tuple[Setting, Setting]:
        """The same file: the size of the context says which factors count."""
        path = self.long_rope()
        return Setting(path, None, {"n_ctx": 512}), Setting(path, None, {"n_ctx": 4096})

    def long_rope(self) -> Path:
        half = 32
        scaling = "llama.rope.scaling"
        return variant(
            self.llama.model,
            self.folder / "longrope.gguf",
            metadata={
                f"{scaling}.type": ("longrope", GGUFValueType.STRING),
                f"{scaling}.original_context_length": (600, GGUFValueType.UINT32),
            },
            tensors={
                "rope_factors_long.weight": np.linspace(1, 32, half).astype(np.float32),
                "rope_factors_short.weight": np.ones(half, np.float32),
            },
        )


MISSES = (
    "model",
    "projector",
    "image_tokens",
    "kv_type",
    "threads",
    "threads_for_prompts",
    "template",
    "lora",
    "lora_scale",
    "lora_file",
    "rope_base",
    "rope_factors",
)


def misses(
    written: Setting, other: Setting, folder: Path, between: Callable[[], None] = lambda: None
) -> Turn:
    """What one setting wrote, another does not use; returns the turn that the other was given."""
    picture = write_picture(folder / "picture.png", size=96)
    with written.open(folder / "store") as session:
        first = ask(session, picture)
    between()
    with other.open(folder / "store") as session:
        # Asked first: the other way of evaluating may draw the same reply, which is the same turn.
        assert session.recall(first.id, after=None) is None
        turn = ask(session, picture)
        assert turn.usage["generated"]["stop"] != "replayed"
        assert turn.usage["restored"]["tier"] == "none"
        assert turn.usage["restored"]["tokens"] == 0
        assert_exact(session, turn)
    return turn


@pytest.mark.parametrize("what", MISSES)
def test_another_meaning_is_a_miss(what: str, toy_named: Named, tmp_path: Path) -> None:
    written, other = getattr(Pairs(toy_named, tmp_path), what)()
    turn = misses(written, other, tmp_path)
    if what in ("projector", "image_tokens"):
        assert turn.usage["encoded"]["images"] == 1
    # And what was written is still there for those who wrote it.
    with written.open(tmp_path / "store") as session:
        again = ask(session, tmp_path / "picture.png")
        assert again.usage["generated"]["stop"] == "replayed"


def test_another_llama_cpp_is_a_miss(
    toy_named: Named, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update() -> None:
        monkeypatch.setattr(library, "bindings_version", "0.3.37")

    plain = Pairs(toy_named, tmp_path).images()
    assert misses(plain, plain, tmp_path, update).usage["encoded"]["images"] == 1


def test_another_switch_in_the_environment_is_a_miss(
    toy_named: Named, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp turns the rows of a quantised cache, or not."""
    plain = Pairs(toy_named, tmp_path).quantised()
    misses(plain, plain, tmp_path, lambda: monkeypatch.setenv("LLAMA_ATTN_ROT_DISABLE", "1"))


SIZES = {
    "context at first": loading(n_ctx_start=2048),
    "context": loading(n_ctx=8192, n_ctx_start=8192),
    "sequences": loading(n_sequences=9),
}


def test_another_size_is_a_hit(toy: Toy, tmp_path: Path) -> None:
    """On every kind of memory."""
    picture = write_picture(tmp_path / "picture.png", size=96)
    plain = Setting(toy.model, toy.projector)
    with plain.open(tmp_path / "store") as session:
        first = ask(session, picture)
    for what, options in SIZES.items():
        with Setting(toy.model, toy.projector, options).open(tmp_path / "store") as session:
            assert ask(session, picture).usage["generated"]["stop"] == "replayed", what
            second = session.ask("And now?", after=first, max_tokens=4, temperature=0)
            assert second.usage["restored"]["tier"] == "disk", what
            assert second.usage["exact"] is True
            assert second.usage["encoded"]["images"] == 0
            assert_exact(session, second)
