"""The page in a real Chromium (Debian: apt-get install chromium chromium-driver)."""

import json
import shutil

import pytest

from espnet_dice.report import main
from tests.report import made

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="Chromium is not installed: apt-get install chromium chromium-driver",
)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-extensions", "--disable-background-networking",
)  # fmt: skip
SIZES = ((390, 844), (1280, 900))


@pytest.fixture(scope="module")
def chrome():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A recogniser's page, with an utterance and a config that try to be markup."""
    root = tmp_path_factory.mktemp("kd")
    path = root / "report.html"
    path.write_text(main.make(made.recognisers(root, evil=True)), encoding="utf-8")
    return path


def show(chrome, path, size=SIZES[1], scheme="light"):
    """Open a page; what the console says and what is asked of the network since."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    said(chrome)
    chrome.get(path.as_uri())
    # on a busy machine the page was asked, once, when seven of its charts were there
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(chrome, 60)
    wait.until(lambda c: c.execute_script("return document.readyState") == "complete")


def said(chrome):
    """Lines of the console, and addresses asked for that are not in the page, since last asked."""
    console = [entry["message"] for entry in chrome.get_log("browser")]
    asked = []
    for entry in chrome.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    return console, [url for url in asked if not url.startswith("data:")]


def test_the_ears_of_these_tests_hear(chrome, tmp_path):
    """A page that does what ours must not is caught."""
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x"><script>nothing.at.all</script>')
    show(chrome, bad)
    console, asked = said(chrome)
    assert "http://127.0.0.1:9/x" in asked
    assert any("nothing is not defined" in line for line in console)


def test_it_is_quiet_and_asks_for_nothing(chrome, page):
    show(chrome, page)
    chrome.execute_script("for (const a of document.querySelectorAll('audio')) a.load()")
    console, asked = said(chrome)
    assert console == []
    assert asked == [page.as_uri()]
    assert chrome.execute_script("return window.evil") is None
    cards = chrome.execute_script("return document.getElementById('cards').textContent")
    assert "<script>window.evil=1</script>" in cards


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=["narrow", "wide"])
def test_it_fits_and_can_be_read(chrome, page, size, scheme):
    show(chrome, page, size, scheme)
    found = chrome.execute_script("""
        const rgb = (el, what) =>
            getComputedStyle(el)[what].match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255);
        const share = [0.2126, 0.7152, 0.0722];
        const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const light = (c) => c.map(linear).reduce((sum, v, k) => sum + v * share[k], 0);
        const paper = light(rgb(document.body, "backgroundColor"));
        const contrast = (el) => { const v = light(rgb(el, "color"));
            return (Math.max(v, paper) + 0.05) / (Math.min(v, paper) + 0.05); };
        const all = (selector) => [...document.querySelectorAll(selector)];
        const seen = [document.body, ...all(".sub, .del, .ins, p.faint, nav a")];
        return { paper, width: document.documentElement.scrollWidth, window: innerWidth,
                room: document.documentElement.clientWidth,
            ship: document.getElementById("ship").getBoundingClientRect().bottom,
            worst: Math.min(...seen.map(contrast)),
            charts: all("figure svg").map((s) => s.getBoundingClientRect().height) };
    """)
    # a scroll bar takes its part of the window; the page takes no more than the rest
    assert found["window"] == size[0] and found["width"] == found["room"]
    assert found["ship"] < size[1] / 3  # what to ship, on the first screen
    assert found["worst"] >= 4.5  # WCAG 2.1, AA
    assert (found["paper"] < 0.1) == (scheme == "dark")
    assert len(found["charts"]) > 10 and min(found["charts"]) > 100


def test_tables_sort_by_keyboard(chrome, page):
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    show(chrome, page)
    state = """
        const th = document.querySelector("#systems th:nth-child(3)");
        return [th.textContent, th.getAttribute("aria-sort"),
            [...document.querySelectorAll("#systems table:first-of-type tbody tr")]
                .map((tr) => tr.children[2]?.dataset.v).filter(Boolean).map(Number)];
    """
    chrome.find_element("tag name", "body").send_keys(keys.TAB)
    assert chrome.execute_script("return document.activeElement.matches('nav a')")
    button = chrome.find_element("css selector", "#systems th:nth-child(3) button")
    for direction in ("descending", "ascending", "descending"):
        chrome.execute_script("arguments[0].focus()", button)
        chrome.switch_to.active_element.send_keys(keys.ENTER)
        name, sort, values = chrome.execute_script(state)
        assert name.startswith("WER") and sort == direction and len(values) == 5
        assert values == sorted(values, reverse=direction == "descending")


def test_sound_loads(chrome, page):
    show(chrome, page)
    seconds = chrome.execute_async_script("""
        const done = arguments[0], every = [...document.querySelectorAll("audio")].slice(0, 3);
        Promise.all(every.map((a) => new Promise((ready) => {
            a.onloadedmetadata = () => ready(a.duration);
            a.onerror = () => ready(a.error.message);
            a.load();
        }))).then(done);
    """)
    assert seconds == pytest.approx([0.25] * 3, abs=0.01)


def test_utterances_sort_and_show_their_tokens(chrome, page):
    show(chrome, page)
    for by in ("sigma", "rate", "entropy", "errors"):
        chrome.find_element("css selector", f"button[data-by={by}]").click()
        values = chrome.execute_script(
            "const cards = [...document.querySelectorAll('.card')];"
            "return cards.map((c) => Number(c.dataset[arguments[0]]))",
            by,
        )
        assert values == sorted(values, reverse=True) and len(set(values)) > 2
    pressed = chrome.find_elements("css selector", "button.order[aria-pressed=true]")
    assert [b.text for b in pressed] == ["errors"]
    button = chrome.find_elements("css selector", "button.show")[3]
    utt = button.get_attribute("data-utt")
    chrome.execute_script("arguments[0].click()", button)
    chosen, marks, tokens, models = chrome.execute_script("""
        const data = JSON.parse(document.getElementById("token-data").textContent);
        const utt = document.getElementById("utterance").value;
        return [utt, document.querySelectorAll("#drawn text:has(title)").length,
            data.utterances[utt].tokens.length,
            document.querySelectorAll("#models :checked").length];
    """)
    assert chosen == utt and models == 3 and marks == 2 * tokens * models
    chrome.find_element("css selector", "#models input").click()
    left = chrome.execute_script(
        "return document.querySelectorAll('#drawn text:has(title)').length"
    )
    assert left == 2 * tokens * 2


def test_errors_show_without_colour(chrome, page):
    show(chrome, page)
    marks = chrome.execute_script("""
        const one = (selector) => document.querySelector("#cards " + selector);
        const style = (selector, pseudo) => getComputedStyle(one(selector), pseudo);
        return [style(".sub").textDecoration, style(".del").textDecorationLine,
            style(".ins", "::before").content];
    """)
    assert "underline wavy" in marks[0] and marks[1:] == ["line-through", '"+"']


def test_a_hubert_is_quiet_too(chrome, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(main.make(made.hubert(tmp_path)), encoding="utf-8")
    show(chrome, path, SIZES[0])
    console, asked = said(chrome)
    assert (console, asked) == ([], [path.as_uri()])
    assert chrome.execute_script("return document.documentElement.scrollWidth") == SIZES[0][0]
