"""Flower, unchanged, on this broker: its pages of workers and tasks, their live updates, its remote control.

By its HTTP interface, and in Chromium, without a screen, where one is found (Debian: `chromium-driver`).
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from transport_workers import Bench

from kombu_depqueue.testing.helpers import wait_until


class Flower:
    """`celery flower` as a process, and its HTTP interface."""

    def __init__(self, bench: Bench) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.at = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.log = bench.folder / "flower.log"
        command = [sys.executable, "-m", "celery", "-A", "transport_app", "flower", "--address=127.0.0.1"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--port={self.at.rpartition(':')[2]}"],
                cwd=bench.folder,
                env={**bench.environment(), "FLOWER_UNAUTHENTICATED_API": "true"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def page(self, path: str, post: bool = False) -> str:
        """What it answers."""
        assert self.process.poll() is None, self.log.read_text()
        request = Request(f"{self.at}{path}", method="POST" if post else "GET")  # noqa: S310 - our own address
        with urlopen(request, timeout=20) as answer:  # noqa: S310
            return str(answer.read().decode())

    def find(self, path: str) -> Any:
        """The same, as Python values; None: it is not ready."""
        try:
            return json.loads(self.page(path))
        except URLError:
            return None


@pytest.fixture
def flower(bench: Bench) -> Iterator[Flower]:
    made = Flower(bench)
    yield made
    made.process.terminate()
    made.process.wait(20)


FLAGS = [
    "headless=new",
    "no-sandbox",  # it refuses to have one when root runs it
    "disable-gpu",
    "disable-dev-shm-usage",  # which is small in containers
    "no-first-run",
    "disable-quic",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "window-size=1300,800",
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium with a profile of its own, driven by Selenium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{flag}")
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    made.set_page_load_timeout(60)
    yield made
    made.quit()


def _row(browser: Any, of: str) -> str:
    """The row of a table on the page that speaks of this, as one sees it; empty: there is none (yet)."""
    return str(
        browser.execute_script(
            "const row = [...document.querySelectorAll('tbody tr')].find(r => r.innerText.includes(arguments[0]));"
            "return row ? row.innerText : ''",
            of,
        )
    )


def _cells(browser: Any, of: str) -> list[str]:
    return _row(browser, of).split()


@pytest.mark.drawn("database")
@pytest.mark.timeout(240)
def test_flower_in_a_browser(bench: Bench, flower: Flower, browser: Any, tmp_path: Path) -> None:
    """The pages show workers and tasks, and what changes while one looks at them, without being loaded again."""
    worker = bench.worker("-E", "-c", "2", pool="prefork").ready()
    wait_until(lambda: (flower.find("/workers?json=1") or {}).get("data"), 60)
    browser.get(f"{flower.at}/workers")
    browser.execute_script("window.stillThisPage = true")
    # The worker, Online, active, processed, failed, succeeded, load
    wait_until(lambda: _cells(browser, worker.name)[1:6] == ["Online", "0", "0", "0", "0"], 30)
    held, _ = bench.send("hold", "held"), bench.send("fail", "so sad")
    wait_until(lambda: _cells(browser, worker.name)[1:6] == ["Online", "1", "2", "1", "0"], 30)
    browser.save_screenshot(str(tmp_path / "workers.png"))
    bench.let_go("held")
    wait_until(lambda: _cells(browser, worker.name)[1:6] == ["Online", "0", "2", "1", "1"], 30)
    assert browser.execute_script("return window.stillThisPage") is True

    running = bench.send("hold", "running")
    bench.facts.wait("start", label="running")
    shown: list[tuple[str, str]] = [(held.id, "SUCCESS"), (running.id, "STARTED")]
    _reloaded(browser, f"{flower.at}/tasks", lambda: all(state in _row(browser, one) for one, state in shown))
    assert "hold" in _row(browser, held.id)
    browser.save_screenshot(str(tmp_path / "tasks.png"))
    bench.let_go("running")
    _reloaded(browser, f"{flower.at}/tasks", lambda: "SUCCESS" in _row(browser, running.id))
    browser.get(f"{flower.at}/task/{held.id}")
    assert "SUCCESS" in browser.find_element("tag name", "body").text

    worker.terminate()
    browser.get(f"{flower.at}/workers")
    wait_until(lambda: "Offline" in _cells(browser, worker.name), 40)
    assert all((tmp_path / f"{page}.png").stat().st_size > 10_000 for page in ("workers", "tasks"))


def _reloaded(browser: Any, page: str, shows: Callable[[], bool]) -> None:
    """Load a page, which does not change by itself, until it shows something."""

    def look() -> bool:
        browser.get(page)
        try:
            wait_until(shows, 3)
        except AssertionError:
            return False
        return True

    wait_until(look, 30)


def test_flower_sees_workers_and_tasks_and_controls_them(bench: Bench, flower: Flower) -> None:
    worker = bench.worker("-E", "-c", "1", pool="prefork").ready()
    wait_until(lambda: (flower.find("/workers?json=1") or {}).get("data"), 60)
    [seen] = flower.find("/workers?json=1")["data"]
    assert (seen["hostname"], seen["status"]) == (worker.name, True)
    assert worker.name in flower.page("/workers")

    result = bench.send("note", "seen")
    broken = bench.send("fail", "seen, too")
    states = {result.id: "SUCCESS", broken.id: "FAILURE"}
    wait_until(lambda: {i: t["state"] for i, t in (flower.find("/api/tasks") or {}).items()} == states, 30)
    assert "seen" in flower.page(f"/task/{result.id}")
    assert flower.find("/workers?json=1")["data"][0]["task-succeeded"] == 1

    wait_until(lambda: worker.name in (flower.find("/api/workers?refresh=1") or {}), 30)  # asks it by remote control
    assert "Growing" in flower.page(f"/api/worker/pool/grow/{worker.name}?n=1", post=True)
    inspect = bench.app.control.inspect(timeout=5)
    wait_until(lambda: len(inspect.stats()[worker.name]["pool"]["processes"]) == 2, 30)
    held = bench.send("note", "held", 300)
    bench.facts.wait("start", label="held")
    flower.page(f"/api/task/revoke/{held.id}?terminate=true", post=True)
    wait_until(lambda: (flower.find("/api/tasks") or {}).get(held.id, {}).get("state") == "REVOKED", 30)

    worker.terminate()
    worker.wait()
    wait_until(lambda: flower.find("/workers?json=1")["data"][0]["status"] is False, 30)
