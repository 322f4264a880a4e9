"""An OAuth 2.0 token server made of Authlib and Flask, with a resource that takes its tokens.

`POST /token` grants `client_credentials` and `password`; `POST /hook` takes a request with a token that it issued, and
answers 401 otherwise. `GET /log` says what happened: the grants, and the bodies that were taken. `POST /revoke` forgets
every token. The client is `router` with the secret `client-s3cret`, the user `carrier` with the password `user-s3cret`.

It listens on a free port of the loopback and prints it in a line of its own. It ends when its stdin is closed.
"""

import logging
import os
import sys
import threading
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant, ResourceOwnerPasswordCredentialsGrant
from authlib.oauth2.rfc6750 import BearerTokenValidator
from flask import Flask, jsonify, request
from werkzeug.serving import make_server


class Client(ClientMixin):
    client_id = "router"

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return "events" if scope in (None, "", "events") else ""

    def check_client_secret(self, client_secret):
        return client_secret == "client-s3cret"

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type):
        return grant_type in ("client_credentials", "password")


class Token(TokenMixin):
    def __init__(self, token, client):
        self.client, self.scope = client, token.get("scope", "")
        self.expires_in, self.issued = token["expires_in"], time.time()

    def check_client(self, client):
        return client is self.client

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return self.expires_in

    def is_expired(self):
        return time.time() > self.issued + self.expires_in

    def is_revoked(self):
        return False


class ClientCredentials(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class Password(ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]

    def authenticate_user(self, username, password):
        return username if (username, password) == ("carrier", "user-s3cret") else None


class Issued(BearerTokenValidator):
    def authenticate_token(self, token_string):
        return tokens.get(token_string)


client, tokens, grants, taken = Client(), {}, [], []


def save_token(token, asked):
    tokens[token["access_token"]] = Token(token, asked.client)
    grants.append({"grant_type": asked.payload.grant_type, "scope": token.get("scope", ""), "user": asked.user})


app = Flask(__name__)
server = AuthorizationServer(app, lambda asked: client if asked == client.client_id else None, save_token)
server.register_grant(ClientCredentials)
server.register_grant(Password)
protected = ResourceProtector()
protected.register_token_validator(Issued())


@app.post("/token")
def token():
    return server.create_token_response()


@app.post("/hook")
@protected()
def hook():
    taken.append(request.get_data(as_text=True))
    return "", 204


@app.post("/revoke")
def revoke():
    tokens.clear()
    return "", 204


@app.get("/log")
def log():
    return jsonify(grants=grants, taken=taken)


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


# Tokens travel in the clear on the loopback.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
logging.getLogger("werkzeug").setLevel(logging.ERROR)
listener = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=end_with_stdin, daemon=True).start()
print(listener.server_port, flush=True)
listener.serve_forever()
