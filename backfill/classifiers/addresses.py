"""The address of a chat-completions API: advice for an `llm.api_url` that leads to none.

The hosts in the table are from the services' manuals. Most other servers (Ollama, vLLM, LM Studio, llama.cpp) have the
API under /v1, and Open WebUI under /api. Messages never repeat a path from the settings: some gateways have keys there.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_BASES: Final = {
    "openrouter.ai": "https://openrouter.ai/api/v1",
    "api.openai.com": "https://api.openai.com/v1",
    "api.anthropic.com": "https://api.anthropic.com/v1",
    "generativelanguage.googleapis.com": "https://generativelanguage.googleapis.com/v1beta/openai",
    "api.mistral.ai": "https://api.mistral.ai/v1",
    "api.groq.com": "https://api.groq.com/openai/v1",
    "api.deepseek.com": "https://api.deepseek.com/v1",
    "api.x.ai": "https://api.x.ai/v1",
    "api.together.xyz": "https://api.together.xyz/v1",
    "api.fireworks.ai": "https://api.fireworks.ai/inference/v1",
    "api.cohere.ai": "https://api.cohere.ai/compatibility/v1",
    "api.cohere.com": "https://api.cohere.ai/compatibility/v1",
    "api.perplexity.ai": "https://api.perplexity.ai",
    "api.moonshot.ai": "https://api.moonshot.ai/v1",
    "api.minimax.io": "https://api.minimax.io/v1",
    "dashscope.aliyuncs.com": "https://dashscope.aliyuncs.com/compatible-mode/v1",
    "open.bigmodel.cn": "https://open.bigmodel.cn/api/paas/v4",
    "router.huggingface.co": "https://router.huggingface.co/v1",
    "integrate.api.nvidia.com": "https://integrate.api.nvidia.com/v1",
}
_CALL: Final = re.compile(r"/chat(/completions?)?/*$", re.IGNORECASE)
#: Calls that are no chat completions. /api alone is not among them: it is Open WebUI's base.
_OTHER_CALLS: Final = re.compile(
    r"/(?:api/(?:generate|chat|tags)|(?:v\d+\w*/)?(?:models|completions|responses|messages|embeddings|engines))/*$",
    re.IGNORECASE,
)
_VERSION: Final = re.compile(r"/v\d+\w*(/|$)", re.IGNORECASE)


def base_of(api_url: str) -> str:
    """The base URL: `api_url` without /chat/completions at its end."""
    url = api_url.strip().rstrip("/")
    return url if re.search(r"/api/chat$", url, re.IGNORECASE) else _CALL.sub("", url).rstrip("/")


def is_other_call(api_url: str) -> bool:
    """Does the URL name a call that is no chat completion?"""
    return _OTHER_CALLS.search(urlsplit(api_url).path) is not None


def advice(api_url: str) -> str:
    """One clause that says what to put into `llm.api_url`."""
    parts = urlsplit(api_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    known = _BASES.get((parts.hostname or "").lower())
    if known is not None and known != api_url.rstrip("/"):
        return f"put {known} there"
    if known is not None:
        return "the address is right for this service, so a proxy or firewall may answer in its place"
    path = parts.path.rstrip("/")
    if not path or is_other_call(api_url):
        return f"the right one is probably {origin}/v1 (for Open WebUI {origin}/api)"
    if not _VERSION.search(path):
        return f"the right one is probably the same with /v1 at its end, or {origin}/v1"
    return "put the OpenAI-compatible base URL from the service's manual there; for Open WebUI it ends with /api"
