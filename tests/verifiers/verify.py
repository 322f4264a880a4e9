"""Verifies signed requests with others' implementations: `standardwebhooks` for v1, `cryptography` for v1a.

stdin: a JSON list of {"secret" (whsec_... or whpk_...), "headers", "body" (base64)}. stdout: a JSON list of true or false.
"""

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError


def symmetric(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def asymmetric(public, headers, body):
    """The package knows v1 alone; v1a signs the same text with ed25519."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for entry in headers["webhook-signature"].split(" "):
        version, signature = entry.split(",", 1)
        if version == "v1a":
            try:
                key.verify(base64.b64decode(signature), text)
                return True
            except InvalidSignature:
                pass
    return False


def verified(request):
    headers, body = request["headers"], base64.b64decode(request["body"])
    check = asymmetric if request["secret"].startswith("whpk_") else symmetric
    return check(request["secret"], headers, body)


json.dump([verified(request) for request in json.load(sys.stdin)], sys.stdout)
