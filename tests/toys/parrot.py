"""A model written by hand that says what a script says: for what noise cannot do, such as think or
call a tool.

It has one attention, which looks at the newest *cue* before the current token (MPT's ALiBi makes
the newest the largest), and answers with the phrases the script has for it. Every cue and every
phrase is one token. A phrase is followed by the next one of its row, the last one by the end of the
reply. Where there is no cue, it says "Hm.". Use it with temperature 0.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

from tests.toys import tokenizer, weights

NOTHING = "Hm."
FAR = 20_000.0
"""Attention score of a cue; one token of distance costs about 1."""

NOTEBOOK = {
    "trips": [
        "I look that up.\n",
        '<tool_call>\n{"name": "spent", "arguments": {"category": "travel"}}\n</tool_call>',
    ],
    "presents": [
        '<tool_call>\n{"name": "spent", "arguments": {"category": "gifts"}}\n</tool_call>'
    ],
    "thank": ["You are welcome."],
    "<tool_response>": ["That is what the books say."],
}

Script = Mapping[str, Sequence[str]]


def write(folder: Path, script: Script, template: str, *, control: Sequence[str] = ()) -> Path:
    """Write a parrot; returns its path.

    Parameters
    ----------
    folder
        Made if it is missing; the file is named by the other arguments.
    script
        Phrases by cue. A phrase may stand in several rows if the same one follows it everywhere.
    template
        Chat template (Jinja).
    control
        Cues and phrases that are control tokens: shown to nobody, made by templates only.
    """
    name = hashlib.sha256(repr((dict(script), template, control)).encode()).hexdigest()[:16]
    path = folder / f"parrot-{name}.gguf"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    vocab = tokenizer.vocabulary()
    words = dict.fromkeys([NOTHING, *script, *(each for row in script.values() for each in row)])
    texts = list(words)
    if known := set(texts) & set(vocab.tokens):
        raise ValueError(f"{known} are tokens already: the prompt may hold them")
    types = [TokenType.CONTROL if t in control else TokenType.USER_DEFINED for t in texts]
    writer = GGUFWriter(None, "mpt")
    writer.add_name("parrot")
    more = dict(zip(texts, types, strict=True))
    tokenizer.add_tokenizer(writer, add_bos=False, more=more, template=template)
    tokens = [*vocab.tokens, *texts]
    _fill(writer, script, {text: index for index, text in enumerate(tokens)})
    weights.finish(writer, path)
    return path


def _fill(writer: GGUFWriter, script: Script, ids: dict[str, int]) -> None:
    following = _following(script)
    cues, phrases = list(script), list(following)
    # Dimensions: always 1, a cue, which cue, which phrase.
    always, cue, which, said = 0, 1, 2, 2 + len(cues)
    n_embd = -(-(said + len(phrases)) // 64) * 64
    embedding = np.zeros((len(ids), n_embd), np.float32)
    output = np.zeros((len(ids), n_embd), np.float32)
    embedding[:, always] = 1
    for index, text in enumerate(cues):
        embedding[ids[text], [cue, which + index]] = 1
        output[ids[script[text][0]], which + index] = 1
    for index, text in enumerate(phrases):
        embedding[ids[text], said + index] = 1
        output[ids[following[text]], said + index] = 1000
    output[ids[NOTHING], always] = 0.01
    query, key, value = (np.zeros((n_embd, n_embd), np.float32) for _ in range(3))
    # Scores are divided by the root of n_embd; normalised, a 1 is about the root of n_embd / 3.
    strength = np.sqrt(FAR * np.sqrt(n_embd) / n_embd * 3)
    query[0, always] = strength
    key[0, cue] = strength
    span = np.arange(which, said)
    value[span, span] = 1
    writer.add_context_length(4096)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_eps(1e-5)
    # One head's slope is 2 to the power of minus this.
    writer.add_max_alibi_bias(0.01)
    ones = np.ones(n_embd, np.float32)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", ones)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("blk.0.attn_qkv.weight", np.concatenate([query, key, value]))
    writer.add_tensor("blk.0.attn_output.weight", np.eye(n_embd, dtype=np.float32))
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((64, n_embd), np.float32))
    writer.add_tensor("blk.0.ffn_down.weight", np.zeros((n_embd, 64), np.float32))


def _following(script: Script) -> dict[str, str]:
    """What follows each phrase."""
    following = {NOTHING: tokenizer.IM_END}
    for row in script.values():
        for phrase, after in pairwise([*row, tokenizer.IM_END]):
            if following.setdefault(phrase, after) != after:
                raise ValueError(f"{phrase!r} is followed by {after!r} and {following[phrase]!r}")
    return following


def for_notebook(folder: Path) -> Path:
    """The parrot of notebooks/05_tools.ipynb, which calls the functions defined there.

    It is committed beside the notebook, as `notebooks/parrot.gguf`.
    """
    template = Path(__file__).parents[1] / "templates" / "hermes.jinja"
    return write(folder, NOTEBOOK, template.read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(for_notebook(Path(sys.argv[1])))
