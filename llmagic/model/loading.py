"""A model file in memory: its weights, its vocabulary, and what kind of memory it needs."""

from __future__ import annotations

import ctypes
import enum
import re
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import chain, pairwise
from pathlib import Path

from llmagic.errors import Interrupted, ModelError, ModelFileError, PromptError
from llmagic.model.adapters import load_adapter
from llmagic.model.gguf import Header, doubled_token, read_header
from llmagic.model.interrupt import InterruptFlag
from llmagic.model.library import LOG, llama

SPACE_PREFIX = b"tokenizer.ggml.add_space_prefix"

NOT_LOADED = "the model was not loaded."
"""What Ctrl-C meanwhile is told as."""

NO_VOCABULARY = ("none", "no_vocab")
"""Tokenizers of models without one, of which llama.cpp reads no tokens."""

HIDDEN_WINDOW = {
    "deepseek4": "llama-model.cpp:2984: llama_model_n_swa says 0 because that window cannot be "
    "rolled back; its cells move all the same",
}
"""Architectures with a sliding window that llama.cpp does not tell of, each with its reason."""

LONGEST_WORD = 4096
"""Most BPE vocabularies split words with std::regex, which takes some 300 bytes of stack for each
character of a word: from about 25,000 on it overflows and ends the process (measured with every
pre-tokenizer: deepseek, falcon, bloom, gpt-4o and others). Longer words are cut (characters)."""

_WORD = re.compile(r"\S+|\s+")

BYTES = tuple(f"<0x{byte:02X}>".encode() for byte in range(256))
"""How SentencePiece vocabularies write their tokens for single bytes."""


class Memory(enum.StrEnum):
    """What a model remembers of its context.

    Only plain attention can be cut at any token; the others need the state saved at the place.
    """

    ATTENTION = "attention"
    SWA = "swa"
    HYBRID = "hybrid"
    RECURRENT = "recurrent"

    @property
    def can_be_cut(self) -> bool:
        return self is Memory.ATTENTION


