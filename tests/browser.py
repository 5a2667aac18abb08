"""Headless Chromium on a pipe: what a page says on its console, what it asks the network for, what its script does."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time

import pytest


def chromium():
    """The browser's path; skips the test where there is none."""
    found = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if found is None:
        pytest.skip("no Chromium here")
    return found


class Page:
    """One page, opened from a file; `with Page(path, width, height) as page`."""

    def __init__(self, path, width=1280, height=900, dark=False, patience=60):
        self.path, self.size, self.dark, self.patience = path, (width, height), dark, patience
        self.console, self.requests, self.numbers, self.buffer = [], [], itertools.count(1), b""

    def __enter__(self):
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        flags = "--headless=new --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe --hide-scrollbars"
        # The browser reads descriptor 3 and writes descriptor 4.
        words = f'exec "$0" {flags} about:blank 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", words, chromium()],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer = ours_in, ours_out
        os.set_blocking(self.reader, False)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        width, height = self.size
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=f"file://{self.path}")
        self.until("document.readyState === 'complete'")
        return self

    def __exit__(self, *_):
        try:
            self.process.kill()
            self.process.wait(20)
        finally:
            os.close(self.reader)
            os.close(self.writer)

    def call(self, method, **parameters):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            for answer in self.messages():
                if answer.get("id") == number:
                    if "error" in answer:
                        raise RuntimeError(f"{method}: {answer['error']}")
                    return answer["result"]
            time.sleep(0.01)
        raise TimeoutError(f"{method}: no answer in {self.patience} s")

    def messages(self):
        """Messages that have come; events are taken note of."""
        try:
            while part := os.read(self.reader, 1 << 20):
                self.buffer += part
        except BlockingIOError:
            pass
        *whole, self.buffer = self.buffer.split(b"\0")
        for raw in whole:
            message = json.loads(raw)
            kind, told = message.get("method"), message.get("params", {})
            if kind == "Runtime.consoleAPICalled":
                self.console.append(" ".join(str(a.get("value", a.get("description"))) for a in told["args"]))
            elif kind == "Runtime.exceptionThrown":
                self.console.append(told["exceptionDetails"].get("exception", {}).get("description", "exception"))
            elif kind == "Log.entryAdded":
                self.console.append(told["entry"]["text"])
            elif kind == "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            yield message

    def run(self, script):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def until(self, condition):
        end = time.monotonic() + self.patience
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.05)

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    def mouse(self, kind, x, y):
        button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def screenshot(self, path, whole=True):
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
