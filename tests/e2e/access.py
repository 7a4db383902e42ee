"""How a tracker is let in by a NATS server: logins and TLS, as both are configured."""

from dataclasses import dataclass

from credentials import Credentials
from member import over_nats, secret
from nats_server import SUBJECT, Authority

# The server's name: in its certificate, and as the trackers find it.
NAME = "nats.example.org"
USER, PASSWORD, TOKEN = "tracker", "correct-horse-battery", "t0k3n-of-the-cluster"


@dataclass(frozen=True)
class Access:
    """How a tracker is let in: what the server's configuration says, what the tracker's does."""

    login: str = ""
    tls: bool = False

    def server(self, stage):
        """The server's configuration. It may say nothing and hear nothing but on the subjects of the cluster."""
        only = f'permissions: {{ publish: ["{SUBJECT}.>"], subscribe: ["{SUBJECT}.>"] }}'
        login = ""
        if self.login == "password":
            login = f'authorization {{ users: [ {{ user: {USER}, password: "{PASSWORD}", {only} }} ] }}\n'
        if self.login == "token":
            login = f'authorization {{ token: "{TOKEN}" }}\n'
        if self.login == "credentials":
            login = Credentials(stage.folder / "nsc", SUBJECT).server
        return login + (Authority(stage.folder / "authority").server(NAME) if self.tls else "")

    def member(self, stage, server, owner=0):
        """The tracker's."""
        settings = {}
        if self.login == "password":
            settings = {"user": USER, "password_file": secret(stage, "password", PASSWORD + "\n", owner=owner)}
        if self.login == "token":
            settings = {"token_file": secret(stage, "token", TOKEN + "\n", owner=owner)}
        if self.login == "credentials":
            user = Credentials(stage.folder / "nsc", SUBJECT).user
            settings = {"credentials": secret(stage, "user.creds", user, owner=owner)}
        if self.tls:
            settings["tls_ca"] = stage.folder / "authority" / "ca.pem"
        return over_nats(f"tls://{NAME}:{server.port}" if self.tls else server, **settings)

    def secrets(self, stage):
        """What may stand in no log."""
        return [PASSWORD, TOKEN, Credentials(stage.folder / "nsc", SUBJECT).secret]
