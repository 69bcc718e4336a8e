"""The page in a real Chromium, from a file: it asks for nothing, says nothing on the console, and does what its buttons say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from optbench.events import Evaluated, Event, Finished
from optbench.report import render
from optbench.store import read
from results_builder import a_suite, diverged, failed, reaching, swept_twice, write

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

FOUND = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
CHROMIUM = FOUND or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
LABELS = (
    "SGD",
    "Adam <b>&amp;</b>",
    "مُحسِّن آدم",
    "🚀 rocket",
    "AdamW with decoupled weight decay, betas 0.9 and 0.95, warmed up",
)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: looked for /usr/bin/chromium and on the PATH")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    """Five entries of hostile names, one of which always diverges, one that fails now and then."""
    root = tmp_path_factory.mktemp("page")
    events = {
        (label, seed): reaching(2 + place + seed % 2, 0.9 + place / 100 + seed * (place + 1) % 5 / 1000)
        for place, label in enumerate(LABELS)
        for seed in range(5)
    }
    events |= {(LABELS[3], seed): diverged() for seed in range(5)} | {(LABELS[2], 0): failed()}
    write(root / "results", a_suite(labels=LABELS, seeds=5, title="Which one?"), events)
    path = root / "report.html"
    path.write_text(render(read([root / "results"]), "html"), encoding="utf-8")
    return path.as_uri()


class Opened:
    """A page with everything that it told the console, and everything that it asked for beside itself."""

    def __init__(self, browser, file: str, width: int = 1280, **options) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file)
        self.page.wait_for_selector(".plot svg, .empty")


@pytest.fixture
def opened(browser, file) -> Iterator[Opened]:
    found = Opened(browser, file)
    yield found
    assert found.said == []
    assert set(found.asked) == {file}
    found.context.close()


def first_column(page) -> list[str]:
    rows = page.locator("table[data-sort]").first.locator("tbody tr:visible th bdi")
    return rows.all_inner_texts()


def drawn(page) -> set[str]:
    """Places of the entries that some figure shows."""
    return set(page.eval_on_selector_all(".plot [data-o]", "all => all.map(each => each.dataset.o)"))


def test_tables_sort_by_click_and_by_keyboard_and_say_so(opened):
    page = opened.page
    before = first_column(page)
    head = page.locator("table[data-sort]").first.locator("thead th").nth(1)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    ascending = first_column(page)
    assert ascending[0] == "SGD"
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    descending = first_column(page)
    assert descending[0] != "SGD"
    assert "🚀 rocket" in (ascending[-1], descending[-1])
    assert descending[-1] == "🚀 rocket", "what is not known stays last"
    head.locator("button").press("Space")
    assert head.get_attribute("aria-sort") == "none"
    assert first_column(page) == before


def test_an_optimizer_goes_from_every_figure_and_table_at_once_and_comes_back(opened):
    page = opened.page
    assert "0" in drawn(page)
    chip = page.locator(".chip").first
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    assert "0" not in drawn(page)
    assert "SGD" not in first_column(page)
    page.locator("#all").click()
    assert "0" in drawn(page)
    assert "SGD" in first_column(page)
    chip.dblclick()
    assert drawn(page) == {"0"}


def test_hiding_everything_says_so(opened):
    page = opened.page
    for chip in page.locator(".chip").all():
        chip.click()
    assert drawn(page) == set()
    assert "Nothing to show" in page.locator(".plot").first.inner_text()


def test_the_time_axis_changes_in_all_figures(opened):
    page = opened.page
    labels = ".plot .label-x >> text=/^(epochs|steps|seconds of training)$/"
    assert set(page.locator(labels).all_text_contents()) == {"epochs"}
    for button, word in (("Steps", "steps"), ("Seconds", "seconds of training")):
        page.get_by_role("button", name=button, exact=True).click()
        assert set(page.locator(labels).all_text_contents()) == {word}


def test_a_drag_zooms_and_escape_button_and_double_click_reset(opened):
    page = opened.page
    figure = page.locator(".figure").first
    plot = figure.locator(".plot")

    def ticks() -> list[str]:
        return figure.locator(".tick-x").all_text_contents()

    def drag() -> None:
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 200, y)
        page.mouse.down()
        page.mouse.move(box["x"] + 350, y, steps=4)
        page.mouse.up()

    whole = ticks()
    for reset in (
        lambda: plot.press("Escape"),
        lambda: figure.get_by_role("button", name="Reset zoom").click(),
        lambda: plot.dblclick(),
    ):
        drag()
        assert ticks() != whole
        reset()
        assert ticks() == whole
    plot.press("+")
    assert ticks() != whole
    plot.press("-")
    assert ticks() == whole


def test_the_wheel_scrolls_the_page(opened):
    page = opened.page
    page.locator(".plot").first.hover()
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 300)
    look = "const look = () => scrollY > before ? done(true) : requestAnimationFrame(look); look();"
    assert page.evaluate(f"before => new Promise(done => {{ {look} }})", before)


def test_pointer_and_arrow_keys_read_values_with_seeds_and_band(opened):
    page = opened.page
    figure = page.locator(".figure").first
    figure.locator(".plot").hover()
    assert "seeds" in figure.locator(".readout").inner_text()
    figure.locator(".plot").focus()
    page.keyboard.press("Home")
    said = page.locator("[aria-live]").inner_text()
    assert said.startswith("1 epochs:")
    assert "5 seeds" in said
    page.keyboard.press("ArrowRight")
    assert page.locator("[aria-live]").inner_text().startswith("2 epochs:")


def test_the_metric_is_chosen_and_the_figure_has_a_table(opened):
    page = opened.page
    figure = page.locator(".figure").first
    figure.locator("select").select_option(index=1)
    assert figure.locator(".label-y").text_content().startswith("validation loss")
    figure.locator(".alt summary").click()
    figure.locator(".alt tbody tr").first.wait_for()  # a browser tells of what was opened a moment later
    assert figure.locator(".alt tbody tr").count() > 10


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("swept")
    swept_twice(root, LABELS[:3])
    path = root / "report.html"
    path.write_text(render(read([root / "results"]), "html"), encoding="utf-8")
    return path.as_uri()


def test_a_map_is_read_by_arrow_keys_and_pointer_and_loses_what_is_hidden(browser, swept):
    opened = Opened(browser, swept)
    page = opened.page
    maps = page.locator(".figure", has=page.locator(".cell"))
    count = maps.count()
    figure = maps.first
    plot = figure.locator(".plot")
    assert figure.locator(".tool:visible").count() == 0  # nothing to zoom
    plot.focus()
    said = page.locator("[aria-live]")
    page.keyboard.press("Home")
    assert said.inner_text().startswith("lr = 0.01, momentum = 0.9: SGD 90.50 %")
    assert "2 seeds" in said.inner_text()
    page.keyboard.press("ArrowDown")
    assert said.inner_text().startswith("lr = 0.01, momentum = 0: SGD 80.50 %")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "lr = 1, momentum = 0.9" in said.inner_text()
    assert "1 counted as the worst outcome" in said.inner_text()
    cell = plot.locator("rect[fill^=rgb]").first
    plot.hover(position={side: float(cell.get_attribute(side)) + 5 for side in ("x", "y")})
    assert figure.locator(".readout").inner_text().startswith("lr = 0.01, momentum = 0.9")
    page.locator(".chip").first.click()
    assert page.locator(".figure:visible", has=page.locator(".cell")).count() == count - 1
    assert opened.said == []


def test_claims_say_what_is_published_what_was_measured_and_the_verdict(browser, tmp_path):
    claim = {"kind": "numeric", "value": 3, "unit": "epochs", "margin": 1}
    rows = [
        {"source": {"text": "A survey"}, "optimizer": label, "values": {"epochs_to_target": claim}}
        for label in ("SGD", "Adam")
    ]
    events = {(label, seed): reaching(3, 0.95) for label in ("SGD", "Adam") for seed in range(6)}
    write(tmp_path, a_suite(seeds=6, published=rows), events)
    path = tmp_path / "report.html"
    path.write_text(render(read([tmp_path]), "html"), encoding="utf-8")
    opened = Opened(browser, path.as_uri())
    figure = opened.page.locator(".figure", has=opened.page.locator(".published"))
    assert figure.locator(".plot text", has_text="✓ reproduced").count() == 2
    figure.locator(".plot").focus()
    opened.page.keyboard.press("ArrowRight")
    said = opened.page.locator("[aria-live]").inner_text()
    for part in ("SGD:", "published 3 ± 1", "measured 3 (", "6 seeds", "verdict reproduced"):
        assert part in said
    opened.page.locator(".chip").first.click()
    assert figure.locator(".plot text", has_text="✓ reproduced").count() == 1
    assert opened.said == []


def test_a_filter_leaves_matching_rows(browser, tmp_path):
    labels = tuple(f"entry {number}" for number in range(12))
    write(tmp_path, a_suite(labels=labels, seeds=1), {(label, 0): reaching(3) for label in labels})
    path = tmp_path / "report.html"
    path.write_text(render(read([tmp_path]), "html"), encoding="utf-8")
    page = Opened(browser, path.as_uri()).page
    page.locator(".filter").first.fill("entry 1")
    assert first_column(page) == ["entry 1", "entry 10", "entry 11"]
    assert page.locator(".count").first.inner_text() == "3 of 12 rows"


def test_the_theme_is_remembered(opened):
    page = opened.page
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.evaluate(ground) != light
    dark = page.evaluate(ground)
    page.reload()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(browser, file, scheme, width):
    carrier = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")
    page = Opened(browser, file, width, color_scheme=scheme).page
    page.locator(".alt summary").first.click()
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
    found = carrier.Axe().run(page)
    assert len(found.response["passes"]) > 20
    assert [(each["id"], each["nodes"][0]["html"]) for each in found.response["violations"]] == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_pages_scroll_in_no_other_direction(browser, file, width):
    page = Opened(browser, file, width).page
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_print_is_light_without_controls_and_with_everything_open(browser, file):
    page = Opened(browser, file, color_scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("main details:not(.alt):not([open])").count() == 0
    for hidden in (".tool", ".copy", ".contents", ".segments", ".alt"):
        assert page.locator(hidden).first.is_hidden(), hidden
    assert page.locator(".plot svg").count() == page.locator(".figure").count()
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_javascript_the_tables_and_texts_are_there(browser, file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file)
    assert page.locator("table").first.is_visible()
    assert page.locator(".chip").first.is_hidden()
    assert "Which one?" in page.locator("h1").inner_text()
    context.close()


def test_gradient_evaluations_are_an_axis_where_entries_differ_in_them(browser, tmp_path: Path) -> None:
    def counted(per_step: int, events: list[Event]) -> list[Event]:
        return [
            replace(event, gradient_evaluations=per_step * event.step)
            if isinstance(event, Evaluated | Finished)
            else event
            for event in events
        ]

    events = {("SAM", seed): counted(2, reaching(3)) for seed in range(2)}
    events |= {("SGD", seed): counted(1, reaching(4)) for seed in range(2)}
    write(tmp_path / "results", a_suite(["SAM", "SGD"], seeds=2), events)
    file = tmp_path / "page.html"
    file.write_text(render(read([tmp_path / "results"]), "html"), encoding="utf-8")
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    page.click("[data-unit=gradients]")
    assert "gradient evaluations" in page.inner_text("figure.wide")
    assert said == []
    page.close()


@pytest.mark.parametrize("width", [390, 768])
def test_captions_stay_in_view_and_sideways_scrolling_shows(browser, file, width):
    opened = Opened(browser, file, width)
    page = opened.page
    ends = page.evaluate("""() => [...document.querySelectorAll("caption > span")]
        .filter((each) => each.getClientRects().length).map((each) => each.getBoundingClientRect().right)""")
    assert ends
    assert max(ends) <= width
    shadows = page.evaluate("() => getComputedStyle(document.querySelector('.scroll')).backgroundImage")
    assert shadows.count("gradient") == 4
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    opened.context.close()


def test_long_names_beside_rows_are_whole_and_different(browser, tmp_path):
    labels = tuple(f"AdamW with decoupled weight decay, betas 0.9 and 0.95, warmed up {n}" for n in range(3))
    events = {(label, seed): reaching(2 + seed % 2, 0.95) for label in labels for seed in range(5)}
    write(tmp_path / "results", a_suite(labels=labels, seeds=5), events)
    path = tmp_path / "report.html"
    path.write_text(render(read([tmp_path / "results"]), "html"), encoding="utf-8")
    opened = Opened(browser, path.as_uri(), 390)
    figure = opened.page.locator(".figure", has_text="Final accuracy")
    rows = figure.locator(".plot g[data-o]").evaluate_all(
        "(groups) => groups.map((each) => [...each.querySelectorAll('text')].map((text) => text.textContent).join(' ')).filter(Boolean)"
    )
    assert [row.replace("◆ ", "") for row in rows] == list(labels)
    opened.context.close()
