"""`checkpoint=False` (`--no-checkpoint`): nothing of the turn is saved, and all else works."""

from __future__ import annotations

from pathlib import Path

from llmagic.session import Session
from llmagic.settings import Loading
from tests.session.cells import image
from tests.toys import Toy


def test_a_turn_without_checkpoints(toy: Toy, tmp_path: Path) -> None:
    seen = [] if toy.projector is None else [image(1)]

    def session(name: str) -> Session:
        loading, projector = Loading(n_threads=1), toy.projector or False
        return Session(toy.model, projector=projector, loading=loading, store=tmp_path / name)

    def kept(session: Session) -> tuple[int, int]:
        assert session.store is not None
        assert session.store.flush(120)
        files = [*session.store.path.rglob("checkpoints/*"), *session.store.path.rglob("states/*")]
        return len(session.engine.checkpoints.tree), len([each for each in files if each.is_file()])

    how = {"temperature": 0.8, "max_tokens": 6}
    with session("one") as usual, session("two") as sparing:
        first = usual.ask("Who?", **how), usual.ask("What?", images=seen, **how)
        second = [sparing.ask("Who?", **how)]
        before = kept(sparing)
        second.append(sparing.ask("What?", images=seen, checkpoint=False, **how))
        assert second[1].usage["saved"]["bytes"] == 0 < first[1].usage["saved"]["bytes"]
        assert [turn.id for turn in second] == [turn.id for turn in first]
        again = sparing.ask("What?", images=seen, after=second[0], checkpoint=False, **how)
        assert again.id == second[1].id
        assert again.usage["encoded"]["images"] == 0, "its embedding is kept all the same"
        assert kept(sparing) == before
        # What is live goes on, and is saved with the turn that stands on it.
        below = sparing.ask("And?", **how)
        assert below.id == usual.ask("And?", **how).id
        assert below.usage["exact"] is True
        known = again.usage["prompt"]["tokens"] + len(again.tokens)
        assert (below.usage["restored"]["tokens"], below.usage["restored"]["tier"]) == (
            known,
            "live",
        )
        assert kept(sparing) > before
        # Without it in the context it is evaluated again, from the nearest checkpoint on.
        alone = sparing.ask("Alone?", after=None, checkpoint=False, **how)
        assert (
            sparing.ask("Alone?", after=None, replay=True, **how).usage["generated"]["stop"]
            == "replayed"
        ), "its reply is kept"
        elsewhere = sparing.ask("Else?", after=None, **how)
        assert elsewhere.usage["restored"]["tokens"] < alone.usage["prompt"]["tokens"]
        anew = sparing.ask("Then?", after=alone, **how)
        assert anew.usage["exact"] is False
        assert anew.usage["evaluated"]["tokens"] > len(alone.tokens)
