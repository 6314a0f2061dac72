"""llama.cpp in this process: loaded, asked and closed, always from threads that may wait."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from turnkeep.errors import ModelError
from turnkeep_model_local.options import LocalOptions
from turnkeep_model_local.weights import Weights

BATCH: Final = 256
"""Tokens of a prompt computed between two looks at whether anybody still wants the answer."""
_PATIENCE: Final = 60
"""Seconds for what is not a generation: saving, restoring, counting."""
_NO_PINGS: Final = 86_400
"""xllamacpp hands the server's keep-alive lines on as if they were pieces of an answer."""
_SILENT: Final = -1
_TALKING: Final = 3

Chunk = dict[str, Any]


def _processors() -> int:
    """Count the processors that this process may use.

    llama.cpp's threads wait for each other many times a token: where one of them has to share its
    processor, all are slow (ten times, measured with two on two busy processors).
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class EngineFault(Exception):
    """llama.cpp refused what was asked of it, in its own words."""


class Engine:
    """A loaded model. Every method blocks, and may be called from any thread until `close`."""

    def __init__(self, weights: Weights, options: LocalOptions, folder: Path | None) -> None:
        """Load the model; slots are saved to and restored from `folder`. Raises ModelError."""
        try:
            import xllamacpp  # type: ignore[import-untyped]  # 100 MB: only when a model is opened
        except ImportError as error:
            raise ModelError(
                f"xllamacpp cannot be imported ({error}): pip install xllamacpp", model=weights.name
            ) from error

        given = options.api_key
        self.api_key = secrets.token_urlsafe(24) if given is None else given.get_secret_value()
        self.version: str = xllamacpp.__version__
        try:
            self._server = xllamacpp.Server(self._parameters(xllamacpp, weights, options, folder))
        except RuntimeError as error:  # it gives no reason
            port = f", port {options.port} is free" if options.port else ""
            raise ModelError(
                f"llama.cpp could not open the model file {weights.path.name!r}: look whether it "
                f"is whole and of a kind that llama.cpp {self.version} knows, memory suffices for "
                f"{options.slots} slots{port}; quiet = false shows its log",
                model=weights.name,
            ) from error
        self.address: str = self._server.listening_address
        try:
            properties = self._ask("GET", "/props")
            self.window = int(properties["default_generation_settings"]["n_ctx"])
        except (EngineFault, KeyError) as error:
            self.close()
            raise ModelError(
                f"llama.cpp {self.version} does not say how it runs; install a version of "
                "xllamacpp that this plugin was made for",
                model=weights.name,
            ) from error

    def _parameters(
        self, xllamacpp: Any, weights: Weights, options: LocalOptions, folder: Path | None
    ) -> Any:
        given = xllamacpp.CommonParams()
        given.model.path = str(weights.path)
        given.model_alias = {weights.name}  # or answers would name the model by its path
        window = -(-options.context_window // 256) * 256
        if weights.head.trained_window is not None:
            window = min(window, weights.head.trained_window)
        given.n_ctx = window * options.slots
        given.n_parallel = options.slots
        given.n_batch = given.n_ubatch = BATCH
        given.n_predict = options.max_output
        given.sampling.temp = options.temperature
        given.sampling.seed = options.seed
        threads = options.threads or max(1, _processors() // 2)
        given.cpuparams.n_threads = given.cpuparams_batch.n_threads = threads
        given.n_threads_http = options.slots + 2
        given.cache_ram_mib = options.cache_memory
        given.slot_save_path = "" if folder is None else f"{folder}/"
        given.port = options.port
        given.api_keys = [self.api_key] if self.api_key else []
        given.cors_origins = "http://127.0.0.1"  # no page from elsewhere may read answers
        given.ui = given.endpoint_slots = given.endpoint_metrics = False
        given.fit_params = given.warmup = False  # both only make the start slower
        given.sse_ping_interval = _NO_PINGS
        given.verbosity = _SILENT if options.quiet else _TALKING
        return given

    def chat(self, body: dict[str, Any], take: Callable[[Chunk], bool]) -> None:
        """Generate an answer and hand each piece to `take`, until that returns True.

        Raises EngineFault for a request that is refused before the first piece.
        """
        try:
            self._server.handle_chat_completions(body, take)
        except (ValueError, RuntimeError, TypeError) as error:
            raise EngineFault(str(error)) from error

    def save(self, slot: int, file: str) -> None:
        """Save the computed prompt of a slot to a file of the folder. Raises EngineFault."""
        self._ask("POST", f"/slots/{slot}?action=save", {"filename": file})

    def restore(self, slot: int, file: str) -> None:
        """Put a saved prompt into a slot in the place of its own. Raises EngineFault."""
        self._ask("POST", f"/slots/{slot}?action=restore", {"filename": file})

    def count(self, text: str) -> int:
        """Count the tokens of a text, in which no mark is taken for a token of its own."""
        body = {"content": text, "add_special": False, "parse_special": False}
        return len(self._ask("POST", "/tokenize", body)["tokens"])

    def close(self) -> None:
        """Free memory and threads; nothing may be under way."""
        # xllamacpp waits for ever for a server that is ended before its loop has begun: this
        # question is answered by the loop, and what it answers is of no interest.
        with suppress(EngineFault):
            self._ask("GET", "/lora-adapters")
        del self._server

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask over HTTP what has no function of its own."""
        host, _, port = self.address.rpartition("//")[2].partition(":")
        connection = HTTPConnection(host, int(port), timeout=_PATIENCE)
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise EngineFault(f"{path}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200 or not isinstance(found, dict):
            raise EngineFault(f"{path}: status {answer.status}")
        return found
