"""Makes requests with the CloudEvents SDK for Python, in every mode that it has.

stdin: a JSON list of {"attributes", "data"}. stdout: {"binary": [request...], "structured": [request...], "batch": request},
each request {"headers", "body" (base64)}. The SDK has no batch mode; its structured events make the list.
"""

import base64
import json
import sys

from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent


def shown(headers, body):
    return {"headers": headers, "body": base64.b64encode(body).decode()}


def request(message):
    return shown(message.headers, message.body)


events = [CloudEvent(event["attributes"], event["data"]) for event in json.load(sys.stdin)]
structured = [http.to_structured_event(event) for event in events]
batch = b"[" + b",".join(message.body for message in structured) + b"]"
json.dump(
    {
        "binary": [request(http.to_binary_event(event)) for event in events],
        "structured": [request(message) for message in structured],
        "batch": shown({"content-type": "application/cloudevents-batch+json"}, batch),
    },
    sys.stdout,
)
