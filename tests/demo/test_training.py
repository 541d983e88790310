"""The delta rule in chunks, and a run that was stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the training extra is not installed")
pytest.importorskip("tokenizers", reason="the training extra is not installed")

from llmagic.demo.picture import COLOURS, SHAPES  # noqa: E402
from training import data  # noqa: E402
from training.__main__ import ABOUT, main  # noqa: E402
from training.dialogues import DRILLS, Looks  # noqa: E402
from training.export import export  # noqa: E402
from training.net import CHUNK, Model, Shape, delta_rule, quick  # noqa: E402
from training.plan import Plan, Round  # noqa: E402
from training.probes import MOST, SIZES, SPOTS, Probes  # noqa: E402
from training.start import load  # noqa: E402
from training.tokenizer import Tokenizer  # noqa: E402
from training.train import HEADS, Trainer  # noqa: E402

# torch warns of what it uses itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SHAPE = Shape(width=64, layers="da", ffn=64, vision_width=64, vision_ffn=64, vision_layers=1)
LOOKS = Looks(free=0.5, ratios=0.5, plots=0.5)
PLAN = Plan(
    look=Round(2, looks=LOOKS),
    pictures=8,
    talk=(
        Round(4, vision=(0.3, 1.0), alike=False),
        Round(
            2,
            peak=0.5,
            flat=0.0,
            drills=dict.fromkeys(DRILLS, 0.15),
            looks=LOOKS,
            whole=0.2,
            spots=0.1,
        ),
    ),
    tokens=1024,
    check_every=3,
    save_every=2,
)


@pytest.mark.parametrize("tokens", [1, 5, CHUNK, 2 * CHUNK + 7])
def test_the_delta_rule_in_chunks_is_the_one_token_by_token(tokens: int) -> None:
    torch.manual_seed(tokens)
    q, k, v = torch.randn(3, 2, 3, tokens, 8)
    k = k / k.norm(dim=-1, keepdim=True)
    beta, gate = torch.rand(2, 3, tokens), -3 * torch.rand(2, 3, tokens)
    state, wanted = torch.zeros(2, 3, 8, 8), []
    for t in range(tokens):
        state = state * gate[:, :, t, None, None].exp()
        key = k[:, :, t].unsqueeze(-1)
        new = beta[:, :, t, None] * (v[:, :, t] - (key.mT @ state).squeeze(-2))
        state = state + key @ new.unsqueeze(-2)
        wanted.append((q[:, :, t].unsqueeze(-2) @ state).squeeze(-2))
    found = delta_rule(q, k, v, beta, gate)
    torch.testing.assert_close(found, torch.stack(wanted, 2), atol=1e-5, rtol=1e-4)


def test_bfloat16_has_the_gradients_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    text = Model(SHAPE).text
    ids = torch.randint(0, SHAPE.n_vocab, (2, 70))
    positions = torch.arange(70).expand(3, 2, 70)

    def gradients(*, fast: bool) -> dict[str, torch.Tensor]:
        monkeypatch.setattr("training.net.has_bfloat16", lambda _: fast)
        text.zero_grad()
        with quick("cpu"):
            states = text(text.embed(ids), positions)
        assert states[-1].dtype == torch.float32
        logits = text.logits(states[-1][:, :-1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        return {n: p.grad.clone() for n, p in text.named_parameters() if p.grad is not None}

    exact, found = gradients(fast=False), gradients(fast=True)
    for name, value in exact.items():
        assert found[name].dtype == torch.float32, name
        assert not torch.equal(found[name], value), name
        alike = torch.cosine_similarity(found[name].flatten(), value.flatten(), 0)
        assert alike > 0.99, name


def test_probes_read_a_pictures_number_what_it_has_and_where() -> None:
    shape = Shape(width=96, layers="dada")
    probes = Probes(shape)
    pictures = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0], [0] * 6, [0, 1, 1, 0, 1, 1]])
    blue, star, none = COLOURS.index("blue"), SHAPES.index("star"), -1
    blue_star, red_star = (len(SHAPES) * COLOURS.index(c) + star for c in ("blue", "red"))
    kinds = torch.full((4, 6), none)
    kinds[0, 1] = kinds[0, 2] = kinds[3, 4] = blue_star
    kinds[1, 0] = kinds[3, 2] = red_star
    # Beyond what is asked for (the number at a picture's tokens, the rest at its last) stands 9.
    number = torch.tensor([[9, 0, 0, 9, 1, 9], [0, 9, 9, 9, 9, 9], [9] * 6, [9, 0, 0, 9, 1, 1]])
    count = torch.tensor([[9, 9, 2, 9, 0, 9], [1, 9, 9, 9, 9, 9], [9] * 6, [9, 9, 1, 9, 9, 1]])
    is_blue = torch.tensor([[0, 0, 1, 0, 0, 0], [0] * 6, [0] * 6, [0, 0, 0, 0, 0, 1]])
    has_star = torch.tensor([[0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0] * 6, [0, 0, 1, 0, 0, 1]])
    # Where and how large the five shapes are, as the dialogues go; other tokens have no place.
    measures = torch.full((4, 6, 5), 9.0)
    across, down, sizes = (0, 3, 8, 4, 2), (8, 0, 5, 4, 1), (0, 4, 11, 8, 6)
    there = kinds >= 0
    steps = [(10 / 32) * 16 ** ((size + 0.5) / SIZES) - 1 for size in sizes]
    measures[there] = torch.tensor([
        (0, 0, step, (x + 0.5) / SPOTS * 2 - 1, (y + 0.5) / SPOTS * 2 - 1)
        for step, x, y in zip(steps, across, down, strict=True)
    ])  # fmt: skip
    # States that say all of it, and probes that read them.
    one_hot = torch.nn.functional.one_hot
    states = one_hot(number, shape.width).float() + one_hot(count + 20, shape.width)
    states[..., 40] += is_blue
    states[..., 41] += has_star
    states[..., 42] = 1
    for n, at in enumerate(there.nonzero().tolist()):
        for first, number_at in ((45, across[n]), (60, down[n]), (75, sizes[n])):
            states[(*at, first + number_at)] = 1
    with torch.no_grad():
        probes.spot.bias.zero_()
        probes.spot.weight.zero_()
        for row, first, wide in ((0, 45, SPOTS), (SPOTS, 60, SPOTS), (2 * SPOTS, 75, SIZES)):
            probes.spot.weight[row : row + wide, first : first + wide] = 20 * torch.eye(wide)
        for probe, at in ((probes.number, 0), (probes.count, 20)):
            probe.bias.zero_()
            probe.weight.copy_(20 * torch.eye(MOST, shape.width).roll(at, dims=-1))
        probes.has.bias.zero_()
        probes.has.weight.zero_()
        probes.has.weight[:, 42] = -9
        probes.has.weight[blue, 40] = probes.has.weight[len(COLOURS) + star, 41] = 30
        # Every red thing of these is a star.
        probes.has.weight[COLOURS.index("red"), 41] = 30
        probes.has.weight[COLOURS.index("red"), 40] = -30
    empty = torch.zeros_like(states)
    right = torch.stack(probes([empty, states, empty], pictures == 1, kinds, measures))
    wrong = torch.stack(probes([states, states.roll(1, dims=-1)], pictures == 1, kinds, measures))
    assert (right < 1e-2).all()
    assert (wrong > 5).all()
    assert not torch.stack(probes([states, states], pictures == 2, kinds, measures)).any()


@pytest.fixture(autouse=True)
def _small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "POOL", 48)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(100)


def trained(folder: Path, tokenizer: Tokenizer, tell: Callable[[str], None]) -> Model:
    folder.mkdir(exist_ok=True)
    with torch.compiler.set_stance("force_eager"):
        trainer = Trainer(folder, PLAN, SHAPE, tell)
        trainer.look()
        trainer.talk(tokenizer)
    return trainer.model


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path, tokenizer: Tokenizer) -> None:
    def stop(line: str) -> None:
        if "held out" in line and "step 3 " in line:
            raise KeyboardInterrupt

    whole = trained(tmp_path / "whole", tokenizer, lambda _: None).state_dict()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", tokenizer, stop)
    lines: list[str] = []
    after = trained(tmp_path / "stopped", tokenizer, lines.append).state_dict()
    assert lines[0].startswith("goes on from")
    assert "step 3 " in lines[1]
    for name, value in whole.items():
        assert torch.equal(value, after[name]), name

    with pytest.raises(ValueError, match="another plan"):
        Trainer(tmp_path / "whole", Plan(talk=(Round(7),)), SHAPE).talk(tokenizer)


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_files(tmp_path: Path, tokenizer: Tokenizer) -> None:
    torch.manual_seed(7)
    files = tmp_path / "demo.gguf", tmp_path / "mmproj-demo.gguf"
    export(Model(SHAPE), tokenizer, ABOUT, *files, "F32")
    other = replace(PLAN, talk=(*PLAN.talk[:1], replace(PLAN.talk[1], steps=HEADS)))
    with torch.compiler.set_stance("force_eager"):
        trainer = Trainer(tmp_path, other, SHAPE, lambda _: None)
        heads = {name: value.clone() for name, value in trainer.eyes.state_dict().items()}
        trainer.start(tokenizer, *files, 1)
    assert trainer.at["step"] == PLAN.before(1)
    # The heads have learnt, and nothing else has.
    for name, value in heads.items():
        assert not torch.equal(value, trainer.eyes.state_dict()[name]), name
    again = Trainer(tmp_path / "other", other, SHAPE)
    load(again.model, *files)
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--first 99", "expected 0 to "),
        ("--threads 0", "a number from 1 on"),
        ("--start {folder}", "expected a folder with demo.gguf"),
    ],
)
def test_a_wrong_argument_is_told(
    arguments: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--folder", str(tmp_path / "run"), *arguments.format(folder=tmp_path).split()]
    monkeypatch.setattr("sys.argv", ["training", *given])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
