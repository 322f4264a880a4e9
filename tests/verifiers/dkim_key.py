"""Makes DKIM keys with `cryptography`: of each kind the private key in PEM and the record that stands in DNS.

stdin: anything. stdout: {"rsa", "rsa-pkcs1", "ed25519"}, each {"private", "record"}.
"""

import base64
import json
import sys

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa


def private(key, layout):
    return key.private_bytes(form.Encoding.PEM, layout, form.NoEncryption()).decode()


def main():
    json.load(sys.stdin)
    big, small = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    public = big.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    rsa_record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    raw = small.public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
    keys = {
        "rsa": {"private": private(big, form.PrivateFormat.PKCS8), "record": rsa_record},
        "rsa-pkcs1": {"private": private(big, form.PrivateFormat.TraditionalOpenSSL), "record": rsa_record},
        "ed25519": {
            "private": private(small, form.PrivateFormat.PKCS8),
            "record": f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}",
        },
    }
    json.dump(keys, sys.stdout)


main()
