"""Drawing tokens with llama.cpp's sampler chain, and turning them into text."""

from __future__ import annotations

import codecs
import ctypes
import weakref

import numpy as np
import numpy.typing as npt

from llmagic.errors import EvaluationError
from llmagic.model.context import Context
from llmagic.model.grammar import Grammar
from llmagic.model.library import llama
from llmagic.settings import Sampling

CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
"""llama.h, llama_token_data."""


class Sampler:
    """llama.cpp's chain: penalties, top-k, top-p, min-p, temperature, draw.

    Parameters
    ----------
    sampling : Sampling
    seed : int
        Seed of the draw (32 bit); `sampling.seed` is not looked at.
    n_vocab : int
        Tokens in the vocabulary.
    grammar : Grammar, optional
        What the text is held to: only what it allows is given to the chain.
    """

    def __init__(
        self, sampling: Sampling, seed: int, n_vocab: int, grammar: Grammar | None = None
    ) -> None:
        self._grammar = grammar
        parameters = llama.llama_sampler_chain_default_params()
        parameters.no_perf = True
        chain = llama.llama_sampler_chain_init(parameters)
        self._chain = chain
        self._finalizer = weakref.finalize(self, llama.llama_sampler_free, chain)
        if sampling.repeat_penalty != 1.0:
            self._add(
                llama.llama_sampler_init_penalties(
                    n_vocab, sampling.repeat_last_n, sampling.repeat_penalty, 0.0, 0.0
                )
            )
        if sampling.temperature <= 0:
            self._add(llama.llama_sampler_init_greedy())
            return
        if sampling.top_k > 0:
            self._add(llama.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1:
            self._add(llama.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            self._add(llama.llama_sampler_init_min_p(sampling.min_p, 1))
        self._add(llama.llama_sampler_init_temp(sampling.temperature))
        self._add(llama.llama_sampler_init_dist(seed))

    def _add(self, sampler: int | None) -> None:
        if not sampler:
            raise EvaluationError("llama.cpp could not make a sampler.")
        llama.llama_sampler_chain_add(self._chain, sampler)

    def sample(self, context: Context, *, free: bool = False) -> int:
        """The next token, from the logits of the last evaluated one; it counts for penalties.

        `free`: it is not held to the grammar, and no part of its text.
        """
        if self._grammar is None or free:
            return int(llama.llama_sampler_sample(self._chain, context.pointer, -1))
        token = self._choose(context, self._grammar.allowed())
        self._grammar.accept(token)
        return token

    def _choose(self, context: Context, allowed: npt.NDArray[np.int32]) -> int:
        if not len(allowed):
            raise EvaluationError("no token may follow, and none ends the reply.")
        candidates = np.zeros(len(allowed), CANDIDATE)
        candidates["id"] = allowed
        candidates["logit"] = context.logits()[allowed]
        array = llama.llama_token_data_array(
            data=candidates.ctypes.data_as(ctypes.POINTER(llama.llama_token_data)),
            size=len(candidates),
            selected=-1,
            sorted=False,
        )
        llama.llama_sampler_apply(self._chain, ctypes.byref(array))
        token = int(array.data[array.selected].id)
        llama.llama_sampler_accept(self._chain, token)
        return token


class TextStream:
    """Bytes of tokens to text, holding back what may still change.

    A character may be spread over tokens, and the end of the text may be the beginning of a stop
    text; neither is shown before it is certain. `may_stop` says whether there is a stop text.
    """

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(text for text in stop if text)
        self.may_stop = bool(self._stop)
        self._shown = 0
        self.text = ""
        self.stopped = False

    def push(self, data: bytes) -> str:
        """Add a token's bytes; returns the text that is now certain, "" where none is."""
        new = self._decoder.decode(data)
        self.text += new
        if not self._stop:
            self._shown = len(self.text)
            return new
        at = self._find_stop(max(0, self._shown - max(map(len, self._stop))))
        if at is not None:
            self.text, self.stopped = self.text[:at], True
            return self._release(len(self.text))
        return self._release(self.held_from())

    def finish(self) -> str:
        """The rest of the text, at the end of the reply."""
        if not self.stopped:
            self.text += self._decoder.decode(b"", final=True)
        return self._release(len(self.text))

    def held_from(self) -> int:
        """Index of the first character that may belong to a stop text; the length if none may."""
        longest = max(map(len, self._stop), default=0)
        for start in range(max(0, len(self.text) - longest + 1), len(self.text)):
            tail = self.text[start:]
            if any(stop.startswith(tail) for stop in self._stop):
                return start
        return len(self.text)

    @property
    def uncertain(self) -> bool:
        """Whether the last token may turn out to be part of a stop text."""
        if not self._stop:
            return False
        return self.inside_character or self.held_from() < len(self.text)

    @property
    def inside_character(self) -> bool:
        """Whether the bytes so far end with a part of a character."""
        pending, _ = self._decoder.getstate()
        return bool(pending)

    def _find_stop(self, start: int) -> int | None:
        found = [at for stop in self._stop if (at := self.text.find(stop, start)) >= 0]
        return min(found, default=None)

    def _release(self, end: int) -> str:
        new = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return new
