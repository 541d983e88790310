"""Torch and llama.cpp compute the same: on text, on pictures of any size, in every type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training extra is not installed")
gguf = pytest.importorskip("gguf")

from tests.toys import Toy  # noqa: E402
from tests.toys.runner import Runner  # noqa: E402
from tests.toys.tokenizer import CHATML, END_OF_TEXT, IM_END, vocabulary  # noqa: E402
from training.data import positions  # noqa: E402
from training.export import About, export  # noqa: E402
from training.net import Model, Shape  # noqa: E402
from training.preprocess import CELL, prepared, target  # noqa: E402
from training.start import load  # noqa: E402

VOCABULARY = vocabulary()
# Fewer key heads than value heads, so that their order shows; a picture's grid that is stretched.
SHAPE = Shape(
    n_vocab=len(VOCABULARY.tokens),
    width=96,
    layers="dada",
    ffn=160,
    key_heads=2,
    value_heads=4,
    vision_layers=2,
)
TEXT = "Which picture had the red star? The second one had it, and the first one a blue circle."
SIZES = ((96, 96), (64, 64), (130, 61), (33, 200), (320, 240), (97, 128))
"""Width and height of pictures."""

# Largest difference of a logit, as a fraction of the largest logit: on text, with pictures.
# The facts of the feasibility run, at logits up to 27: .0023 and .011; .013 and .035; .33 and .81.
BOUNDS = {"F32": (0.0023, 0.011), "F16": (0.013, 0.035), "Q8_0": (0.33, 0.81)}
LARGEST = 27.0


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    made = Model(SHAPE)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if "norm" in name or "ln" in name or name.endswith("bias"):
                value.add_(0.2 * torch.randn_like(value))
        # Logits as large as those of a trained model.
        made.text.norm.weight.mul_(1.5)
    return made.eval()


@pytest.fixture(scope="module", params=["F32", "F16", "Q8_0"])
def pair(request: pytest.FixtureRequest, model: Model, tmp_path_factory) -> Iterator[tuple]:
    folder = tmp_path_factory.mktemp("exported")
    paths = folder / "text.gguf", folder / "mmproj.gguf"
    words = SimpleNamespace(
        vocabulary=VOCABULARY.tokens,
        types=VOCABULARY.types,
        merges=VOCABULARY.merges,
        eos=VOCABULARY.id(IM_END),
        pad=VOCABULARY.id(END_OF_TEXT),
        template=CHATML,
    )
    export(model, words, About("tiny", "A test.", "1", 15), *paths, request.param)
    same_weights(model, paths, request.param)
    runner = Runner(Toy("exported", *paths, "hybrid"))
    yield request.param, runner
    runner.close()


def same_weights(model: Model, paths: tuple[Path, Path], kind: str) -> None:
    """Weights that are read back are those that were written."""
    torch.manual_seed(2)
    again = Model(SHAPE)
    load(again, *paths)
    read = dict(again.named_parameters())
    for name, value in model.named_parameters():
        # F16 has 11 bits, Q8_0 8 in each block of 32; a decay is read through exp and log.
        bits = {"F32": 20, "F16": 10, "Q8_0": 6}["F16" if "vision.patch" in name else kind]
        most = float(value.detach().abs().max())
        torch.testing.assert_close(read[name], value, rtol=0, atol=most / 2**bits)


def picture(width: int, height: int) -> np.ndarray:
    """Smooth waves: resizing them is no lottery."""
    y, x = np.mgrid[0:height, 0:width] / 17.0
    waves = [np.sin(x + y * k / 3) * np.cos(y - x / (k + 2)) for k in range(3)]
    return (np.stack(waves, -1) * 110 + 128).astype(np.uint8)


def logits(model: Model, ids: list[int], pictures: list[np.ndarray] = []) -> np.ndarray:  # noqa: B006
    image = VOCABULARY.id("<|image_pad|>")
    sizes = [(p.shape[0] // CELL, p.shape[1] // CELL) for p in pictures]
    where, places = positions(ids, image, sizes)
    with torch.no_grad():
        seen = [model.vision(torch.tensor(p)[None]).flatten(0, 1) for p in pictures]
        seen = torch.cat(seen) if seen else torch.zeros(0, SHAPE.width)
        flat = torch.tensor([place for group in places for place in group], dtype=torch.int64)
        x = model.embed(torch.tensor([ids]), seen, flat)
        states = model.text(x, torch.tensor(where)[:, None])
        return model.text.logits(states[-1][0, -1]).numpy()


def test_text(pair: tuple[str, Runner], model: Model) -> None:
    kind, runner = pair
    ids = runner.tokenize(TEXT * 6, special=False)
    assert len(ids) > 2 * 64  # several chunks of the delta rule
    wanted = logits(model, ids)
    assert np.abs(wanted - runner.fresh(ids)).max() < bound(kind, wanted, 0)


def test_pictures(pair: tuple[str, Runner], model: Model) -> None:
    kind, runner = pair
    runner.clear()
    ids: list[int] = []
    pictures = []
    for size in SIZES:
        words = [*runner.tokenize(TEXT, special=False), VOCABULARY.id("<|vision_start|>")]
        runner.decode(words)
        pixels = picture(*size)
        chunk = runner.chunks(pixels)[1]
        pictures.append(prepared(pixels))
        rows, columns = (side // CELL for side in pictures[-1].shape[:2])
        assert runner.see(chunk, runner.embed(chunk)) == max(rows, columns)
        ids += words + rows * columns * [VOCABULARY.id("<|image_pad|>")]
    words = [VOCABULARY.id("<|vision_end|>"), *runner.tokenize(TEXT, special=False)]
    got, wanted = runner.decode(words), logits(model, ids + words, pictures)
    assert np.abs(wanted - got).max() < bound(kind, wanted, 1)


@pytest.mark.parametrize("size", [*SIZES, (500, 20), (20, 500), (1000, 999), (95, 97)])
def test_pictures_are_prepared_as_llama_cpp_does(
    pair: tuple[str, Runner], model: Model, size: tuple[int, int]
) -> None:
    kind, runner = pair
    if kind == "Q8_0":
        pytest.skip("F32 and F16 tell a wrong pixel from rounding")
    pixels = picture(*size)
    got = runner.embed(runner.chunks(pixels)[1])
    with torch.no_grad():
        wanted = model.vision(torch.tensor(prepared(pixels))[None])[0].numpy()
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 0.01 * np.abs(wanted).max()


def test_a_picture_becomes_no_more_tokens_than_asked_for() -> None:
    for size in [(640, 480), (480, 640), (1000, 300), (96, 96), (128, 96)]:
        wide, high = target(*size, most=12)
        assert wide * high <= 12 * CELL**2, size


def test_a_row_that_q8_0_cannot_hold(tmp_path: Path) -> None:
    model = Model(Shape(n_vocab=2, width=48, layers="da", vision_layers=1))
    words = SimpleNamespace(
        vocabulary=["a", "b"], types=[1, 1], merges=[], eos=0, pad=1, template=""
    )
    about = About("tiny", "A test.", "1", 15)
    files = tmp_path / "text.gguf", tmp_path / "mmproj.gguf"
    with pytest.raises(ValueError, match="multiple of 32"):
        export(model, words, about, *files, "Q8_0")
    assert not list(tmp_path.iterdir())


def bound(kind: str, wanted: np.ndarray, column: int) -> float:
    largest = float(np.abs(wanted).max())
    assert largest > 1.5  # else the bound says nothing
    return BOUNDS[kind][column] * max(1.0, largest / LARGEST)
