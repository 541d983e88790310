"""llama-cpp-python's own chat handler, as `benchmarks/peers.py` asks it.

It is its `Llama` with the `MTMDChatHandler`, in this process: what most programs with images in
Python use. It evaluates every conversation from the first token on and encodes every image anew.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


class Handler:
    """Stands where `peers.Server` does."""

    def __init__(self, model: Path, projector: Path | None, threads: int) -> None:
        self._model, self._projector, self._threads = model, projector, threads
        self.start()

    def start(self) -> None:
        from llama_cpp import Llama
        from llama_cpp.llama_chat_format import MTMDChatHandler

        class Joining(MTMDChatHandler):  # type: ignore[misc]
            """For templates that take the content of a message as one text."""

            def _get_template_messages(self, messages: Any, media_marker: str) -> Any:
                found = super()._get_template_messages(messages, media_marker)
                for message in found:
                    if isinstance(message["content"], list):
                        message["content"] = "".join(part["text"] for part in message["content"])
                return found

        handler = None
        if self._projector is not None:
            handler = Joining(clip_model_path=str(self._projector), verbose=False)
        self._llama = Llama(
            str(self._model),
            chat_handler=handler,
            n_ctx=32768,
            n_threads=self._threads,
            n_threads_batch=self._threads,
            flash_attn=True,
            verbose=False,
        )
        self._counted = 0
        evaluate = self._llama.eval

        def counting(tokens: Any) -> None:
            self._counted += len(tokens)
            evaluate(tokens)

        self._llama.eval = counting
        if handler is not None:
            library = handler._mtmd_cpp
            evaluate_image = library.mtmd_helper_eval_chunk_single

            def counting_images(context: Any, llama: Any, chunk: Any, *rest: Any) -> Any:
                self._counted += library.mtmd_input_chunk_get_n_tokens(chunk)
                return evaluate_image(context, llama, chunk, *rest)

            library.mtmd_helper_eval_chunk_single = counting_images
            self._undo = lambda: setattr(library, "mtmd_helper_eval_chunk_single", evaluate_image)

    def stop(self) -> None:
        if self._projector is not None:
            self._undo()
        self._llama.close()

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """What the server answers, as far as it is looked at.

        Raises
        ------
        NotImplementedError
            It saves nothing.
        """
        if path != "/v1/chat/completions":
            raise NotImplementedError(path)
        asked = {key: each for key, each in content.items() if key != "cache_prompt"}
        self._counted, evaluated, first, text = 0, 0, 0.0, ""
        for piece in self._llama.create_chat_completion(**asked, stream=True):
            if not first:
                # The first piece comes before anything is evaluated, or with the first token.
                said = piece["choices"][0]["delta"].get("content")
                if said is None:
                    continue
                first, evaluated = time.perf_counter(), self._counted
            text += piece["choices"][0]["delta"].get("content") or ""
        timings = {"prompt_n": evaluated, "predicted_ms": 1000 * (time.perf_counter() - first)}
        return {"timings": timings, "choices": [{"message": {"content": text}}]}
