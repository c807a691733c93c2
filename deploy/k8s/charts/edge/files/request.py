"""Asks the edge how all is, and, with a key, one question through the whole system."""

import json
import os
import ssl
import sys
import urllib.request
from typing import Any

EDGE = os.environ["EDGE"]
CERTIFICATE = "/tls/tls.crt"
"""What the edge shows, where it has a certificate: it is trusted itself, whatever name it carries."""


def trust() -> ssl.SSLContext | None:
    """How the edge's certificate is verified; None: it has none."""
    if not EDGE.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def ask(path: str, body: dict[str, Any] | None = None) -> Any:
    """The answer to a GET, or to a POST of `body`."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ.get("ASAHI_KEY", "")}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(EDGE + path, data, headers)
    with urllib.request.urlopen(request, timeout=60, context=trust()) as answer:
        return json.load(answer)


health = ask("/health")
for name, component in health["components"].items():
    print(f"{name}: {component['status']}: {component['detail']}")
if health["status"] != "healthy":
    sys.exit(f"the system is {health['status']}")
if os.environ.get("ASAHI_KEY"):
    answer = ask("/infer", {"prompt": "What is a health check?", "max_tokens": 16})
    print(f"answered by {answer['model_used']} for ${answer['cost']}")
else:
    print("no question asked: test.existingSecret names no key")
