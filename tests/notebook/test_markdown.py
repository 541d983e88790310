"""What a model writes is shown, and does nothing."""

from __future__ import annotations

import copy
import pickle

import pytest

from llmagic.notebook.display import cut
from llmagic.notebook.markdown import harmless
from llmagic.notebook.reply import Reply


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain *text* with [a link](x)", "plain *text* with [a link](x)"),
        ("a <b>bold</b> List<int>", r"a \<b>bold\</b> List\<int>"),
        ('<img src="https://example.com/x.png">', r'\<img src="https://example.com/x.png">'),
        ("![alt](https://example.com/x.png)", r"\![alt](https://example.com/x.png)"),
        ("from $5 to $10, and $x^2$", r"from \$5 to \$10, and $x^2$"),
        (
            "`a < b` and\n```\n<b> $5 ![x](y)\n```\nafter <",
            "`a < b` and\n```\n<b> $5 ![x](y)\n```\nafter \\<",
        ),
        (r"escaped \< and \\<", r"escaped \< and \\\<"),
        ("```\nopen <", "```\nopen <"),
        ("", ""),
    ],
)
def test_harmless(text: str, shown: str):
    assert harmless(text) == shown


def test_a_reply_that_was_cut_says_so():
    assert cut("end", 8, 8) is None
    assert cut("length", 8, 8) == "cut after 8 tokens (--max-tokens)"
    assert cut("length", 5, 8) == "cut after 5 tokens (the context is full)"


def test_a_reply_can_be_copied(toy_named):
    from llmagic.session import Session

    with Session(toy_named("llama").model) as session:
        turn = session.ask("Hello", max_tokens=3)
    reply = Reply(turn, turn.usage)
    for other in (pickle.loads(pickle.dumps(reply)), copy.deepcopy(reply)):
        assert (other, other.turn, other.usage) == (reply, turn, turn.usage)
