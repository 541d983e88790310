"""Which tokens a JSON schema lets follow: llguidance's masks on llama.cpp's vocabulary.

llama.cpp has a grammar sampler of its own. Its converter from JSON schemas is not in the library
that is installed, and the one in llama-cpp-python ignores ranges, lengths and patterns
(docs/replies.md has the count). llguidance is the engine llama.cpp offers as an alternative
(pull request 10224): it checks a schema before anything is evaluated, and never aborts.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from llmagic.errors import EvaluationError, UsageError
from llmagic.model.loading import Vocabulary

OPTIONS: Any = {
    # One way to write a value, on one line: a small model would fill a line with blanks.
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # What the grammar cannot hold to is told, and checked when the reply is complete.
    "lenient": True,
    "coerce_one_of": True,
}


class Grammars:
    """Makes grammars for one vocabulary; what they share is made once, on first use."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def of(self, schema: str) -> Grammar:
        """The grammar of a schema, given as JSON text.

        Raises
        ------
        UsageError
            No reply of this model can be held to this schema.
        """
        return Grammar(self._tokens, schema)

    @cached_property
    def _tokens(self) -> LLTokenizer:
        # Takes up to a second with a vocabulary of 150,000 tokens.
        vocabulary = self._vocabulary
        ends = [token for token in range(vocabulary.n_tokens) if vocabulary.ends_reply(token)]
        if not ends or not vocabulary.has_text:
            raise UsageError(
                "expected a model that can end a reply for a schema, and the vocabulary of this "
                "one has no token for that. Ask without a schema."
            )
        # A wrapper that is no subclass of theirs, which expects another kind of tokenizer.
        wrapper = cast("TokenizerWrapper", _Wrapper(vocabulary, ends[0]))
        return LLTokenizer(wrapper, n_vocab=vocabulary.n_tokens, eos_token=ends)


class _Wrapper:
    """A vocabulary with the attributes llguidance asks for (its `TokenizerWrapper`)."""

    is_tokenizer_wrapper = True

    def __init__(self, vocabulary: Vocabulary, eos: int) -> None:
        every = range(vocabulary.n_tokens)
        self._vocabulary = vocabulary
        self.eos_token_id = eos
        self.bos_token_id = vocabulary.bos
        self.special_token_ids = [token for token in every if vocabulary.is_markup(token)]
        # An empty text for a token that shows none: no grammar asks for it.
        self.tokens = [vocabulary.piece(token) for token in every]
        for token in self.special_token_ids:
            self.tokens[token] = vocabulary.spell([token]).encode()

    def __call__(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text, special=False)


class Grammar:
    """The texts a schema describes, token by token.

    Parameters
    ----------
    tokens : LLTokenizer
        The vocabulary as llguidance reads it.
    schema : str
        JSON text of a schema.

    Attributes
    ----------
    ignored : str
        What of the schema the tokens are not held to; "" if they are held to all of it.

    Raises
    ------
    UsageError
        No text is held to such a schema, or none fits it.
    """

    def __init__(self, tokens: LLTokenizer, schema: str) -> None:
        source = LLMatcher.grammar_from_json_schema(schema, overrides=OPTIONS)
        failed, messages = LLMatcher.validate_grammar_with_warnings(source, tokens)
        if failed:
            raise UsageError(
                f"expected a schema a reply can be held to, and got one of which llguidance says: "
                f"{messages[0].strip()}. Change the schema."
            )
        self.ignored = "; ".join(message.strip() for message in messages)
        self._n_tokens = tokens.vocab_size
        # 0: it writes nothing to stderr.
        self._matcher = LLMatcher(tokens, source, log_level=0)
        self._check()

    @property
    def complete(self) -> bool:
        """Whether nothing can follow any more."""
        return self._matcher.is_stopped()

    def allowed(self) -> npt.NDArray[np.int32]:
        """Tokens that may follow, one that ends the reply among them where it may end here.

        Raises
        ------
        EvaluationError
            The text cannot go on, or the schema is too much work.
        """
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        bits = np.unpackbits(mask, count=self._n_tokens, bitorder="little")
        self._check()
        return np.flatnonzero(bits).astype(np.int32)

    def accept(self, token: int) -> None:
        """Go on with a token."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            error = self._matcher.get_error().strip().splitlines()
            raise EvaluationError(
                f"the reply could not be held to the schema: {error[0] if error else 'no reason'}. "
                "Make the schema simpler, or ask without it."
            )
