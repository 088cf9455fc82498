# SPDX-License-Identifier: BSD-2-Clause
"""Chromium without a window, driven over its DevTools protocol through a pair of pipes."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from lab.net import PATIENCE
from lab.suite import Skip

_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
          "--disable-background-networking", "--disable-extensions", "--hide-scrollbars",
          "--no-proxy-server", "--remote-debugging-pipe"]


class Browser:
    """One page. What the page complains of, and what it asked for, is kept."""

    def __init__(self, namespace, width=1280, height=900):
        binary = shutil.which("chromium")
        if not binary:
            raise Skip("chromium is not installed")
        self.dir = tempfile.mkdtemp(prefix="sluice-browser-")
        self.complaints, self.urls, self.data, self.events = [], [], b"", []
        self.number, self.session, self.on_pause = 0, None, None
        to_read, self.to = os.pipe()
        self.come, come_write = os.pipe()
        self.process = namespace.start(
            "bash", "-c", f'exec "$@" 3<&{to_read} 4>&{come_write}', "bash", binary, *_FLAGS,
            f"--user-data-dir={self.dir}", f"--window-size={width},{height}", "about:blank",
            pass_fds=(to_read, come_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": self.dir})
        os.close(to_read)
        os.close(come_write)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    # --- the protocol: messages end with NUL ---

    def _message(self, timeout):
        end = time.monotonic() + timeout
        while b"\0" not in self.data:
            if not select.select([self.come], [], [], max(0, end - time.monotonic()))[0]:
                return None
            more = os.read(self.come, 1 << 20)
            if not more:
                raise AssertionError("the browser has ended")
            self.data += more
        line, self.data = self.data.split(b"\0", 1)
        return json.loads(line)

    def _send(self, method, parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.number

    def _note(self, message):
        method, p = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(p["exceptionDetails"])[:400])
        elif method == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
            self.complaints.append(p["entry"]["text"] + " " + p["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            self.urls.append(p["request"]["url"])
        elif method == "Fetch.requestPaused" and self.on_pause:
            self._send("Fetch.fulfillRequest", {
                "requestId": p["requestId"], "responseCode": 200,
                "body": base64.b64encode(self.on_pause()).decode()})

    def call(self, method, timeout=30, **parameters):
        number, end = self._send(method, parameters), time.monotonic() + timeout * PATIENCE
        while time.monotonic() < end:
            message = self._message(end - time.monotonic())
            if message and message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
            if message:
                self._note(message)
        raise AssertionError(f"{method}: no answer")

    # --- what a test does ---

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of a JavaScript expression."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise AssertionError(f"{script[:200]}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, script, timeout=30, what=None):
        end = time.monotonic() + timeout * PATIENCE
        while not (value := self.run(script)):
            if time.monotonic() > end:
                raise AssertionError(f"{what or script}: not so; {self.complaints}; the page: "
                                     f"{self.run('document.body.innerText')[:1500]}")
            time.sleep(0.1)
        return value

    def resize(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=mobile)

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": name}])

    def answer_json_with(self, make):
        """The page's figures are what make() returns."""
        self.on_pause = make
        self.call("Fetch.enable", patterns=[{"urlPattern": "*/status.json"}])

    def picture(self, path):
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=False)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        for fd in (self.to, self.come):
            os.close(fd)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
