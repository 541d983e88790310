"""One sequence in one llama.cpp context, as bare as it gets: what the toys are tested with.

It knows llama.cpp's bindings only, nothing of llmagic.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as llama
from llama_cpp import mtmd_cpp as mtmd

from tests.toys import Toy

BATCH = 128
"""Tokens evaluated at once. A cache of a window has n_seq_max * window + n_ubatch cells and forgets
nothing before they are full: a larger batch would hide that the window moves."""

Logits = npt.NDArray[np.float32]


class Runner:
    """A model with its projector, a context, and the next position of sequence 0 in it."""

    def __init__(self, toy: Toy) -> None:
        self.model = llama.llama_model_load_from_file(
            os.fsencode(toy.model), llama.llama_model_default_params()
        )
        assert self.model, f"{toy.model} does not load"
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 1024, BATCH, BATCH, 2
        params.kv_unified, params.swa_full = True, False
        params.n_threads = params.n_threads_batch = 1
        self.context = llama.llama_init_from_model(self.model, params)
        self.memory = llama.llama_get_memory(self.context)
        self.vocab = llama.llama_model_get_vocab(self.model)
        self.n_vocab = llama.llama_vocab_n_tokens(self.vocab)
        self.position = 0
        self.vision = None
        if toy.projector is not None:
            settings = mtmd.mtmd_context_params_default()
            settings.use_gpu, settings.warmup, settings.n_threads = False, False, 1
            self.vision = mtmd.mtmd_init_from_file(os.fsencode(toy.projector), self.model, settings)
            assert self.vision, f"{toy.projector} does not load"

    def close(self) -> None:
        if self.vision is not None:
            mtmd.mtmd_free(self.vision)
        llama.llama_free(self.context)
        llama.llama_model_free(self.model)

    def clear(self) -> None:
        llama.llama_memory_clear(self.memory, True)
        self.position = 0

    def decode(self, tokens: Sequence[int]) -> Logits:
        """Evaluate tokens, `BATCH` at once; the logits after the last."""
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            batch = llama.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for index, token in enumerate(part):
                batch.token[index] = token
                batch.pos[index] = self.position + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = index == len(part) - 1
            assert llama.llama_decode(self.context, batch) == 0
            llama.llama_batch_free(batch)
            self.position += len(part)
        row = llama.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(row, (self.n_vocab,)).copy()

    def fresh(self, tokens: Sequence[int]) -> Logits:
        self.clear()
        return self.decode(tokens)

    def greedy(self, logits: Logits, n: int) -> list[int]:
        out = []
        for _ in range(n):
            out.append(int(logits.argmax()))
            logits = self.decode(out[-1:])
        return out

    def tokenize(self, text: str, special: bool) -> list[int]:
        data = text.encode()
        out = (llama.llama_token * (len(data) + 2))()
        n = llama.llama_tokenize(self.vocab, data, len(data), out, len(out), False, special)
        return list(out[:n])

    def piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        n = llama.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[:n]

    def chunks(self, pixels: npt.NDArray[np.uint8]) -> list[int]:
        """The chunks of one image: its opening token, the image, its closing token."""
        height, width, _ = pixels.shape
        data = (ctypes.c_uint8 * pixels.size).from_buffer_copy(pixels.tobytes())
        part = mtmd.mtmd_input_part(None, mtmd.mtmd_bitmap_init(width, height, data))
        parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
        chunks = mtmd.mtmd_input_chunks_init()
        assert mtmd.mtmd_tokenize_from_parts(self.vision, chunks, parts, 1, False) == 0
        size = mtmd.mtmd_input_chunks_size(chunks)
        return [mtmd.mtmd_input_chunks_get(chunks, index) for index in range(size)]

    def embed(self, chunk: int) -> Logits:
        assert mtmd.mtmd_encode_chunk(self.vision, chunk) == 0
        n = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        width = llama.llama_model_n_embd_inp(self.model)
        data = ctypes.cast(mtmd.mtmd_get_output_embd(self.vision), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(data, (n, width)).copy()

    def see(self, chunk: int, embedding: Logits) -> int:
        """Evaluate an image; how many positions it took."""
        start, after = self.position, llama.llama_pos()
        data = embedding.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        done = mtmd.mtmd_helper_decode_image_chunk(
            self.vision,
            self.context,
            chunk,
            data,
            start,
            0,
            BATCH,
            ctypes.byref(after),
            mtmd.mtmd_helper_post_decode_callback(),
            None,
        )
        assert done == 0
        self.position = after.value
        return self.position - start

    def partial(self) -> bytes:
        """The window or the recurrent rows of the sequence (llama.h, PARTIAL_ONLY)."""
        size = llama.llama_state_seq_get_size_ext(self.context, 0, 1)
        buffer = (ctypes.c_uint8 * size)()
        assert llama.llama_state_seq_get_data_ext(self.context, buffer, size, 0, 1) == size
        return bytes(buffer)

    def put_partial(self, state: bytes) -> None:
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        assert llama.llama_state_seq_set_data_ext(self.context, buffer, len(state), 0, 1)
