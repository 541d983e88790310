"""What `%config LLMagic` sets: how replies are drawn, how the next model is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from traitlets import Bool, Enum, Float, HasTraits, Int, List, Unicode, default

from llmagic.notebook.options import MAX_SEED
from llmagic.settings import Loading, Sampling


class Defaults(HasTraits):
    """The settings of `Sampling` and `Loading` as traits, and where the store is."""

    temperature = Float(Sampling.temperature, min=0, help="0: always the most likely token").tag(
        config=True
    )
    top_k = Int(Sampling.top_k, min=0, help="tokens to draw from; 0: all").tag(config=True)
    top_p = Float(Sampling.top_p, min=0, max=1, help="probability to draw from; 1: all").tag(
        config=True
    )
    min_p = Float(
        Sampling.min_p, min=0, max=1, help="least probability of a token, relative to the best"
    ).tag(config=True)
    repeat_penalty = Float(
        Sampling.repeat_penalty, min=0, help="penalty on recent tokens; 1: none"
    ).tag(config=True)
    repeat_last_n = Int(Sampling.repeat_last_n, min=0, help="how many tokens are recent").tag(
        config=True
    )
    seed = Int(
        Sampling.seed,
        min=0,
        max=MAX_SEED,
        allow_none=True,
        help="None: from the prompt, so that the same prompt gives the same reply",
    ).tag(config=True)
    max_tokens = Int(Sampling.max_tokens, min=1, help="most tokens in a reply").tag(config=True)
    stop = List(Unicode(), help="texts that end a reply").tag(config=True)
    think = Bool(
        Sampling.think,
        allow_none=True,
        help="think before answering, where the model has a switch for it; None: as it likes",
    ).tag(config=True)

    model = Unicode(
        "demo", help='model of a cell when none was loaded; "none": the cell says so instead'
    ).tag(config=True)
    n_ctx = Int(Loading.n_ctx, min=0, help="most tokens in the context; 0: the model's").tag(
        config=True
    )
    memory_budget = Int(
        Loading.memory_budget,
        min=0,
        help="bytes of checkpoints in memory, those waiting for the disk among them",
    ).tag(config=True)
    image_budget = Int(
        Loading.image_budget,
        min=0,
        help="bytes of image embeddings, and of pictures of earlier turns",
    ).tag(config=True)
    kv_type = Enum(("f16", "q8_0", "q4_0"), Loading.kv_type, help="attention cache").tag(
        config=True
    )
    n_threads = Int(Loading.n_threads, min=0, help="0: one for each physical core").tag(config=True)
    n_threads_batch = Int(
        Loading.n_threads_batch, min=0, help="for prompts and images; 0: as many as for replies"
    ).tag(config=True)
    n_gpu_layers = Int(Loading.n_gpu_layers, min=-1, help="layers on the GPU; -1: all").tag(
        config=True
    )
    image_tokens = Int(Loading.image_tokens, min=0, help="most tokens of an image").tag(config=True)
    exact = Bool(Loading.exact, help="resume only where it is exact bit for bit").tag(config=True)

    store = Unicode(
        help="folder in which checkpoints, images and replies outlive the kernel, for the next "
        '`%llm load`; by default $LLMAGIC_STORE or the user\'s cache folder, "" keeps nothing'
    ).tag(config=True)
    store_budget = Int(min=0, help="bytes the store may take").tag(config=True)
    replay = Bool(True, help="show the stored reply where a cell asks what it asked before").tag(
        config=True
    )

    # Dynamic, because %load_ext does not load numpy, and the store needs it.
    @default("store")
    def _usual_store(self) -> str:
        from llmagic.store import root

        return str(root())

    @default("store_budget")
    def _usual_store_budget(self) -> int:
        from llmagic.store import DEFAULT_BUDGET

        return DEFAULT_BUDGET

    def sampling(self, given: argparse.Namespace, seed: int | None) -> Sampling:
        """How to draw a reply: what the cell gives, these defaults for the rest."""

        def value(name: str) -> Any:
            option = getattr(given, name)
            return getattr(self, name) if option is None else option

        return Sampling(
            temperature=value("temperature"),
            top_k=value("top_k"),
            top_p=value("top_p"),
            min_p=value("min_p"),
            repeat_penalty=self.repeat_penalty,
            repeat_last_n=self.repeat_last_n,
            seed=seed,
            max_tokens=value("max_tokens"),
            stop=tuple(value("stop")),
            think=value("think"),
        )

    def loading(self, given: Mapping[str, Any] = MappingProxyType({})) -> Loading:
        """How to load a model: what is given (fields of `Loading`, None where not), these else.

        Raises
        ------
        UsageError
            A number outside its range.
        """
        usual = {
            name: getattr(self, name)
            for name in (
                "n_ctx",
                "memory_budget",
                "image_budget",
                "kv_type",
                "n_threads",
                "n_threads_batch",
                "n_gpu_layers",
                "image_tokens",
                "exact",
            )
        }
        return Loading(**usual | {key: each for key, each in given.items() if each is not None})