class Model:
    """The weights and the vocabulary of one GGUF file.

    Parameters
    ----------
    path : Path
        The file; the first one of a split model.
    n_gpu_layers : int
        Layers to put on the GPU, -1 for all.
    lora : sequence of (path, scale)
        LoRA adapters that every context of the model evaluates with.
    on_progress : callable, optional
        Called with the fraction loaded, 0 to 1.
    interrupt : InterruptFlag, optional
        Asked while the file is read.

    Raises
    ------
    ModelFileError
        The file cannot be loaded.
    ModelError
        It can, and it is no model one can talk to (an encoder-decoder, a diffusion model).
    """

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int = -1,
        lora: Sequence[tuple[str, float]] = (),
        on_progress: Callable[[float], None] | None = None,
        interrupt: InterruptFlag | None = None,
    ) -> None:
        self.header: Header = read_header(path)
        if self.header.architecture == "clip":
            raise ModelFileError(
                f"expected a model, and {str(path)!r} is a vision projector. Load the model it "
                "belongs to, and give this file as --projector (projector=)."
            )
        if self.header.metadata.get("tokenizer.ggml.model") not in NO_VOCABULARY:
            doubled = doubled_token(path)
            if doubled is not None:
                raise ModelFileError(
                    f"expected a vocabulary of different tokens, and {str(path)!r} has {doubled!r} "
                    "twice, with which llama.cpp would end the kernel. Convert the model again, or "
                    "get it from elsewhere."
                )
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = n_gpu_layers
        # Texts are tokenised piece by piece; SentencePiece would put a space before each of them.
        overrides = (llama.llama_model_kv_override * 2)()
        overrides[0].key = SPACE_PREFIX
        overrides[0].tag = llama.LLAMA_KV_OVERRIDE_TYPE_BOOL
        overrides[0].value.val_bool = False
        parameters.kv_overrides = overrides

        def report(fraction: float, _: ctypes.c_void_p) -> bool:
            if on_progress is not None:
                on_progress(fraction)
            return interrupt is None or not interrupt.is_set()

        parameters.progress_callback = llama.llama_progress_callback(report)
        with LOG.section() as log:
            pointer = llama.llama_model_load_from_file(str(path).encode(), parameters)
            if not pointer and interrupt is not None and interrupt.is_set():
                raise Interrupted(NOT_LOADED)
            if not pointer:
                raise ModelFileError(
                    f"expected a model llama.cpp can load, and {str(path)!r} "
                    f"({self.header.architecture}) is none. llama.cpp: {log.errors()}"
                )
        self.pointer = pointer
        self._finalizer = weakref.finalize(self, llama.llama_model_free, pointer)
        if llama.llama_model_has_encoder(pointer) or llama.llama_model_is_diffusion(pointer):
            self.close()
            raise ModelError(
                f"expected a decoder-only language model, and {str(path)!r} "
                f"({self.header.architecture}) is an encoder-decoder or diffusion model."
            )
        self._has_window = True
        self.vocabulary = Vocabulary(self)
        if not self.vocabulary.n_tokens:
            self.close()
            raise ModelError(
                f"expected a model with a vocabulary, and {str(path)!r} has no token at all."
            )
        try:
            self.adapters = tuple(
                load_adapter(pointer, self.name, Path(each).expanduser(), scale)
                for each, scale in lora
            )
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        return str(self.header.metadata.get("general.name", self.header.path.stem))

    @property
    def digest(self) -> str:
        """Digest (hex) of the file: of the weights, and of the vocabulary."""
        return self.header.digest.hex()

    @property
    def memory(self) -> Memory:
        if llama.llama_model_is_hybrid(self.pointer):
            return Memory.HYBRID
        if llama.llama_model_is_recurrent(self.pointer):
            return Memory.RECURRENT
        if self.n_swa > 0:
            return Memory.SWA
        return Memory.ATTENTION

    def has_no_window(self) -> None:
        """Say that the window the file speaks of is not there (a context found out)."""
        self._has_window = False

    @property
    def n_swa(self) -> int:
        """Length of the sliding window (tokens), 0 without one."""
        if not self._has_window:
            return 0
        if self.header.architecture in HIDDEN_WINDOW:
            return self.header.number("attention.sliding_window")
        return int(llama.llama_model_n_swa(self.pointer))

    @property
    def n_ctx_train(self) -> int:
        """Longest context the model was trained for (tokens)."""
        return int(llama.llama_model_n_ctx_train(self.pointer))

    @property
    def n_embd(self) -> int:
        """Length of the embedding a projector must deliver (floats)."""
        return int(llama.llama_model_n_embd_inp(self.pointer))

    @property
    def template(self) -> str | None:
        """The chat template in the file, Jinja source."""
        text = llama.llama_model_chat_template(self.pointer, None)
        return text.decode("utf-8", "replace") if text else None

    def close(self) -> None:
        """Free the weights. Every context must be closed before."""
        self._finalizer()


