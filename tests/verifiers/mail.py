"""Reads mails with Python's own parser, and verifies their DKIM signatures with `dkimpy`.

stdin: {"mails": [base64, ...], "keys": {"selector._domainkey.domain.": the TXT record}}. stdout: a list with the headers, the defects,
the parts and the verdict for each.
"""

import base64
import email
import email.policy
import json
import sys

import dkim

# Lines are ended as they came, and nothing is mended.
POLICY = email.policy.default


def part(one):
    payload = one.get_payload(decode=True) or b""
    return {
        "type": one.get_content_type(),
        "charset": one.get_content_charset(),
        "disposition": one.get_content_disposition(),
        "name": one.get_filename(),
        "encoding": one["content-transfer-encoding"],
        "bytes": base64.b64encode(payload).decode(),
        "text": one.get_content() if one.get_content_maintype() == "text" else None,
    }


def defects(message):
    found = [repr(defect) for one in message.walk() for defect in one.defects]
    found += [repr(d) for one in message.walk() for value in one.values() for d in getattr(value, "defects", ())]
    return found


def verdict(raw, keys):
    if b"dkim-signature:" not in raw.lower():
        return None
    try:
        return dkim.verify(raw, dnsfunc=lambda name, timeout=5: keys.get(name.decode(), "").encode())
    except dkim.DKIMException as why:
        return str(why)


def read(raw, keys):
    message = email.message_from_bytes(raw, policy=POLICY)
    return {
        "headers": [[name.lower(), str(value)] for name, value in message.items()],
        "addresses": {
            name: [[one.display_name, one.addr_spec] for one in message[name].addresses]
            for name in ("from", "to", "cc", "reply-to")
            if message[name] is not None
        },
        "structure": [one.get_content_type() for one in message.walk()],
        "parts": [part(one) for one in message.walk() if not one.is_multipart()],
        "defects": defects(message),
        "dkim": verdict(raw, keys),
    }


def main():
    asked = json.load(sys.stdin)
    mails = [base64.b64decode(one) for one in asked["mails"]]
    json.dump([read(raw, asked.get("keys", {})) for raw in mails], sys.stdout)


main()
