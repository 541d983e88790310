"""A real kernel: which cells form the context, what is evaluated, what is published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebook.conftest import write_picture
from tests.notebook.kernel import Kernel, Outcome
from tests.toys import Toy, tokenizer, write

CELLS = {
    "a": "![](a.png)What is this?",
    "b": "Look at ![](b.png) and compare.",
    "c": "![](c.png)And this?",
}
PICTURES = {"image/png", "image/jpeg"}


def write_pictures(folder: Path) -> None:
    for shade, name in enumerate(CELLS):
        write_picture(folder / f"{name}.png", shade=40 * shade)


def cost(outcome: Outcome) -> tuple[int, int]:
    """Tokens evaluated and images encoded."""
    usage = outcome.usage
    restored, evaluated = usage["restored"]["tokens"], usage["evaluated"]["tokens"]
    assert usage["prompt"]["tokens"] == restored + evaluated
    return evaluated, usage["encoded"]["images"]


def run_all(kernel: Kernel, *, named: bool) -> dict[str, Outcome]:
    return {
        name: kernel.ask(text, name if named else None, "-t 0.7") for name, text in CELLS.items()
    }


def test_cells_with_ids(kernel: Kernel, qwen35: Toy, tmp_path: Path) -> None:
    """The same cell again replaces its turn; a new one is appended (DESIGN C3)."""
    write_pictures(tmp_path)
    kernel.load(qwen35.model, qwen35.projector)
    first = run_all(kernel, named=True)
    assert [cost(outcome)[1] for outcome in first.values()] == [1, 1, 1]
    assert [o.usage["prompt"]["images"] for o in first.values()] == [1, 2, 3]

    again = kernel.ask(CELLS["b"], "b", "-t 0.7")
    generation_prompt, encoded = cost(again)
    assert encoded == 0
    assert generation_prompt < 20
    assert again.text == first["b"].text
    assert again.usage["turn"] == first["b"].usage["turn"]
    assert again.usage["prompt"] == first["b"].usage["prompt"]

    edited = kernel.ask("Look at ![](b.png) and forget.", "b", "-t 0.7")
    assert generation_prompt < cost(edited)[0] < generation_prompt + 20
    assert cost(edited)[1] == 0
    undone = kernel.ask(CELLS["b"], "b", "-t 0.7")
    assert cost(undone) == (generation_prompt, 0)
    last = kernel.ask(CELLS["c"], "c", "-t 0.7")
    assert cost(last) == (generation_prompt, 0)
    assert last.text == first["c"].text

    between = kernel.ask("What else?", "a", "-t 0.7")
    assert between.usage["prompt"]["images"] == 0
    below = kernel.ask(CELLS["c"], "c", "-t 0.7")
    assert below.usage["prompt"]["images"] == 2, "the new turn of a stands above c now"
    assert cost(below)[1] == 0


def test_the_system_prompt_holds_from_its_cell_on(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    for cell, options in (("a", ""), ("b", "-s 'Be brief.'"), ("c", "")):
        kernel.ask("Tell me.", cell, options)
    turns = "get_ipython().magics_manager.registry['LLMagic'].conversation.entries"
    systems = f"[entry.turn.system for entry in {turns}]"
    assert kernel.value(systems) == "[None, 'Be brief.', 'Be brief.']"
    kernel.ask("Tell me more.", "a")
    kernel.ask("Tell me.", "c")
    assert kernel.value(systems) == "[None, 'Be brief.', 'Be brief.']"
    long = kernel.ask("Tell me.", "c").usage["prompt"]["tokens"]
    kernel.ask("Tell me.", "b")
    assert kernel.ask("Tell me.", "c").usage["prompt"]["tokens"] < long
    assert kernel.value(systems) == "[None, None, None]"


def test_resampling_a_cell_draws_anew_and_the_same_in_every_kernel(
    kernel: Kernel, llama: Toy, tmp_path: Path
) -> None:
    def draws(kernel: Kernel) -> list[str]:
        kernel.load(llama.model)
        options = ["-t 1", "-t 1 --resample", "-t 1 --resample", "-t 1"]
        outcomes = [kernel.ask("Tell me.", "a", option) for option in options]
        assert len({cost(outcome)[0] for outcome in outcomes[1:]}) == 1
        return [outcome.text for outcome in outcomes]

    here = draws(kernel)
    assert len(set(here[:3])) == 3
    assert here[3] == here[0]
    other = Kernel(tmp_path)
    try:
        assert draws(other) == here
    finally:
        other.stop()


def test_without_ids_turns_append(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    one, two = kernel.ask("Tell me."), kernel.ask("Tell me.")
    assert two.usage["prompt"]["tokens"] > one.usage["prompt"]["tokens"]
    assert two.usage["restored"]["tokens"] >= one.usage["prompt"]["tokens"]
    colab = {"colab": {"cell_id": "x"}}
    three = kernel.ask("Tell me.", metadata=colab)
    again = kernel.ask("Tell me.", metadata=colab)
    assert again.usage["prompt"] == three.usage["prompt"]


def test_one_cell_may_ask_more_than_once(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    kernel.run("%config LLMagic.max_tokens = 4")
    code = "%llm one question?\n%llm another one?"
    turns = "len(get_ipython().magics_manager.registry['LLMagic'].conversation.entries)"
    kernel.run(code, "a")
    kernel.ask("below", "b")
    assert kernel.value(turns) == "3"
    kernel.run(code, "a")
    assert kernel.value(turns) == "3"
    kernel.run("%llm only one?", "a")
    assert kernel.value(turns) == "2"


@pytest.fixture
def headless(tmp_path: Path) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.stop()


def test_a_front_end_gets_updates_and_ends_with_what_headless_runs_get(
    kernel: Kernel, headless: Kernel, qwen35: Toy, tmp_path: Path
) -> None:
    write_pictures(tmp_path)
    shown = []
    for runner, named in ((kernel, True), (headless, False)):
        runner.load(qwen35.model, qwen35.projector)
        outcomes = run_all(runner, named=named)
        shown.append({name: outcome.shown for name, outcome in outcomes.items()})
        turns = [outcome.usage["turn"] for outcome in outcomes.values()]
        shown.append(dict(zip(outcomes, ([turn] for turn in turns), strict=True)))
        for outcome in outcomes.values():
            assert outcome.stderr == ""
            assert set(outcome.shown) == {"text/plain", "text/markdown"}
            assert len(outcome.of("display_data")) == 1
            if not named:
                assert not outcome.of("update_display_data", "stream", "clear_output")
    assert shown[:2] == shown[2:]


def test_updates_are_throttled(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    outcome = kernel.run("%%llm --max-tokens 600 -t 1.5 --min-p 0\nTell me a long story.", "a")
    messages = outcome.of("display_data", "update_display_data")
    duration = messages[-1].at - messages[0].at
    generated = outcome.usage["generated"]["tokens"]
    assert generated > 50, "too few tokens to say anything"
    assert len(messages) <= 10 * duration + 3
    assert len(messages) < generated
    assert all(message.text.strip() for message in messages)
    running = [message.content["metadata"]["llmagic"] for message in messages[:-1]]
    assert all(set(each) == {"version", "running"} for each in running)
    texts = [m.text for m in messages if not m.text.startswith("reading the prompt")]
    assert all(texts[-1].startswith(text) for text in texts), "text only ever grows"


def test_no_stream_is_one_message(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    outcome = kernel.ask("Hello", "a", "--no-stream")
    assert len(outcome.of("display_data", "update_display_data")) == 1
    assert outcome.usage["thread"] == "main"


def test_metadata_has_the_shape_of_the_contract(
    kernel: Kernel, qwen35: Toy, tmp_path: Path
) -> None:
    write_pictures(tmp_path)
    kernel.load(qwen35.model, qwen35.projector)
    usage = kernel.ask(CELLS["a"]).usage
    assert set(usage) == {
        *("version", "turn", "model", "thread", "prompt", "restored"),
        *("evaluated", "encoded", "generated", "saved", "exact", "stale", "after", "source"),
    }
    assert usage["after"] is None
    assert kernel.ask("And this?").usage["after"] == usage["turn"]
    assert usage["version"] == 1
    assert bytes.fromhex(usage["turn"])
    assert usage["model"] == "llmagic toy qwen35"
    assert set(usage["prompt"]) == {"tokens", "images"}
    assert set(usage["restored"]) == {"tokens", "images", "tier", "ms", "bytes"}
    assert usage["restored"]["tier"] == "none"
    assert set(usage["evaluated"]) == {"tokens", "images", "ms"}
    assert usage["evaluated"]["images"] == 1
    assert set(usage["encoded"]) == {"images", "ms"}
    assert set(usage["generated"]) == {"tokens", "ms", "stop"}
    assert set(usage["saved"]) == {"bytes", "ms"}
    assert usage["exact"] is True


def test_loading_the_same_model_again_keeps_what_is_kept_for_it(kernel: Kernel, llama: Toy) -> None:
    kernel.run("%config LLMagic.store = ''")
    loaded = kernel.load(llama.model)
    kernel.ask("Tell me.", "a")
    assert kernel.load(llama.model).text == loaded.text
    assert kernel.ask("Tell me.", "a").usage["restored"]["tokens"] > 0
    kernel.load(llama.model, None, "--ctx", "512")
    assert kernel.ask("Tell me.", "a").usage["restored"]["tokens"] == 0
    kernel.run("%config LLMagic.store = 'kept'")
    kernel.load(llama.model, None, "--ctx", "512")
    assert kernel.ask("Tell me.", "a").usage["restored"]["tokens"] == 0
    kernel.load(llama.model, None, "--ctx", "1024")
    restored = kernel.ask("Tell me.", "a").usage["restored"]
    assert restored["tokens"] > 0
    assert restored["tier"] == "disk"


def test_restart_by_unload_forgets_the_model_not_the_conversation(
    kernel: Kernel, llama: Toy
) -> None:
    kernel.load(llama.model)
    kernel.ask("Tell me.", "a")
    above = kernel.ask("More.", "b").usage["prompt"]
    assert kernel.run("%llm unload").error is None
    assert kernel.ask("More.", "b").error == "NoModelError"
    kernel.load(llama.model)
    assert kernel.ask("More.", "b").usage["prompt"] == above


def test_the_extension_can_be_unloaded_and_loaded_again(kernel: Kernel, llama: Toy) -> None:
    kernel.load(llama.model)
    kernel.ask("Tell me.")
    assert kernel.run("%reload_ext llmagic").error is None
    assert re.search(r"^model +none", kernel.run("%llm status").text, flags=re.MULTILINE)
    kernel.load(llama.model)
    assert kernel.ask("Tell me.").error is None
    assert kernel.run("%unload_ext llmagic").error is None
    assert "not found" in kernel.ask("Tell me.").stderr


@pytest.fixture
def other_vocabulary(tmp_path: Path) -> Iterator[Toy]:
    """A model whose vocabulary ends where that of the other toys goes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "N_MERGES", 20)
        tokenizer.vocabulary.cache_clear()
        yield write("llama", tmp_path / "other")
    tokenizer.vocabulary.cache_clear()


def test_another_model_from_this_cell_on(
    kernel: Kernel, llama: Toy, qwen35: Toy, other_vocabulary: Toy
) -> None:
    kernel.load(qwen35.model)
    kernel.ask("Tell me.", "a")
    before = kernel.ask("More.", "b")
    other = kernel.ask("More.", "b", f"-m {other_vocabulary.model}")
    assert other.usage["model"] == "llmagic toy llama"
    above = "get_ipython().magics_manager.registry['LLMagic'].conversation.entries[0].turn"
    text = eval(kernel.value(f"{above}.text"))
    assert len(eval(kernel.value(f"{above}.tokens"))) > len(text.encode()) // 2, "in small tokens"

    again = kernel.ask("More.", "b", f"-m {qwen35.model}")
    assert again.usage["turn"] == before.usage["turn"], "in its own tokens again"
    assert kernel.ask("More.", "c").usage["model"] == "llmagic toy qwen35"
    missing = kernel.ask("More.", "d", "-m nothing.gguf")
    assert missing.error == "ModelFileError"
    assert kernel.ask("More.", "d").usage["model"] == "llmagic toy qwen35"