class Vocabulary:
    """Text to tokens and back. Keeps the model alive."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.pointer = llama.llama_model_get_vocab(model.pointer)
        self.n_tokens = int(llama.llama_vocab_n_tokens(self.pointer))
        bos = int(llama.llama_vocab_bos(self.pointer))
        self.bos: int | None = bos if bos >= 0 else None
        self.add_bos = bool(llama.llama_vocab_get_add_bos(self.pointer))
        kind = llama.llama_vocab_type(self.pointer)
        self._splits_words = bool(kind == llama.LLAMA_VOCAB_TYPE_BPE)
        # History is tokenised again at every cell; the cache makes that a look-up.
        self._cached = lru_cache(maxsize=4096)(self._tokenize)
        self.piece = lru_cache(maxsize=None)(self._piece)
        self.ends_reply = lru_cache(maxsize=None)(self._ends_reply)

    @property
    def has_text(self) -> bool:
        """Whether there is a tokenizer at all (a bare test model may have none)."""
        kind = llama.llama_vocab_type(self.pointer)
        return bool(kind != llama.LLAMA_VOCAB_TYPE_NONE)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; control tokens are recognised only with `special`.

        Raises
        ------
        PromptError
            The vocabulary cannot write a character.
        """
        return list(self._cached(text, special))

    def _tokenize(self, text: str, special: bool) -> tuple[int, ...]:
        self._check_writable(text, special)
        # Not a template's text: a cut could go through a control token.
        cut = self._splits_words and not special
        parts = _without_long_words(text) if cut else [text]
        return tuple(token for part in parts for token in self._tokenize_part(part, special))

    def _tokenize_part(self, text: str, special: bool) -> tuple[int, ...]:
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        while True:
            buffer = (llama.llama_token * size)()
            n = llama.llama_tokenize(self.pointer, data, len(data), buffer, size, False, special)
            if n >= 0:
                return tuple(buffer[:n])
            size = -n

    @cached_property
    def _spellings(self) -> frozenset[bytes] | None:
        """All tokens of a SentencePiece vocabulary without a token for each byte; else None."""
        if llama.llama_vocab_type(self.pointer) != llama.LLAMA_VOCAB_TYPE_SPM:
            return None
        found, missing = set[bytes](), set(BYTES)
        for token in range(self.n_tokens):
            spelling = llama.llama_vocab_get_text(self.pointer, token)
            found.add(spelling)
            missing.discard(spelling)
            if not missing:
                return None
        return frozenset(found)

    def _check_writable(self, text: str, special: bool) -> None:
        """Refuse a character that neither a token nor tokens of bytes can write.

        llama.cpp ends the process at one (llama-vocab.cpp:4014). One that only longer tokens have
        counts as one: whether they come about depends on what stands around it.
        """
        if self._spellings is None or all(map(self._can_write, set(text))):
            return
        apart = llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        if special:
            apart |= llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN
        marks = {
            self.text(token)
            for token in range(self.n_tokens)
            if int(llama.llama_vocab_get_attr(self.pointer, token)) & apart
        }
        # These are taken out of a text before it is cut into characters, the longest first.
        parts = [text]
        for mark in sorted(marks - {""}, key=lambda mark: -len(mark.encode())):
            parts = [piece for part in parts for piece in part.split(mark)]
        for character in chain.from_iterable(parts):
            if not self._can_write(character):
                raise PromptError(
                    f"expected text that this model's vocabulary can write, and it has no token "
                    f"for {character!r} (U+{ord(character):04X}), nor for its bytes. Leave the "
                    "character out (where it is the chat template's, give another template), or "
                    "load a model that has them."
                )

    def _can_write(self, character: str) -> bool:
        known = self._spellings or ()
        data = ("\u2581" if character == " " else character).encode("utf-8", "replace")
        return data in known or all(BYTES[byte] in known or bytes([byte]) in known for byte in data)

    def spell(self, tokens: Iterable[int]) -> str:
        """Text of tokens with control tokens written out, as templates look for them."""
        pieces = (self._piece(token, special=True) for token in tokens)
        return b"".join(pieces).decode("utf-8", "replace")

    def _piece(self, token: int, special: bool = False) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama.llama_token_to_piece(self.pointer, token, buffer, size, 0, special)
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def text(self, token: int | None) -> str:
        """A token as it is written in the vocabulary, for templates (`bos_token`)."""
        if token is None or token < 0:
            return ""
        return str(llama.llama_vocab_get_text(self.pointer, token).decode("utf-8", "replace"))

    @property
    def eos(self) -> int | None:
        eos = int(llama.llama_vocab_eos(self.pointer))
        return eos if eos >= 0 else None

    def is_markup(self, token: int) -> bool:
        """Whether `token` is for templates: a control token, or one such as `<think>`."""
        attributes = int(llama.llama_vocab_get_attr(self.pointer, token))
        if attributes & llama.LLAMA_TOKEN_ATTR_USER_DEFINED:
            text = self.piece(token)
            return text.startswith(b"<") and text.endswith(b">")
        return bool(attributes & llama.LLAMA_TOKEN_ATTR_CONTROL)

    def _ends_reply(self, token: int) -> bool:
        """Whether `token` ends generation."""
        return bool(llama.llama_vocab_is_eog(self.pointer, token))


def _without_long_words(text: str) -> list[str]:
    """The text in parts of which none has a word of more than `LONGEST_WORD` characters."""
    if len(text) <= LONGEST_WORD:
        return [text]
    cuts = [0]
    for word in _WORD.finditer(text):
        cuts += range(word.start() + LONGEST_WORD, word.end(), LONGEST_WORD)
    return [text[start:stop] for start, stop in pairwise([*cuts, len(text)])]
