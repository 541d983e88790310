from __future__ import annotations

import pytest

from llmagic.catalog.choosing import (
    belongs,
    choose_model,
    choose_projector,
    core,
    is_model,
    parts,
    quant,
)

REPO = [
    "README.md",
    "imatrix_unsloth.gguf",
    "mmproj-BF16.gguf",
    "mmproj-F16.gguf",
    "mmproj-F32.gguf",
    "Qwen3-VL-4B-BF16.gguf",
    "Qwen3-VL-4B-IQ4_XS.gguf",
    "Qwen3-VL-4B-Q3_K_M.gguf",
    "Qwen3-VL-4B-Q4_K_M.gguf",
    "Qwen3-VL-4B-Q8_0.gguf",
    "Qwen3-VL-4B-UD-Q4_K_XL.gguf",
    "mtp-Qwen3-VL-4B-Q8_0.gguf",
]
SPLIT = [
    f"{kind}/big-{kind}-0000{n}-of-00003.gguf" for kind in ("Q4_K_M", "Q8_0") for n in (1, 2, 3)
]


def test_the_usual_quantization_is_taken_when_none_is_asked_for() -> None:
    assert choose_model(REPO) == "Qwen3-VL-4B-Q4_K_M.gguf"
    assert choose_model([name for name in REPO if "Q4_K_M" not in name]) == "Qwen3-VL-4B-Q8_0.gguf"
    without = [name for name in REPO if "Q4_K_M" not in name and "Q8_0" not in name]
    assert choose_model(without) == "Qwen3-VL-4B-UD-Q4_K_XL.gguf"


def test_without_a_known_quantization_the_first_model_by_name_is_taken() -> None:
    assert choose_model(["b.gguf", "a.gguf", "mmproj-a.gguf"]) == "a.gguf"
    assert choose_model(["mmproj-a.gguf", "README.md"]) is None


@pytest.mark.parametrize(
    ("wanted", "file"),
    [
        ("q8_0", "Qwen3-VL-4B-Q8_0.gguf"),
        ("BF16", "Qwen3-VL-4B-BF16.gguf"),
        ("UD-Q4_K_XL", "Qwen3-VL-4B-UD-Q4_K_XL.gguf"),
        ("Q4_K_XL", "Qwen3-VL-4B-UD-Q4_K_XL.gguf"),
        ("Qwen3-VL-4B-IQ4_XS.gguf", "Qwen3-VL-4B-IQ4_XS.gguf"),
        ("F16", None),  # not BF16, nor a projector's
        ("Q4", None),  # not the beginning of another
        ("Q6_K", None),
    ],
)
def test_a_quantization_is_found_by_its_whole_name(wanted: str, file: str | None) -> None:
    assert choose_model(REPO, wanted) == file


def test_a_split_model_is_its_first_part_and_has_all_of_them() -> None:
    chosen = choose_model(reversed(SPLIT))
    assert chosen == "Q4_K_M/big-Q4_K_M-00001-of-00003.gguf"
    assert choose_model(SPLIT, "Q8_0") == SPLIT[3]
    assert parts(chosen) == SPLIT[:3]
    assert parts("whole.gguf") == ["whole.gguf"]
    assert not is_model(SPLIT[1])


def test_the_projector_is_taken_as_it_was_made() -> None:
    assert choose_projector("Qwen3-VL-4B-Q4_K_M.gguf", REPO) == "mmproj-F16.gguf"
    assert (
        choose_projector("a.gguf", ["mmproj-Q8_0.gguf", "mmproj-BF16.gguf"]) == "mmproj-BF16.gguf"
    )
    assert choose_projector("a.gguf", ["mmproj-Q4_0.gguf"]) == "mmproj-Q4_0.gguf"
    assert choose_projector("a.gguf", ["a.gguf"]) is None


def test_the_projector_in_the_nearest_folder_is_taken() -> None:
    names = ["mmproj-F16.gguf", "8B/mmproj-BF16.gguf", "2B/mmproj-F16.gguf"]
    assert choose_projector("8B/m-Q4_K_M.gguf", names) == "8B/mmproj-BF16.gguf"
    assert choose_projector("4B/m-Q4_K_M.gguf", names) == "mmproj-F16.gguf"
    assert choose_projector("m-Q4_K_M.gguf", names) == "mmproj-F16.gguf"


def test_a_projector_that_names_the_model_goes_first() -> None:
    names = ["mmproj-F16.gguf", "small-mmproj-Q8_0.gguf"]
    assert choose_projector("small-Q4_K_M.gguf", names) == "small-mmproj-Q8_0.gguf"
    assert belongs("qwen2vl.gguf", "mmproj-qwen2vl.gguf")
    assert belongs("gemma-3-4b-it-Q4_K_M.gguf", "mmproj-gemma-3-4b-it-f16.gguf")
    assert not belongs("llama.gguf", "mmproj-qwen2vl.gguf")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a-Q4_K_M.gguf", "Q4_K_M"),
        ("a.q8_0.gguf", "Q8_0"),
        ("a-UD-IQ2_XXS.gguf", "IQ2_XXS"),
        ("a-bf16.gguf", "BF16"),
        ("a-MXFP4.gguf", "MXFP4"),
        ("Q6_K/a-00001-of-00002.gguf", "Q6_K"),
        ("qwen2vl.gguf", ""),
        ("Q-star.gguf", ""),
    ],
)
def test_the_quantization_is_read_from_the_name(name: str, found: str) -> None:
    assert quant(name) == found


def test_the_core_of_a_name_is_the_same_for_every_quantization() -> None:
    same = {"Gemma-3-4B-it-Q4_K_M.gguf", "gemma-3-4b-it.q8_0.gguf", "mmproj-gemma-3-4b-it-f16.gguf"}
    assert {core(name) for name in same} == {"gemma-3-4b-it"}
    assert core("big-Q8_0-00001-of-00003.gguf") == core("big-Q8_0-00002-of-00003.gguf") == "big"
