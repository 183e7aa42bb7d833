"""A page in a real headless Chromium, by its DevTools protocol: what is seen, reached by keyboard and read aloud."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needed = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
SIZES = {"narrow": (360, 800), "wide": (1440, 900)}
SCHEMES = ("light", "dark")

# Every text that is seen outside of pictures, with its contrast to what lies behind it (WCAG 2.2, 1.4.3).
_CONTRAST = """(() => {
  const dot = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = colour => {
    dot.clearRect(0, 0, 1, 1);
    dot.fillStyle = colour;
    dot.fillRect(0, 0, 1, 1);
    return [...dot.getImageData(0, 0, 1, 1).data];
  };
  const light = colour => [.2126, .7152, .0722].reduce((sum, share, i) => {
    const v = colour[i] / 255;
    return sum + share * (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  }, 0);
  const behind = e => {
    const colour = rgb(getComputedStyle(e).backgroundColor);
    return colour[3] === 255 ? colour : behind(e.parentElement);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  for (let text; text = texts.nextNode();) {
    const e = text.parentElement;
    if (!text.data.trim() || e.closest('script, style, svg') || !e.checkVisibility()) continue;
    const [more, less] = [rgb(getComputedStyle(e).color), behind(e)].map(light).sort((a, b) => b - a);
    found.push([(more + .05) / (less + .05), text.data.trim().slice(0, 60)]);
  }
  return found;
})()"""

# What Tab should reach, in order: of radio buttons the chosen one alone.
_REACHED = """[...document.querySelectorAll(`a[href], summary, button, select, textarea, [tabindex="0"],
  input:not([type=hidden], [type=radio]:not(:checked))`)].filter(e => e.checkVisibility() && !e.disabled)"""


class Page:
    """One tab. logged: what the page complained of; asked: the addresses that it fetched."""

    def __init__(self, address: str):
        self._socket, self._last = connect(address, max_size=None, proxy=None), 0
        self.logged, self.asked = [], []
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments):
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": arguments}))
        while (said := self._heard()).get("id") != self._last:
            pass
        assert "error" not in said, (method, said)
        return said["result"]

    def _heard(self) -> dict:
        said = json.loads(self._socket.recv(timeout=60))
        what, about = said.get("method"), said.get("params", {})
        if what == "Log.entryAdded":
            self.logged.append(about["entry"]["text"])
        elif what in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.logged.append(str(about))
        elif what == "Network.requestWillBeSent":
            self.asked += [url for url in [about["request"]["url"]] if not url.startswith("data:")]
        return said

    def js(self, expression: str):
        said = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def open(self, address: str, size: str = "wide", scheme: str = "light") -> None:
        width, height = SIZES[size]
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=size == "narrow")
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.logged.clear()
        self.asked.clear()
        self.call("Page.navigate", url=address)
        self.loaded()

    def loaded(self) -> None:
        """Wait until the page that is under way is there."""
        while self._heard().get("method") != "Page.loadEventFired":
            pass

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the window."""
        return self.js("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def contrast(self) -> list[tuple[float, str]]:
        return self.js(_CONTRAST)

    def reachable(self) -> list[str]:
        """Each thing that can be acted on, in the order of the page."""
        return self.js(_REACHED + ".map((e, i) => (e.dataset.place = i, e.outerHTML.slice(0, 80)))")

    def tabbed(self, most: int) -> list[tuple[int, bool]]:
        """(place, whether its focus is seen) of what Tab comes to, from the top until the page is left."""
        found = []
        for _ in range(most):
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            at = self.js("""(e => e === document.body ? null : [Number(e.dataset.place), e.matches(':focus-visible')
              && (getComputedStyle(e).outlineStyle !== 'none' || getComputedStyle(e).boxShadow !== 'none')])(
              document.activeElement)""")
            if at is None or found and at[0] == found[0][0]:
                break
            found.append(tuple(at))
        return found

    def spoken(self) -> list[tuple[str, str, dict]]:
        """(role, name, properties) of each node that a screen reader is given, in order."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(n["role"]["value"], n.get("name", {}).get("value", ""),
                 {p["name"]: p["value"].get("value") for p in n.get("properties", ())})
                for n in nodes if not n["ignored"]]

    def printed(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF")["data"])


@contextmanager
def page(folder: Path) -> Iterator[Page]:
    """A tab of a fresh Chromium whose files lie in folder."""
    command = [PROGRAM, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-dev-shm-usage",
               "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    if os.geteuid() == 0:  # its sandbox refuses root
        command.insert(1, "--no-sandbox")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield Page(_address(folder / "DevToolsActivePort", running))
        finally:
            running.terminate()


def _address(file: Path, running: subprocess.Popen) -> str:
    for _ in range(600):
        assert running.poll() is None, "Chromium ended at once"
        if file.exists() and (said := file.read_text().split()):
            with httpx.Client(trust_env=False) as client:
                tabs = client.get(f"http://127.0.0.1:{said[0]}/json/list").json()
            return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        time.sleep(0.05)
    raise AssertionError("Chromium opened no port in 30 s")
