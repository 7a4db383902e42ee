"""Credentials for NATS: an operator, an account and a user with keys of their own, as `nsc` makes them.

Keys are those of Ed25519 in an encoding of NATS' own; who they are, and who says so, is a JSON Web Token.
"""

import base64
import binascii
import hashlib
import json
import subprocess
import time

from stage import StepFailed

# The first bytes of encoded keys: an operator's, an account's and a user's public ones, and of secret ones all.
OPERATOR, ACCOUNT, USER, SEED = 14 << 3, 0, 20 << 3, 18 << 3
# What an Ed25519 key has before it in PKCS #8 and in X.509 (RFC 8410).
SECRET_PREFIX = bytes.fromhex("302e020100300506032b657004220420")


class Key:
    def __init__(self, folder, kind, name):
        self._kind = kind
        self._seed = hashlib.sha256(f"{folder} {name}".encode()).digest()
        self._file = folder / f"{name}.der"
        self._file.write_bytes(SECRET_PREFIX + self._seed)
        self.name = name
        public = self._openssl("pkey", "-in", self._file, "-inform", "DER", "-pubout", "-outform", "DER")
        self.public = encoded(bytes([kind]) + public[-32:])

    @property
    def seed(self):
        """The secret key as a file of credentials has it."""
        return encoded(bytes([SEED | self._kind >> 5, (self._kind & 31) << 3]) + self._seed)

    def sign(self, data):
        file = self._file.with_suffix(".data")
        file.write_bytes(data)
        sign = ["pkeyutl", "-sign", "-inkey", self._file, "-keyform", "DER", "-rawin", "-in", file]
        return self._openssl(*sign)

    def token(self, subject, kind, rights):
        """A token in which this key says what the `subject` may do."""
        claims = {
            "jti": f"{self.name}-{subject.name}",
            "iat": int(time.time()),
            "iss": self.public,
            "name": subject.name,
            "sub": subject.public,
            "nats": {**rights, "type": kind, "version": 2},
        }
        said = b".".join(part64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims))
        return (said + b"." + part64(self.sign(said))).decode()

    @staticmethod
    def _openssl(*words):
        done = subprocess.run(["openssl", *map(str, words)], capture_output=True, check=False)
        if done.returncode != 0:
            raise StepFailed(f"openssl {words[0]}: {done.stderr.decode().strip()}")
        return done.stdout


def encoded(data):
    return base64.b32encode(data + binascii.crc_hqx(data, 0).to_bytes(2, "little")).rstrip(b"=").decode()


def part64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Credentials:
    """What a server's configuration says (`server`), what is in a user's file (`user`), and what in that is secret.

    In the same folder they are of the same keys.
    """

    def __init__(self, folder, subject):
        folder.mkdir(exist_ok=True)
        operator, account, user = (
            Key(folder, kind, name) for kind, name in ((OPERATOR, "operator"), (ACCOUNT, "account"), (USER, "user"))
        )
        unlimited = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
        trust = operator.token(operator, "operator", {})
        says = operator.token(account, "account", {"limits": {**unlimited, "wildcards": True}})
        only = {"allow": [f"{subject}.>"]}
        rights = {"pub": only, "sub": only, "subs": -1, "data": -1, "payload": -1}
        self.server = (
            f"operator: {trust}\nresolver: MEMORY\nresolver_preload: {{ {account.public}: {says} }}\n"
        )
        token = account.token(user, "user", rights)
        self.user = (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        self.secret = user.seed
