"""A browser, driven by the WebDriver protocol (W3C) over plain HTTP: Debian's chromium with chromium-driver."""

import base64
import http.client
import json
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

START_SECONDS = 30
# It asks nobody for anything but what the test has it open.
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip


class Browser:
    """One window. Whoever leaves the `with` block ends the browser and its driver."""

    def __enter__(self):
        # The browser may still be writing there when its driver has gone.
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.session = None
        try:
            self.port = self.find_port()
            options = {"args": [*ARGUMENTS, f"--user-data-dir={self.folder.name}"]}
            logs = {"browser": "ALL", "performance": "ALL"}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
            made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self.session = made["sessionId"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self.session:
                self.ask("DELETE", f"/session/{self.session}")
        finally:
            self.driver.terminate()
            try:
                self.driver.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.driver.kill()
                self.driver.wait()
            self.driver.stdout.close()
            self.folder.cleanup()

    def find_port(self):
        """The port of the driver, which it says in its last line before it serves; it says nothing afterwards."""
        # One that is killed says nothing more, and the reading ends.
        impatience = threading.Timer(START_SECONDS, self.driver.kill)
        impatience.start()
        try:
            for line in self.driver.stdout:
                if found := re.search(rb"started successfully on port (\d+)", line):
                    return int(found[1])
        finally:
            impatience.cancel()
        raise RuntimeError("chromedriver does not start")

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * START_SECONDS)
        try:
            connection.request(method, path, json.dumps(body or {}) if method == "POST" else None)
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{path}: {value['error']}: {value['message']}")
        return value

    def say(self, command, body=None):
        return self.ask("POST", f"/session/{self.session}/{command}", body)

    def open(self, url):
        self.say("url", {"url": url})

    def run(self, script, *arguments):
        """What a script returns; it sees `arguments`."""
        return self.say("execute/sync", {"script": script, "args": list(arguments)})

    def run_later(self, script, *arguments):
        """What a script hands to the function that is the last of its arguments."""
        return self.say("execute/async", {"script": script, "args": list(arguments)})

    def devtools(self, command, **parameters):
        return self.say("goog/cdp/execute", {"cmd": command, "params": parameters})

    def press(self, *keys):
        """Presses keys one after the other, on whatever has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.say("actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def point(self, selector, part=0.5):
        """Moves the mouse onto an element: how far along it, from its left."""
        at = self.run(
            "const element = document.querySelector(arguments[0]); element.scrollIntoView({block: 'center'});"
            "const box = element.getBoundingClientRect();"
            "return [Math.round(box.left + box.width * arguments[1]), Math.round(box.top + box.height / 2)]",
            selector,
            part,
        )
        move = {"type": "pointerMove", "duration": 0, "x": at[0], "y": at[1], "origin": "viewport"}
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [move]}
        self.say("actions", {"actions": [mouse]})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def until(self, what, is_so, seconds=START_SECONDS):
        """Waits until `is_so()` returns something, and returns that."""
        end = time.monotonic() + seconds
        while not (value := is_so()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {what}")
            time.sleep(0.05)
        return value

    def log(self, kind):
        """What has been logged since it was last asked for."""
        return self.say("se/log", {"type": kind})

    def requested(self):
        """The URLs that the page has asked for since it was last asked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [message["params"]["request"]["url"] for message in sent]

    def screen(self, width, height, scheme="light"):
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.devtools(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def screenshot(self, file: Path, whole=False):
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))
