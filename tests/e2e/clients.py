"""The clients: how each is told to find peers by its tracker alone, and to end politely.

A client's constructor (stage, host, folder, torrent file) starts it on what its folder holds. aria2
takes a magnet link in place of the file. A client then stays and seeds. `leave()` makes it tell its
tracker that it goes; `process` may be stopped when the tracker has heard that.
"""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from stage import StepFailed

PORT = 6881
# Where npm/install puts what it installs.
NODE_MODULES = Path(__file__).resolve().parents[2] / "target/e2e/npm/node_modules"
RPC_PORT = 9091
RPC_SECONDS = 10


class Client:
    # Whether its tracker hears of a port, and so hands it out to others and counts it.
    HAS_PORT = True


class Aria2(Client):
    """aria2 1.36 asks no UDP tracker while its DHT is off: HTTP only."""

    DHT = "false"

    @staticmethod
    def missing():
        return None if shutil.which("aria2c") else "aria2c (Debian package aria2)"

    def __init__(self, stage, host, folder, torrent):
        self.process = stage.start(
            host,
            [
                "aria2c",
                "--no-conf",
                f"--dir={folder}",
                f"--listen-port={PORT}",
                f"--enable-dht={self.DHT}",
                f"--dht-file-path={folder.with_suffix('.dht')}",
                "--enable-dht6=false",
                "--bt-enable-lpd=false",
                "--enable-peer-exchange=false",
                # The seeder's file is there already: check it instead of refusing to overwrite it.
                "--check-integrity=true",
                "--seed-ratio=0",
                "--file-allocation=none",
                "--summary-interval=0",
                "--console-log-level=notice",
                "--show-console-readout=false",
                "--enable-color=false",
                torrent,
            ],
            folder,
            # SIGTERM makes aria2 leave without a word to its tracker.
            stop_signal=signal.SIGINT,
            # 7: it ends with an unfinished download.
            good_ends=(0, 7),
        )

    def leave(self):
        self.process.ask_to_stop()


class Aria2Udp(Aria2):
    """With its DHT on, which nobody told of any other node: it finds nobody, and asks UDP trackers."""

    DHT = "true"


class Transmission(Client):
    """Transmission 3 asks no UDP tracker over IPv6.

    A seeding one lets a newcomer wait for up to 10 seconds.
    """

    @staticmethod
    def missing():
        tools = {"transmission-daemon": "transmission-daemon", "transmission-remote": "transmission-cli"}
        absent = [
            f"{tool} (Debian package {package})" for tool, package in tools.items() if not shutil.which(tool)
        ]
        return ", ".join(absent) or None

    def __init__(self, stage, host, folder, torrent_file):
        home = folder.with_suffix(".transmission")
        watched = home / "watched"
        watched.mkdir(parents=True)
        shutil.copy(torrent_file, watched)
        settings = {
            "dht-enabled": False,
            "lpd-enabled": False,
            "pex-enabled": False,
            "port-forwarding-enabled": False,
            # Without a default route it has no IPv6 for uTP, and tries in vain before it takes TCP.
            "utp-enabled": False,
            "rpc-bind-address": "127.0.0.1",
            "rpc-port": RPC_PORT,
            "download-dir": str(folder),
            "peer-port": PORT,
            "watch-dir": str(watched),
            "watch-dir-enabled": True,
        }
        (home / "settings.json").write_text(json.dumps(settings))
        self.process = stage.start(
            host, ["transmission-daemon", "--foreground", "--log-info", "--config-dir", home], folder
        )
        self._host = host

    def leave(self):
        # When it ends, it drops the last word to an HTTP tracker. When told to pause, it does not.
        remote = ["transmission-remote", f"127.0.0.1:{RPC_PORT}", "--torrent", "all", "--stop"]
        done = subprocess.run(
            self._host.command(remote), check=False, capture_output=True, text=True, timeout=RPC_SECONDS
        )
        if done.returncode != 0:
            raise StepFailed(f"{self.process.name} is told to pause: {done.stdout}{done.stderr}")


class Libtorrent(Client):
    """libtorrent (Rasterbar), by the script beside this file."""

    @staticmethod
    def missing():
        if importlib.util.find_spec("libtorrent"):
            return None
        return f"the module libtorrent for {sys.executable} (Debian package python3-libtorrent)"

    def __init__(self, stage, host, folder, torrent_file):
        script = Path(__file__).with_name("libtorrent_client.py")
        literals = (f"[{ip}]" if ":" in ip else ip for ip in host.addresses.values())
        interfaces = ",".join(f"{literal}:{PORT}" for literal in literals)
        self.process = stage.start(host, [sys.executable, script, torrent_file, folder, interfaces], folder)

    def leave(self):
        # As with transmission: when it ends, it drops the last word to a UDP tracker.
        self.process.send(signal.SIGUSR1)


class Rtorrent(Client):
    """rtorrent that listens on no port: it leaves the port out over HTTP, and says 0 over UDP."""

    HAS_PORT = False

    @staticmethod
    def missing():
        return None if shutil.which("rtorrent") else "rtorrent (Debian package rtorrent)"

    def __init__(self, stage, host, folder, torrent_file):
        home = folder.with_suffix(".rtorrent")
        home.mkdir()
        commands = home / "commands"
        commands.write_text(
            dedent(
                f"""\
                system.daemon.set = true
                directory.default.set = {folder}
                session.path.set = {home}
                network.port_open.set = no
                dht.mode.set = disable
                protocol.pex.set = no
                trackers.use_udp.set = yes
                log.open_file = "log", {folder.with_suffix(".log")}
                log.add_output = "torrent_info", "log"
                schedule2 = start, 0, 0, "load.start={torrent_file}"
                """
            )
        )
        self.process = stage.start(host, ["rtorrent", "-n", "-o", f"import={commands}"], folder)

    def leave(self):
        self.process.ask_to_stop()


class NpmClient:
    """The client of npm's bittorrent-tracker, by the script in the folder npm.

    It exchanges no content: it asks its tracker for all that there is to ask, and ends.
    """

    @staticmethod
    def missing():
        if not shutil.which("node"):
            return "node (tests/e2e/npm/install)"
        is_there = (NODE_MODULES / "bittorrent-tracker").is_dir()
        return None if is_there else "bittorrent-tracker of npm (tests/e2e/npm/install)"

    def __init__(self, stage, host, folder, announce, address):
        script = Path(__file__).with_name("npm") / "client.mjs"
        self.process = stage.start(host, ["node", script, NODE_MODULES, announce, address], folder)
