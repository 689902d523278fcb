"""Loads a causal language model and its tokenizer, with errors that say what is wrong with the folder."""

from __future__ import annotations

import dataclasses
import pathlib

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import ConfigError, KittyKvError
from ..tiny import MODEL_PATH
from .install import install

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WEIGHT_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
)


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode under the kitty attention, ready for ``KittyCache``."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    path: str
    context_length: int


def load_model(path: str | None = None, *, dtype: str = "auto", device: str = "auto") -> LoadedModel:
    """Loads from a folder, or a hub id that is already cached on this machine; nothing is downloaded.

    Args:
        path: model folder or hub id; None for the bundled model.
        dtype: ``auto`` (the checkpoint's own), ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto`` (the first GPU if there is one), or a torch device name.

    Raises:
        KittyKvError: code ``model_not_found`` or ``not_a_model``.
        ConfigError: ``dtype`` or ``device`` is unknown.
    """
    target = choose_device(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise ConfigError(f"Cannot load the model: dtype must be auto, {', '.join(DTYPES)}, got {dtype!r}.")
    folder = str(MODEL_PATH if path is None else path)
    _check_folder(folder)
    install()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder, torch_dtype=DTYPES.get(dtype, "auto"), attn_implementation="kitty", local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _cannot_load(folder, error) from error
    return LoadedModel(
        model=model.to(target).eval(),
        tokenizer=tokenizer,
        name=pathlib.Path(folder).name if path is not None else "kitty-tiny",
        path=folder,
        context_length=config.get_text_config().max_position_embeddings,
    )


def load_tokenizer(path: str | None = None) -> PreTrainedTokenizerBase:
    """A model's tokenizer alone, from a folder or a hub id that is already cached on this machine.

    Raises:
        KittyKvError: code ``model_not_found`` or ``not_a_model``.
    """
    folder = str(MODEL_PATH if path is None else path)
    _check_folder(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _cannot_load(folder, error) from error


def choose_device(name: str) -> torch.device:
    """A torch device by its name, or the first GPU if there is one for ``auto``.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"Cannot load the model: unknown device {name!r}; use auto, cpu or cuda.") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"Cannot load the model on {name!r}: torch sees no CUDA GPU; use device cpu or auto.")
    return target


def _check_folder(folder: str) -> None:
    path = pathlib.Path(folder)
    looks_local = path.exists() or folder.startswith((".", "/", "~")) or folder.count("/") != 1
    if not looks_local:
        return
    if not path.exists():
        raise KittyKvError(
            f'Cannot load model "{folder}": there is no such folder; give the path of a model folder, or leave the '
            "model out for the bundled one.",
            code="model_not_found",
            details={"model": folder},
        )
    if not (path / "config.json").is_file() or not any(next(path.glob(name), None) for name in WEIGHT_FILES):
        raise KittyKvError(
            f'Cannot load model "{folder}": it is not a model folder, which holds config.json and weights; '
            "give the folder that save_pretrained() wrote.",
            code="not_a_model",
            details={"model": folder},
        )


def _cannot_load(folder: str, error: Exception) -> KittyKvError:
    reason = str(error).strip().split("\n")[0]
    if pathlib.Path(folder).exists():
        message = f'Cannot load model "{folder}": {reason}; check that the folder is a complete causal language model.'
        return KittyKvError(message, code="not_a_model", details={"model": folder})
    return KittyKvError(
        f'Cannot load model "{folder}": it is neither a folder nor a hub model cached on this machine; fetch it '
        f'first with "huggingface-cli download {folder}".',
        code="model_not_found",
        details={"model": folder},
    )
