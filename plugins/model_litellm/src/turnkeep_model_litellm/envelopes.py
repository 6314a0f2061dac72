"""Where a request goes and how it is authorized, as LiteLLM knows it; the body stays ours.

LiteLLM has functions of its own for these three forms (`anthropic_messages`, `agenerate_content`,
`aresponses`). The first two load LiteLLM's proxy server to stream, which needs a hundred packages
more, and repeat a refused request with its thinking taken out. So its knowledge of a provider is
asked for the address, the headers, the shape that a cloud wants and the signature, and no more.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from turnkeep_model_litellm.dressing import Body, cloud_options
from turnkeep_model_litellm.library import library
from turnkeep_model_litellm.options import LitellmOptions
from turnkeep_model_litellm.target import Target


class Envelope(NamedTuple):
    """One HTTP request, ready to be posted."""

    url: str
    headers: dict[str, str]
    content: bytes


def envelope_of(target: Target, options: LitellmOptions, body: Body, *, stream: bool) -> Envelope:
    """Address, authorize and sign a body. May wait for a cloud's token: to be called in a thread.

    Raises whatever LiteLLM raises, such as for a key that is missing.
    """
    reached: dict[str, Any] = {
        "api_key": None if options.api_key is None else options.api_key.get_secret_value(),
        "api_base": options.api_base,
        "api_version": options.api_version,
        **cloud_options(options),
    }
    reached = {name: value for name, value in reached.items() if value is not None}
    made = {"anthropic": _anthropic, "gemini": _gemini, "openai-responses": _responses}
    params = library("litellm.types.router").GenericLiteLLMParams(**reached)
    return made[target.profile](target, options, body, params, stream=stream)


def _anthropic(
    target: Target, options: LitellmOptions, body: Body, params: Any, *, stream: bool
) -> Envelope:
    given = {k: v for k, v in body.items() if k not in {"model", "messages"}} | {"stream": stream}
    known = params.model_dump(exclude_none=True)
    key, config = known.get("api_key"), target.config
    headers, base = config.validate_anthropic_messages_environment(
        headers=dict(options.headers),
        model=target.name,
        messages=body["messages"],
        optional_params=given,
        litellm_params=dict(known),
        api_key=key,
        api_base=known.get("api_base"),
    )
    sent = config.transform_anthropic_messages_request(
        model=target.name,
        messages=body["messages"],
        anthropic_messages_optional_request_params=given,
        litellm_params=params,
        headers=headers,
    )
    url = config.get_complete_url(
        api_base=base,
        api_key=key,
        model=target.name,
        optional_params=dict(known),
        litellm_params=dict(known),
        stream=stream,
    )
    headers, signed = config.sign_request(
        headers=headers,
        optional_params=dict(known),
        request_data=sent,
        api_base=url,
        api_key=key,
        model=target.name,
        stream=stream,
        fake_stream=False,
    )
    return Envelope(url, _texts(headers), _bytes(sent) if signed is None else _encoded(signed))


def _gemini(
    target: Target, options: LitellmOptions, body: Body, params: Any, *, stream: bool
) -> Envelope:
    headers, url = target.config.sync_get_auth_token_and_url(
        api_base=params.api_base,
        model=target.name,
        litellm_params=params.model_dump(exclude_none=True),
        stream=stream,
    )
    return Envelope(url, _texts(headers | options.headers), _bytes(body))


def _responses(
    target: Target, options: LitellmOptions, body: Body, params: Any, *, stream: bool
) -> Envelope:
    headers = target.config.validate_environment(
        headers=dict(options.headers), model=target.name, litellm_params=params
    )
    if headers.get("Authorization") == "Bearer None":  # LiteLLM's, where it finds no key
        del headers["Authorization"]
        headers |= options.headers
    url = target.config.get_complete_url(
        api_base=params.api_base, litellm_params=params.model_dump(exclude_none=True)
    )
    content = _bytes(body | ({"stream": True} if stream else {}))
    return Envelope(url, _texts(headers), content)


def keyless(target: Target, envelope: Envelope) -> bool:
    """Say whether a request has no key where its provider wants one.

    LiteLLM leaves it out then, or writes "Bearer None".
    """
    if target.provider not in {"anthropic", "openai"}:
        return False
    given = {name.lower(): value for name, value in envelope.headers.items()}
    values = [given.get(name, "") for name in ("authorization", "x-api-key")]
    return all(value.removeprefix("Bearer").strip() in {"", "None"} for value in values)


def _texts(headers: dict[str, Any]) -> dict[str, str]:
    texts = {str(name): str(value) for name, value in headers.items() if value is not None}
    if not any(name.lower() == "content-type" for name in texts):
        texts["Content-Type"] = "application/json"
    return texts


def _bytes(body: Body) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _encoded(signed: bytes | str) -> bytes:
    return signed.encode() if isinstance(signed, str) else signed
