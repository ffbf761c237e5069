"""The pages in a real browser, against the sample site behind Pushpin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.fleet import Fleet, Target

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 30

pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()), reason="needs chromium and chromedriver (apt-get install them)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


class Tab:
    """One tab with a room open in it."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self._browser = browser
        browser.switch_to.new_window("tab")
        self._handle = browser.current_window_handle
        browser.get(address)
        self.wait(lambda: self._data("socket") == "open", "an open socket")

    @property
    def connections(self) -> int:
        """How often the page has opened a socket."""
        self._browser.switch_to.window(self._handle)
        return int(self._data("opened"))

    def say(self, text: str) -> None:
        self._browser.switch_to.window(self._handle)
        self._browser.find_element(By.ID, "message").send_keys(text, Keys.ENTER)

    def wait_for(self, texts: list[str]) -> None:
        """Return when the log shows exactly these texts."""
        self._browser.switch_to.window(self._handle)
        self.wait(lambda: self._shown() == texts, f"{texts}")

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        wait = WebDriverWait(self._browser, PATIENCE, poll_frequency=0.05)
        wait.until(lambda _: condition(), f"waited for {what}, the log shows {self._shown()}")

    def _shown(self) -> list[str]:
        return [line.text for line in self._browser.find_elements(By.CSS_SELECTOR, "#log li span")]

    def _data(self, name: str) -> Any:
        return self._browser.execute_script(f"return document.documentElement.dataset.{name}")


class LivePage:
    """One tab with a live page open in it."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self._browser = browser
        browser.switch_to.new_window("tab")
        self._handle = browser.current_window_handle
        browser.get(address)
        self._wait(lambda: browser.execute_script("return document.documentElement.dataset.live") == "open", "news")

    def press(self, selector: str, *keys: str) -> None:
        self._browser.switch_to.window(self._handle)
        self._browser.find_elements(By.CSS_SELECTOR, selector)[-1].send_keys(*keys)

    def shown(self, selector: str) -> list[str]:
        """The texts of what is selected, all of one moment."""
        self._browser.switch_to.window(self._handle)
        script = "return Array.from(document.querySelectorAll(arguments[0]), (found) => found.textContent)"
        texts: list[str] = self._browser.execute_script(script, selector)
        return texts

    def wait_for(self, selector: str, texts: list[str]) -> None:
        """Return when what is selected shows exactly these texts."""
        self._wait(lambda: self.shown(selector) == texts, f"{texts} in {selector}")

    def _wait(self, condition: Callable[[], Any], what: str) -> None:
        wait = WebDriverWait(self._browser, PATIENCE, poll_frequency=0.05)
        wait.until(lambda _: condition(), f"waited for {what}")


@pytest.fixture
def behind_pushpin(fleet: Fleet) -> Target:
    return fleet.targets["pushpin-uvicorn"]


def test_two_tabs_talk_across_a_restart_of_the_backend(
    browser: webdriver.Chrome, behind_pushpin: Target, room: str
) -> None:
    address = f"{behind_pushpin.url}/chat/{room}/"
    first, second = Tab(browser, address), Tab(browser, address)
    first.say("hello")
    second.wait_for(["hello"])
    second.say("hello yourself")
    first.wait_for(["hello", "hello yourself"])

    behind_pushpin.backend.restart()

    first.say("still there?")
    for tab in (first, second):
        tab.wait_for(["hello", "hello yourself", "still there?"])
        assert tab.connections == 1


def test_the_index_leads_to_a_room(browser: webdriver.Chrome, behind_pushpin: Target, room: str) -> None:
    browser.switch_to.new_window("tab")
    browser.get(behind_pushpin.url)
    browser.find_element(By.ID, "room-name").send_keys(room, Keys.ENTER)
    WebDriverWait(browser, PATIENCE).until(lambda driver: driver.current_url.endswith(f"/chat/{room}/"))
    status = browser.find_element(By.ID, "status")
    WebDriverWait(browser, PATIENCE).until(lambda _: status.text == "Connected")


def test_live_pages_show_what_is_done_on_others_across_a_restart(
    browser: webdriver.Chrome, behind_pushpin: Target, room: str
) -> None:
    url = behind_pushpin.url
    dashboard, counter = LivePage(browser, f"{url}/dashboard/"), LivePage(browser, f"{url}/counter/")
    first, second = LivePage(browser, f"{url}/tasks/"), LivePage(browser, f"{url}/tasks/")

    count, tasks = int(counter.shown("#value")[0]), first.shown("#list span")

    first.press("#title", f"Sweep {room}", Keys.ENTER)
    second.wait_for("#list span", [*tasks, f"Sweep {room}"])
    second.press("#list input", Keys.SPACE)
    first.wait_for("#list li:last-child :checked + span", [f"Sweep {room}"])
    counter.press("#step [value='1']", Keys.ENTER)
    counter.wait_for("#value", [str(count + 1)])

    behind_pushpin.backend.restart()

    counter.press("#step [value='-1']", Keys.ENTER)
    counter.wait_for("#value", [str(count)])
    second.press("#list button", Keys.ENTER)
    first.wait_for("#list span", tasks)
    happened = [
        f"No longer to do: Sweep {room}",
        f"The counter went down to {count}",
        f"The counter went up to {count + 1}",
        f"Done: Sweep {room}",
        f"To do: Sweep {room}",
    ]
    dashboard.wait_for("#feed li span", happened)
