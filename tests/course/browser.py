"""A headless Chromium for tests, spoken to over its DevTools protocol: it needs the browser and one small package, no driver of the browser's version.

with Chromium(profile) as chromium:
    tab = chromium.tab()
    tab.open(page); tab.click("#switch"); tab.js("document.title")
    tab.wrong        what was asked of a network, was not found, or was said on the console
"""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import websocket

LOCAL = ("file:", "data:", "blob:", "about:")
SECONDS = 20.0  # a page of the site is there in a tenth of one; a busy machine may take longer
KEYS = {" ": "Space", "Enter": "Enter", "Escape": "Escape", "ArrowDown": "ArrowDown", "/": "Slash"}


def find_chromium() -> str | None:
    """The path of a Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Chromium:
    """A browser without a network: every host name is unknown to it, and its proxy is a port where nobody listens."""

    def __init__(self, executable: str, profile: Path) -> None:
        self._profile = profile
        command = [executable, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run",
                   "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio", "--host-resolver-rules=MAP * ~NOTFOUND",
                   "--proxy-server=http://127.0.0.1:9"]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to run as root with it
        self._process = subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> "Chromium":
        try:
            said = self._profile / "DevToolsActivePort"
            end = time.monotonic() + 3 * SECONDS
            while not said.is_file() or len(lines := said.read_text().split()) < 2:
                assert self._process.poll() is None, f"Chromium ended with status {self._process.returncode}"
                assert time.monotonic() < end, "Chromium did not open its debugging port"
                time.sleep(0.05)
            address = f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            self._socket = websocket.create_connection(address, timeout=SECONDS, suppress_origin=True)
        except BaseException:
            self._process.kill()
            raise
        self._last = 0
        self._tabs: dict[str, Tab] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def tab(self) -> "Tab":
        """A tab with a storage of its own."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._tabs[session] = Tab(self, session, context)
        self._tabs[session].begin()
        return self._tabs[session]

    def close(self, tab: "Tab") -> None:
        del self._tabs[tab.session]
        self.send("Target.disposeBrowserContext", browserContextId=tab.context)

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; its result. Events that come first are told to their tabs."""
        self._last += 1
        call = {"id": self._last, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        self._socket.send(json.dumps(call))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._last:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            if tab := self._tabs.get(message.get("sessionId", "")):
                tab.hear(message["method"], message["params"])


class Tab:
    """One page. `requests`: every address it asked for; `wrong`: what must not happen on a page that needs no network."""

    def __init__(self, chromium: Chromium, session: str, context: str) -> None:
        self.session, self.context = session, context
        self.requests: list[str] = []
        self.wrong: list[str] = []
        self._chromium = chromium

    def begin(self) -> None:
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable")
        self._send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        self.size(1280, 800)

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._chromium.send(method, self.session, **parameters)

    def hear(self, event: str, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            address = told["request"]["url"]
            self.requests.append(address)
            if not address.startswith(LOCAL):
                self.wrong.append(f"asked for {address[:200]}")
        elif event == "Network.loadingFailed" and not told.get("canceled"):
            self.wrong.append(f"not loaded: {told['errorText']} {told.get('blockedReason', '')}")
        elif event == "Runtime.consoleAPICalled":
            self.wrong.append(f"console: {told['args']}")
        elif event == "Runtime.exceptionThrown":
            self.wrong.append(f"exception: {told['exceptionDetails'].get('exception', told['exceptionDetails'])}")
        elif event == "Log.entryAdded":
            self.wrong.append(f"log: {told['entry']['text']}")
        elif event == "Page.javascriptDialogOpening":
            self.wrong.append(f"dialog: {told['message']}")

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a promise, what it brings."""
        made = self._send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + SECONDS
        while not (value := self.js(expression)):
            assert time.monotonic() < end, f"did not become true: {expression}"
            time.sleep(0.02)
        return value

    def open(self, page: Path, fragment: str = "") -> None:
        self._leave(lambda: self._send("Page.navigate", url=page.as_uri() + fragment))

    def reload(self) -> None:
        self._leave(lambda: self._send("Page.reload"))

    def follow(self, selector: str) -> None:
        """Click on what leads to another page."""
        self._leave(lambda: self.click(selector))

    def _leave(self, act: Any) -> None:
        """Do what leads to a new page, and wait until that is loaded."""
        self.js("window.leaving = true")
        act()
        end = time.monotonic() + SECONDS
        while True:
            try:
                if self.js("!window.leaving && document.readyState === 'complete'"):
                    return
            except AssertionError:  # between two pages there is none to ask
                pass
            assert time.monotonic() < end, "no new page was loaded"
            time.sleep(0.02)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        scale = 2 if phone else 1
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone)
        self._send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, scheme: str) -> None:
        """What the reader's system prefers: light or dark."""
        self._send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def _middle(self, selector: str) -> dict[str, float]:
        box = self.js(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
                      " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2, b.width] })()")  # fmt: skip
        assert box[2] > 0, f"{selector} is not to be seen"
        return {"x": box[0], "y": box[1]}

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element."""
        middle = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **middle)

    def tap(self, selector: str) -> None:
        """Touch the middle of an element."""
        self._send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[self._middle(selector)])
        self._send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        """Press and release a key: a character, or a name such as Enter."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = KEYS.get(key, f"Digit{key}" if key.isdigit() else "")
        self._send("Input.dispatchKeyEvent", type="keyDown", key=key, code=code, text=text)
        self._send("Input.dispatchKeyEvent", type="keyUp", key=key, code=code)

    def type(self, selector: str, text: str) -> None:
        """Replace what stands in an input; Chinese comes as an input method brings it."""
        self.js(f"(e => {{ e.focus(); e.value = '' }})(document.querySelector({json.dumps(selector)}))")
        self._send("Input.insertText", text=text)

    def shown(self, selector: str) -> bool:
        return self.js(f"document.querySelector({json.dumps(selector)}).checkVisibility()")

    def text(self, selector: str) -> str:
        return self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    def picture(self, path: Path) -> None:
        """A screenshot of the window, as PNG."""
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot")["data"]))
