"""Where a chat-completions API lives: what `llm.api_url` probably should say where it leads nowhere.

Known hosts are those of the services' own manuals; for others, most servers (Ollama, vLLM, LM Studio, llama.cpp) have
it under /v1, and Open WebUI under /api. What may stand in a path is not repeated in messages: some gateways have keys
in theirs.
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
#: Calls of the same services that are no chat completions. Ollama's and Open WebUI's /api is also Open WebUI's base.
_OTHER_CALLS: Final = re.compile(
    r"/(?:api/(?:generate|chat|tags)|(?:v\d+\w*/)?(?:models|completions|responses|messages|embeddings|engines))/*$",
    re.IGNORECASE,
)
_VERSION: Final = re.compile(r"/v\d+\w*(/|$)", re.IGNORECASE)


def base_of(api_url: str) -> str:
    """The base URL where somebody has written that of the call itself."""
    url = api_url.strip().rstrip("/")
    return url if re.search(r"/api/chat$", url, re.IGNORECASE) else _CALL.sub("", url).rstrip("/")


def is_other_call(api_url: str) -> bool:
    """Does it name a call that is no chat completion?"""
    return _OTHER_CALLS.search(urlsplit(api_url).path) is not None


def advice(api_url: str) -> str:
    """What to put into `llm.api_url` instead, in one clause."""
    parts = urlsplit(api_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    known = _BASES.get((parts.hostname or "").lower())
    if known is not None and known != api_url.rstrip("/"):
        return f"put {known} there"
    if known is not None:
        return "it is the right one for this service, so something stands between"
    path = parts.path.rstrip("/")
    if not path or is_other_call(api_url):
        return f"the likely right one is {origin}/v1 (for Open WebUI {origin}/api)"
    if not _VERSION.search(path):
        return f"the likely right one is the same with /v1 at its end, or {origin}/v1"
    return "put what the service's manual calls its OpenAI-compatible base URL there; for Open WebUI it ends with /api"
