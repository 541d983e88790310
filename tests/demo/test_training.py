"""The delta rule in chunks, and a run that was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the training extra is not installed")
pytest.importorskip("tokenizers", reason="the training extra is not installed")

from training import data  # noqa: E402
from training.net import CHUNK, Model, Shape, delta_rule  # noqa: E402
from training.order import MOST, Order  # noqa: E402
from training.plan import Plan, Round  # noqa: E402
from training.tokenizer import Tokenizer  # noqa: E402
from training.train import Trainer  # noqa: E402

# torch warns of what it uses itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SHAPE = Shape(width=64, layers="da", ffn=64, vision_width=64, vision_ffn=64, vision_layers=1)
PLAN = Plan(
    look=Round(2, plots=0.5),
    pictures=8,
    talk=(
        Round(4, vision=(0.3, 1.0), alike=False),
        Round(2, peak=0.5, flat=0.0, drills=(0.0,) * 4 + (0.5, 0.4), plots=0.5),
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


def test_a_token_of_a_picture_has_its_number() -> None:
    shape = Shape(width=64, layers="dada")
    order = Order(shape)
    pictures = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0], [0] * 6, [0, 1, 0, 1, 0, 1]])
    numbers = torch.tensor([[9, 0, 0, 9, 1, 9], [0, 9, 9, 9, 9, 9], [9] * 6, [9, 0, 9, 1, 9, 2]])
    # States that say which number it is, and a head that reads them.
    states = torch.nn.functional.one_hot(numbers, shape.width).float()
    with torch.no_grad():
        order.number.weight.copy_(20 * torch.eye(MOST, shape.width))
    right = order([torch.zeros_like(states), states, torch.zeros_like(states)], pictures == 1)
    wrong = order([states, states.roll(1, dims=-1)], pictures == 1)
    assert right < 1e-3
    assert wrong > 10
    assert order([states, states], pictures == 2) == 0


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
