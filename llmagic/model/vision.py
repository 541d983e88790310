"""Pictures into the language model: placing, encoding, evaluating.

An image is encoded once: its embedding is kept under the digest of its pixels, so neither other
words around it nor another branch run the encoder again.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import weakref
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llmagic.errors import EvaluationError, ImageError, ProjectorError
from llmagic.model.context import Context
from llmagic.model.gguf import Header, read_header
from llmagic.model.library import LOG, build, llama, mtmd
from llmagic.model.loading import Model
from llmagic.prompt.images import Picture
from llmagic.sequence import Boundary, Media, Span, Text
from llmagic.store import Kind, Store

Embedding = npt.NDArray[np.float32]

LARGEST_SIDE = 8192
IMAGE_TOKENS = "llmagic.image_tokens"
"""Metadata of a projector that was trained on small pictures only: most tokens for one."""
_TOO_FEW = re.compile(r"image_max_pixels \((\d+)\) is less than image_min_pixels \((\d+)\)")
"""What llama.cpp says where an image may have fewer tokens than the projector gives one."""
UNSUPPORTED = {
    # Its positions count the images before (mtmd.cpp, MTMD_POS_TYPE_HUNYUANVL), so an image's
    # state would depend on how many stand above it.
    "hunyuanvl": "its image positions depend on the number of images above",
    # mtmd.cpp pads the image to a multiple of 4 of the tokens above it.
    "deepseek4v": "its images are padded by the number of tokens above",
}


class Slot:
    """One image (or slice) as mtmd placed it; encoded on demand.

    The chunk holds the resized pixels until they are encoded, and only sizes and positions after.
    """

    def __init__(self, picture: Picture, index: int, chunk: int) -> None:
        self.picture = picture
        self.index = index
        self.keep(chunk)
        self.has_pixels = True

    def keep(self, chunk: int) -> None:
        """Hold (and later free) this chunk instead of the one held so far."""
        previous = getattr(self, "_finalizer", None)
        self.chunk = chunk
        self._finalizer = weakref.finalize(self, mtmd.mtmd_input_chunk_free, chunk)
        if previous is not None:
            previous()

    def drop_pixels(self) -> None:
        """Hold sizes and positions alone; the picture gives the pixels again."""
        if self.has_pixels:
            self.keep(mtmd.mtmd_input_chunk_get_placeholder(self.chunk))
            self.has_pixels = False


class Projector:
    """A vision encoder and its projector, for one model.

    Parameters
    ----------
    model : Model
    path : Path
        The projector's GGUF ("mmproj").
    n_threads : int
        Threads for encoding.
    image_tokens : int
        Most tokens for one image, 0 for the projector's own limit (`IMAGE_TOKENS` in its file,
        else llama.cpp's).
    budget : int
        Bytes of embeddings kept in memory, and as many of pictures.
    store : Store, optional
        Where embeddings outlive the process.

    Attributes
    ----------
    digest : bytes
        Of all that counts for an embedding, to the last bit. That of a `Media` is of its content
        alone: the pixels, and what places them.

    Raises
    ------
    ModelFileError
        The file is missing, not a GGUF, or truncated.
    ProjectorError
        It is no vision projector, or one for another model.
    """

    def __init__(
        self,
        model: Model,
        path: Path,
        *,
        n_threads: int,
        image_tokens: int = 0,
        budget: int,
        store: Store | None = None,
    ) -> None:
        self.header: Header = read_header(path)
        kind = str(
            self.header.metadata.get("clip.projector_type")
            or self.header.metadata.get("clip.vision.projector_type", "")
        )
        if self.header.architecture != "clip":
            raise ProjectorError(
                f"expected a projector (a GGUF of architecture 'clip'), and {str(path)!r} is of "
                f"architecture {self.header.architecture!r}. Is it the model itself?"
            )
        if kind in UNSUPPORTED:
            raise ProjectorError(
                f"projectors of type {kind!r} do not work yet: {UNSUPPORTED[kind]}."
            )
        image_tokens = image_tokens or int(self.header.metadata.get(IMAGE_TOKENS, 0))
        parameters = mtmd.mtmd_context_params_default()
        parameters.print_timings = False
        parameters.n_threads = n_threads
        parameters.warmup = False
        if image_tokens:
            parameters.image_max_tokens = image_tokens
        with LOG.section() as log:
            pointer = mtmd.mtmd_init_from_file(str(path).encode(), model.pointer, parameters)
            if not pointer:
                least = _TOO_FEW.search(log.errors()) if image_tokens else None
                if least is not None:
                    fewest = -(-image_tokens * int(least[2]) // int(least[1]))
                    raise ProjectorError(
                        f"expected --image-tokens (image_tokens) of at least {fewest}, the fewest "
                        f"that {path.name!r} takes for an image, and got {image_tokens}; 0 is the "
                        "projector's own limit."
                    )
                raise ProjectorError(
                    f"expected a projector for {model.name!r} (embeddings of {model.n_embd} "
                    f"floats), and {str(path)!r} does not fit it. Use the mmproj file published "
                    "with the model, or none (`--no-projector`, projector=False). llama.cpp: "
                    f"{log.errors()}"
                )
        self._pointer = pointer
        self._finalizer = weakref.finalize(self, _free, pointer, model)
        if not mtmd.mtmd_support_vision(pointer):
            self.close()
            raise ProjectorError(f"expected a vision projector, and {str(path)!r} takes no images.")
        self._n_embd = model.n_embd
        self._model_name = model.name
        self._callback = mtmd.mtmd_helper_post_decode_callback()
        self._store = store
        # What places an image is content, the same in every kernel; how it is computed is not.
        self._placing = self.header.digest + str(image_tokens).encode()
        computing = f" {n_threads} {parameters.use_gpu} {build()}".encode()
        self.digest = hashlib.blake2b(self._placing + computing, digest_size=16).digest()
        self._placed: OrderedDict[bytes, tuple[Span, ...]] = OrderedDict()
        self._placed_bytes = 0
        self._embeddings: OrderedDict[bytes, Embedding] = OrderedDict()
        self.budget = budget

    @property
    def name(self) -> str:
        return str(self.header.metadata.get("general.name", self.header.path.stem))

    def close(self) -> None:
        """Free the encoder. The spans it placed stay valid as values."""
        self._finalizer()
        self._placed.clear()
        self._embeddings.clear()

    # Placing --------------------------------------------------------------------------------

    def place(self, picture: Picture) -> tuple[Span, ...]:
        """The spans that stand for a picture: its begin tokens, image (or slices), end tokens.

        Raises
        ------
        ImageError
            The projector cannot take it.
        """
        spans = self._placed.get(picture.digest)
        if spans is None:
            spans = self._placed[picture.digest] = self._spans(picture, self._chunks(picture))
            self._placed_bytes += len(picture.pixels)
            for media in _media(spans):
                # Of a conversation that is taken over, states and embeddings are there.
                if self.is_encoded(media):
                    _slot(media).drop_pixels()
            while len(self._placed) > 1 and self._placed_bytes > self.budget:
                oldest = _media(self._placed.popitem(last=False)[1])
                self._placed_bytes -= max(len(_slot(media).picture.pixels) for media in oldest)
                # The conversation holds them on.
                for media in oldest:
                    _slot(media).drop_pixels()
        self._placed.move_to_end(picture.digest)
        return spans

    def _chunks(self, picture: Picture) -> list[int]:
        """Mtmd's chunks for a picture; the caller owns the copies."""
        data = (ctypes.c_uint8 * len(picture.pixels)).from_buffer_copy(picture.pixels)
        bitmap = mtmd.mtmd_bitmap_init(picture.width, picture.height, data)
        # Empty ids compare equal (llama-facts), so every bitmap gets one.
        mtmd.mtmd_bitmap_set_id(bitmap, picture.digest.hex().encode())
        return self._tokenize(bitmap, f"{picture.width} x {picture.height} px")

    def _tokenize(self, bitmap: int, what: str) -> list[int]:
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            part = mtmd.mtmd_input_part(None, bitmap)
            parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
            with LOG.section() as log:
                code = mtmd.mtmd_tokenize_from_parts(self._pointer, chunks, parts, 1, False)
                if code != 0:
                    raise ImageError(
                        f"the projector cannot take an image of {what} (code {code}). Resize it "
                        f"and try again. llama.cpp: {log.errors()}"
                    )
            found = range(mtmd.mtmd_input_chunks_size(chunks))
            return [
                mtmd.mtmd_input_chunk_copy(mtmd.mtmd_input_chunks_get(chunks, index))
                for index in found
            ]
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def _spans(self, picture: Picture, chunks: list[int]) -> tuple[Span, ...]:
        media = [index for index, chunk in enumerate(chunks) if not _is_text(chunk)]
        spans: list[Span] = []
        for index, chunk in enumerate(chunks):
            if _is_text(chunk):
                n = ctypes.c_size_t(0)
                tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(n))
                spans.append(Text(tuple(tokens[: n.value])))
                mtmd.mtmd_input_chunk_free(chunk)
                continue
            name = self._placing + picture.digest + index.to_bytes(4, "little")
            spans.append(
                Media(
                    hashlib.sha256(name).digest(),
                    int(mtmd.mtmd_input_chunk_get_n_tokens(chunk)),
                    int(mtmd.mtmd_input_chunk_get_n_pos(chunk)),
                    Boundary.IMAGE if index == media[-1] else None,
                    Slot(picture, index, chunk),
                )
            )
        return tuple(spans)

    def largest_indivisible(self) -> int:
        """Tokens of the largest image whose tokens all see each other (0: none do).

        Such an image must fit one micro-batch (upstream asserts it), so the context is made for
        it. Found by placing empty bitmaps, which llama.cpp takes for counting.
        """
        if not mtmd.mtmd_decode_use_non_causal(self._pointer, None):
            return 0
        largest = 0
        sides = [LARGEST_SIDE // 32 * side for side in range(1, 33)]
        sizes = [(LARGEST_SIDE, side) for side in sides] + [(side, LARGEST_SIDE) for side in sides]
        for size in [(256, 256), *sizes]:
            bitmap = mtmd.mtmd_bitmap_init(*size, None)
            for chunk in self._tokenize(bitmap, f"{size[0]} x {size[1]} px"):
                if not _is_text(chunk):
                    largest = max(largest, int(mtmd.mtmd_input_chunk_get_n_tokens(chunk)))
                mtmd.mtmd_input_chunk_free(chunk)
        return largest

    # Encoding -------------------------------------------------------------------------------

    def is_encoded(self, media: Media) -> bool:
        """Whether the embedding is at hand."""
        if media.digest in self._embeddings:
            return True
        return self._store is not None and self._store.has(Kind.EMBEDDING, self._name(media))

    def n_bytes(self, media: Media) -> int:
        """Bytes of the image's embedding."""
        return media.n_tokens * self._n_embd * np.dtype(np.float32).itemsize

    def encode(self, media: Media) -> tuple[Embedding, bool]:
        """The image's embedding, (n_tokens, n_embd) float32, and whether the encoder ran for it.

        The encoder cannot be interrupted; it finishes the image.

        Raises
        ------
        EvaluationError
            llama.cpp failed to encode it.
        """
        shape = (media.n_tokens, self._n_embd)
        known = self._known(media)
        slot = _slot(media)
        if known is not None and known.shape == shape and known.dtype == np.float32:
            self._keep(media, known)
            slot.drop_pixels()
            return known, False
        if not slot.has_pixels:
            for index, chunk in enumerate(self._chunks(slot.picture)):
                if index == slot.index:
                    slot.keep(chunk)
                else:
                    mtmd.mtmd_input_chunk_free(chunk)
            slot.has_pixels = True
        with LOG.section() as log:
            code = mtmd.mtmd_encode_chunk(self._pointer, slot.chunk)
            if code != 0:
                raise EvaluationError(
                    f"llama.cpp could not encode an image (code {code}): {log.errors()}"
                )
        output = mtmd.mtmd_get_output_embd(self._pointer)
        embedding: Embedding = np.ctypeslib.as_array(output, shape=shape).copy()
        self._keep(media, embedding)
        if self._store is not None:
            self._store.put(
                Kind.EMBEDDING,
                self._name(media),
                arrays={"embedding": embedding},
                meta={"projector": self.name, "model": self._model_name},
            )
        slot.drop_pixels()
        return embedding, True

    @property
    def n_cached(self) -> int:
        return len(self._embeddings)

    @property
    def cached_bytes(self) -> int:
        # A copy in one step: another thread may be encoding (notebook/ahead.py).
        return sum(embedding.nbytes for embedding in list(self._embeddings.values()))

    def _known(self, media: Media) -> Embedding | None:
        known = self._embeddings.get(media.digest)
        if known is None and self._store is not None:
            entry = self._store.get(Kind.EMBEDDING, self._name(media))
            known = None if entry is None else entry.arrays.get("embedding")
        return known

    def _name(self, media: Media) -> bytes:
        """Under which an embedding is stored: other settings give other last bits."""
        return hashlib.sha256(self.digest + media.digest).digest()

    def _keep(self, media: Media, embedding: Embedding) -> None:
        self._embeddings[media.digest] = embedding
        self._embeddings.move_to_end(media.digest)
        while len(self._embeddings) > 1 and self.cached_bytes > self.budget:
            self._embeddings.popitem(last=False)

    # Evaluating -----------------------------------------------------------------------------

    def evaluate(
        self, context: Context, media: Media, embedding: Embedding, position: int, sequence: int
    ) -> None:
        """Evaluate an encoded image at `position`.

        Raises
        ------
        The same as `Context.evaluate`.
        """
        chunk = _slot(media).chunk
        n_batch = context.shape.n_batch
        if mtmd.mtmd_decode_use_non_causal(self._pointer, chunk) and media.n_tokens > n_batch:
            raise EvaluationError(
                f"an image of {media.n_tokens} tokens does not fit a batch of {n_batch}, and its "
                "tokens must be evaluated together. Use a smaller --image-tokens."
            )
        after = llama.llama_pos(0)
        with LOG.section() as log:
            code = mtmd.mtmd_helper_decode_image_chunk(
                self._pointer,
                context.pointer,
                chunk,
                embedding.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
                position,
                sequence,
                n_batch,
                ctypes.byref(after),
                self._callback,
                None,
            )
            context.check(code, log.errors)
        if after.value != position + media.n_positions:
            raise EvaluationError(
                f"expected an image to end at position {position + media.n_positions}, and "
                f"llama.cpp says {after.value}."
            )


def _free(pointer: int, _: Model) -> None:
    # The model must outlive it, also when both are collected at once.
    mtmd.mtmd_free(pointer)


def _slot(media: Media) -> Slot:
    if not isinstance(media.handle, Slot):
        raise TypeError(f"expected a Media placed by a projector, and got {media!r}")
    return media.handle


def _media(spans: tuple[Span, ...]) -> list[Media]:
    return [span for span in spans if isinstance(span, Media)]


def _is_text(chunk: int) -> bool:
    kind = mtmd.mtmd_input_chunk_get_type(chunk)
    return bool(kind == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT)
