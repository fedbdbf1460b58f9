#!/usr/bin/env python3
"""The report (scripts/report.py): what is in the page, what is said where something is missing, and how a browser shows it.

`report_test.py Page` needs no browser; `report_test.py Browser` looks at the page with headless Chromium and is skipped where there is none.
"""
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "..", "..", "scripts")
sys.path[:0] = [HERE, SCRIPTS]

import simulated  # noqa: E402
from tutti_results import change_points, charts, read, svg, words  # noqa: E402

SIZES = {0: 0.3, 8: 0.4, 512: 0.7, 4096: 2.0, 65536: 9.0, 1048576: 150.0}
CULPRIT = 1
SLOWER = {"tutti": 1, "mpi": 1.9, "ucc": 1.4, "gloo": 30}


def lines(rng, libraries=("tutti", "mpi"), ranks=3, iterations=1200, **more):
    """What a run of some seconds writes: one line per library and size."""
    result, start = [], 0.0
    for size, median in SIZES.items():
        for library in libraries:
            us = simulated.times(rng, median * SLOWER[library], iterations, 0)
            us[iterations // 2:] *= 1.3 if library == "tutti" else 1
            columns = simulated.row([round(x, 4) for x in us], size, library, ranks=ranks, **more)
            if size == 0:
                columns.update(algbw_gbs=0, busbw_gbs=0)
            result.append(simulated.samples(rng, us, columns, ranks, start, CULPRIT))
            start = result[-1]["start_us"][-1] + 10
    return result


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name
        self.rng = numpy.random.default_rng(12)

    def path(self, name):
        return os.path.join(self.scratch, name)

    def report(self, *arguments, status=0, **environment):
        result = subprocess.run([sys.executable, os.path.join(SCRIPTS, "report.py"), *arguments], capture_output=True, text=True, check=False,
                                timeout=120, env={**os.environ, **environment}, cwd=self.scratch)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        return result.stdout if status == 0 else result.stderr

    def page(self, *results, options=()):
        output = self.path("report.html")
        self.report(*results, "-o", output, *options)
        with open(output, encoding="utf-8") as file:
            return file.read()

    def full_page(self, libraries=("tutti", "mpi"), **more):
        extra = dict(skew_p50_us=0.3, service_p50_us=0.5, service_p99_us=1.5, culprit_rank=CULPRIT, culprit_share=0.9, cpu_core_s_per_gb=2.5,
                     bound_us=0.2, bound_fraction=0.5)
        simulated.raw_file(self.path("full.raw"), lines(self.rng, libraries, **extra), **more)
        return self.page(self.path("full.raw"))


class Balance(html.parser.HTMLParser):
    """Every element that is opened is closed, in order; and what of it leads out of the page."""

    EMPTY = {"meta", "link", "br", "rect", "circle", "path", "image"}

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.counts = [], [], {}

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        for name, value in attributes:
            if name in ("src", "href", "srcset", "action") and not value.startswith("data:"):
                self.outside.append((tag, value))
        if tag not in self.EMPTY or tag in ("circle", "rect", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-5:], self.getpos())
        self.open.pop()


class Page(Case):
    def test_a_page_that_needs_nothing_else(self):
        text = self.full_page()
        balance = Balance()
        balance.feed(text)
        self.assertEqual(balance.open, [])
        self.assertEqual(balance.outside, [])
        self.assertNotRegex(re.sub(r"http://www\.w3\.org/2000/svg", "", text), r"https?://|@import|url\(")
        for picture in ("latency", "bandwidth", "arrival", "cpu", "histogram", "tail", "over_time", "lateness", "culprits"):
            self.assertIn(f'data-picture="{picture}"', text)
        self.assertNotIn('class="none"', text)

    def test_figures_are_those_of_the_file(self):
        text = self.full_page()
        with open(self.path("full.raw"), encoding="utf-8") as file:
            rows = [json.loads(line)["row"] for line in file.readlines()[1:]]
        for row in rows:
            self.assertIn(f"<td>{words.time(row['p99_us'])}</td>", text)
        self.assertIn("Simulated Processor", text)
        self.assertIn("gcc 12.2.0", text)

    def test_the_culprit_is_named(self):
        text = self.full_page()
        table = text[text.index('data-picture="culprits"'):]
        shares = {int(rank): float(share) for rank, share in re.findall(r"<tr><td>(\d)</td><td class=\"left\"><i[^>]*></i>([\d.]+) %", table[: table.index("</table>")])}
        self.assertGreater(shares[CULPRIT], 98)
        self.assertAlmostEqual(sum(shares.values()), 100, delta=0.2)

    def test_several_baselines(self):
        settings = {name: {"version": f"{name} 1.2", "settings": f"how <{name}> was set"} for name in ("mpi", "ucc", "gloo")}
        text = self.full_page(tuple(SLOWER), baselines=settings)
        ratios = dict(re.findall(r"<b>([\d.]+) ×</b><span>(\w+)&#x27;s time over Tutti&#x27;s", text))
        ratios = {name: float(ratio) for ratio, name in ratios.items()}
        for name in ("mpi", "ucc", "gloo"):
            self.assertAlmostEqual(ratios[words.library_name(name)] / SLOWER[name], 1 / 1.15, delta=0.15)  # half of Tutti's times are 1.3 times longer
        for told in ("<dt>UCC</dt><dd>ucc 1.2: how &lt;ucc&gt; was set</dd>", "<dt>Gloo</dt><dd>gloo 1.2: how &lt;gloo&gt; was set</dd>"):
            self.assertIn(told, text)
        for picture in ("latency", "bandwidth", "cpu", "histogram", "tail", "over_time"):
            start = text.index(f'data-picture="{picture}"')
            drawn = text[start: text.index("</figure>", start)]
            for name in SLOWER:
                self.assertIn(f"s-{name}", drawn)

    def test_a_change_of_level_is_marked(self):
        text = self.full_page()
        start = text.index('data-picture="over_time"')
        series = text[start: text.index("</figure>", start)]
        self.assertRegex(series, r"\+(2[6-9]|3[0-4])\.\d %")
        self.assertIn("change s-tutti", series)
        self.assertNotIn("change s-mpi", series)

    def test_documents_without_samples_say_what_would_help(self):
        simulated.document(self.path("plain.json"), [line["row"] for line in lines(self.rng)])
        text = self.page(self.path("plain.json"))
        self.assertIn('data-picture="latency"', text)
        for told in ("--raw FILE", "cpu_core_s_per_gb", "--limits", "have no skew"):
            self.assertIn(told, text)
        self.assertNotIn('data-picture="tail"', text)

    def test_windows_of_a_long_run(self):
        """They stand in a --json document too."""
        windows = [{"start_s": second / 2, "iterations": 1000, "p50_us": 2.0 if second < 20 else 3.0, "p99_us": None, "max_us": 9.0} for second in range(40)]
        simulated.document(self.path("long.json"), [simulated.row([2.0] * 20, 8, windows=windows)])
        text = self.page(self.path("long.json"))
        self.assertIn('data-picture="over_time"', text)
        self.assertIn("+50.0 %", text)
        self.assertNotIn('data-picture="tail"', text)

    def test_disturbed_rows_are_told(self):
        rows = [simulated.row([2.0] * 200, 8, disturbance="noise on core 1", alone={"p50_us": 1.0, "p99_us": 1.5, "p999_us": None, "max_us": 9.0}),
                simulated.row([2.0] * 200, 64, machine_changed=True)]
        simulated.document(self.path("noise.json"), rows, limits={"cache_line_ns": 64.2, "copy_gbs": None})
        text = self.page(self.path("noise.json"))
        for told in ("disturbed: noise on core 1", "<td>1.50 µs</td>", "<td>changed</td>", "64 ns one way"):
            self.assertIn(told, text)

    def test_odd_results(self):
        """One size, one iteration, no library but a baseline, empty messages only, unknown library, ranks without a clock."""
        one = [round(x, 3) for x in simulated.times(self.rng, 3, 30, 0)]
        for name, rows in (("single", [{"row": simulated.row([5.0], 8), "us": [5.0], "start_us": [0.0], "late_us": [[0.0], [1.0]]}]),
                           ("baseline", [{"row": simulated.row(one, 64, "mpi"), "us": one}]),
                           ("empty", [{"row": simulated.row(one, 0, algbw_gbs=0, busbw_gbs=0), "us": one}]),
                           ("unknown", [{"row": simulated.row(one, 100, "elsewhere"), "us": one, "late_us": [[0.0] * 30]}]),
                           ("constant", [{"row": simulated.row([1.0] * 400, 8), "us": [1.0] * 400, "start_us": list(range(400))}])):
            with self.subTest(name=name):
                simulated.raw_file(self.path(f"{name}.raw"), rows)
                balance = Balance()
                balance.feed(self.page(self.path(f"{name}.raw"), options=("--plots", self.path("plots"))))
                self.assertEqual(balance.open, [])

    def test_names_cannot_break_the_page(self):
        simulated.document(self.path("bad.json"), [simulated.row([1.0] * 20, 8, algorithm="<script>alert(1)</script>")], cpu='"><u>')
        text = self.page(self.path("bad.json"), options=("--title", "<i>&"))
        self.assertNotRegex(text, "<script>alert|<u>|<i>&")
        self.assertIn("&lt;i&gt;&amp;", text)

    def test_launches_are_put_together(self):
        for number, factor in enumerate((1, 3, 2)):
            us = [2.0 * factor] * 20
            simulated.document(self.path(f"{number}.json"), [simulated.row(us, 8)], number)
        text = self.page(*(self.path(f"{number}.json") for number in range(3)))
        self.assertIn("<td>4.00 µs</td>", text)
        self.assertIn("3 launches", text)
        self.assertEqual(text, self.page(self.scratch), "a folder is the files in it")

    def test_series_are_apart(self):
        both = [simulated.row([1.0] * 20, 8), simulated.row([2.0] * 20, 8, collective="broadcast", op=None, root=1)]
        simulated.document(self.path("both.json"), both)
        text = self.page(self.path("both.json"))
        self.assertIn("broadcast float32, root 1, out of place, 2 ranks", text)
        self.assertEqual(text.count('data-in="series"'), 2)

    def test_the_repositorys_own_results(self):
        folder = os.path.join(HERE, "..", "..", "benchmarks", "results")
        self.assertIn("ranks", self.page(*(os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".json"))))

    def test_plots(self):
        simulated.raw_file(self.path("full.raw"), lines(self.rng))
        self.report(self.path("full.raw"), "--plots", self.path("plots"), "--size", "64K")
        names = sorted(os.listdir(self.path("plots")))
        for name in ("latency", "bandwidth", "histogram-65536", "tail-65536", "over_time-65536", "lateness-65536"):
            self.assertIn(f"{name}.svg", names)
            tree = ElementTree.parse(self.path(f"plots/{name}.svg"))
            self.assertGreater(len(list(tree.iter("{http://www.w3.org/2000/svg}path"))), 3)
            if shutil.which("rsvg-convert"):
                with open(self.path(f"plots/{name}.png"), "rb") as file:
                    self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
        with open(self.path("plots/latency.svg"), encoding="utf-8") as file:
            self.assertNotIn("var(--", file.read())
        said = self.report(self.path("full.raw"), "--plots", self.path("plots"), PATH="/nonexistent")
        self.assertIn("rsvg-convert is needed", said)

    def test_bad_input(self):
        simulated.document(self.path("good.json"), [simulated.row([1.0] * 20, 8)])
        simulated.document(self.path("none.json"), [])
        for arguments, told in (((self.path("none.json"),), "no row was measured"), ((self.path("gone.json"),), "No such file"),
                                ((self.path("good.json"), "--size", "16"), "there is no row of 16 bytes; there are 8 B"),
                                ((self.path("good.json"), "--size", "x"), "expected a size"),
                                ((self.path("good.json"), "-o", "/nonexistent/x.html"), "/nonexistent"), ((), "RESULT")):
            with self.subTest(told=told):
                self.assertIn(told, self.report(*arguments, status=2))
        self.assertFalse(os.path.exists(self.path("report.html")))


class Drawing(unittest.TestCase):
    def test_size_ticks_have_kib(self):
        scale = svg.LogScale(8, 64 << 20, 0, 500)
        self.assertEqual([label for _, label in scale.size_ticks(9)], ["16 B", "128 B", "1 KiB", "8 KiB", "64 KiB", "512 KiB", "4 MiB", "32 MiB"])
        self.assertLessEqual(len(scale.size_ticks(5)), 5)

    def test_time_ticks(self):
        self.assertEqual([label for _, label in svg.LogScale(0.9, 120, 0, 1).ticks(6, words.tick)], ["1 µs", "3 µs", "10 µs", "30 µs", "100 µs"])
        self.assertEqual([label for _, label in svg.LinearScale(0, 10, 0, 1).ticks(5, svg.plain)], ["0", "2", "4", "6", "8", "10"])

    def test_lines_are_clipped(self):
        self.assertEqual(charts.clipped((0, 0), (10, 10), 2, 5), [(2, 2), (5, 5)])
        self.assertEqual(charts.clipped((0, 8), (10, 3), 0, 5), [(6, 5), (10, 3)])
        self.assertEqual(charts.clipped((0, 3), (10, 4), 0, 5), [(0, 3), (10, 4)])
        self.assertEqual(charts.clipped((0, 8), (10, 9), 0, 5), [])

    def test_labels_keep_apart(self):
        places = svg.apart([10, 11, 12, 100], 15, 0, 200)
        self.assertTrue(all(second - first >= 14 for first, second in zip(places, places[1:])), places)


class Changes(unittest.TestCase):
    def windows(self, us):
        return change_points.windows_of(read.Row({}, us=numpy.asarray(us)))

    def test_levels_are_found_where_they_change(self):
        rng = numpy.random.default_rng(1)
        us = simulated.times(rng, 5.0, 6000, 0)
        us[1500:4000] *= 1.2
        found = change_points.changes(self.windows(us))
        self.assertEqual(len(found), 2)
        for change, (at, ratio) in zip(found, ((1500, 1.2), (4000, 1 / 1.2))):
            self.assertAlmostEqual(change.at, at, delta=150)
            self.assertAlmostEqual(change.ratio, ratio, delta=0.03)

    def test_a_level_that_falls_back_is_found(self):
        rng = numpy.random.default_rng(3)
        us = simulated.times(rng, 5.0, 6000, 0)
        us[3600:5000] *= 1.3
        self.assertEqual([round(change.at / 500) * 500 for change in change_points.changes(self.windows(us))], [3500, 5000])

    def test_noise_and_outliers_are_no_change(self):
        rng = numpy.random.default_rng(2)
        for _ in range(40):
            us = simulated.times(rng, 5.0, 3000, 0)
            us[1000:1100] *= 4
            self.assertEqual(change_points.changes(self.windows(us)), [])

    def test_short_rows_have_no_windows(self):
        self.assertIsNone(self.windows([1.0] * 30))


PROBE = """<script>addEventListener('load', function () {
  var page = document.documentElement, shown = function (e) { return e.getClientRects().length > 0; };
  var pictures = [].filter.call(document.querySelectorAll('figure[data-picture]'), shown).map(function (figure) {
    var svg = [].filter.call(figure.querySelectorAll('svg'), shown)[0], box = svg.getBoundingClientRect();
    var out = [].filter.call(svg.querySelectorAll('text'), function (text) {
      var r = text.getBoundingClientRect(); return r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1; });
    var drawn = [].filter.call(svg.querySelectorAll('.line, .mark, .band, image'), function (e) { var b = e.getBBox(); return b.width + b.height > 0; });
    return {name: figure.dataset.picture, width: box.width, height: box.height, marks: drawn.length, out: out.map(function (e) { return e.textContent; })};
  });
  var told = {inner: innerWidth, scroll: page.scrollWidth, pictures: pictures, background: getComputedStyle(document.body).backgroundColor,
              ink: getComputedStyle(document.body).color, chosen: document.querySelector('select[data-of^=size]').value};
  if (parent !== window) parent.postMessage(told, '*'); else page.setAttribute('data-probe', JSON.stringify(told));
});</script></body>"""


# Chromium's own windows are at least 500 pixels wide; a frame may be as narrow as a phone.
FRAME = """<!doctype html><html><body style="margin:0"><script>addEventListener('message', function (event) {
  document.documentElement.setAttribute('data-probe', JSON.stringify(event.data)); });</script>
<iframe src="probe.html" style="width:390px;height:800px;border:0"></iframe></body></html>"""


def chromium():
    return next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


class Browser(Case):
    def setUp(self):
        super().setUp()
        why = None
        if chromium() is None:
            why = "no Chromium"
        elif "Hello" not in self.dumped(self.written("hello.html", "<p>Hello</p>"), 800)[0]:
            why = "Chromium does not run here"
        if why:
            print(f"SKIPPED: {why}")
            self.skipTest(why)

    def written(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def chromium(self, path, width, *more):
        arguments = [chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
                     "--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000", f"--user-data-dir={self.path('profile')}", f"--window-size={width},900", *more, f"file://{path}"]
        return subprocess.run(arguments, capture_output=True, text=True, errors="replace", check=False, timeout=120)

    def dumped(self, path, width, *more):
        result = self.chromium(path, width, "--dump-dom", *more)
        return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]

    def probed(self, width, *more, frame=None, libraries=("tutti", "mpi")):
        text = self.full_page(libraries).replace("</body>", PROBE)
        self.assertIn("data-probe", text)
        path = self.written("probe.html", text)
        dom, console = self.dumped(self.written("frame.html", frame) if frame else path, width, *more)
        self.assertEqual(console, [])
        found = re.search(r'<html[^>]* data-probe="([^"]*)"', dom)
        self.assertTrue(found, dom[:2000])
        return json.loads(found.group(1).replace("&quot;", '"').replace("&amp;", "&"))

    def check_pictures(self, told, narrow):
        self.assertEqual(sorted(picture["name"] for picture in told["pictures"]),
                         sorted(["latency", "bandwidth", "arrival", "cpu", "histogram", "tail", "over_time", "lateness"]))
        least = {"latency": 12, "bandwidth": 12, "arrival": 12, "cpu": 10, "histogram": 4, "tail": 8, "over_time": 6, "lateness": 2}
        for picture in told["pictures"]:
            self.assertGreaterEqual(picture["marks"], least[picture["name"]], picture)
            self.assertGreater(picture["width"], 300 if narrow else 400, picture)
            self.assertGreater(picture["height"], 100, picture)
            self.assertEqual(picture["out"], [], picture)

    def test_wide(self):
        told = self.probed(1280)
        self.check_pictures(told, False)
        self.assertLessEqual(told["scroll"], told["inner"])
        self.assertEqual(told["background"], "rgb(245, 246, 248)")
        self.assertEqual(told["chosen"], "4096")

    def test_phone(self):
        told = self.probed(800, frame=FRAME)
        self.assertEqual(told["inner"], 390)
        self.assertLessEqual(told["scroll"], 390)
        self.check_pictures(told, True)

    def test_several_baselines(self):
        for frame, width in ((None, 1280), (FRAME, 800)):
            told = self.probed(width, frame=frame, libraries=tuple(SLOWER))
            self.assertLessEqual(told["scroll"], told["inner"])
            self.check_pictures(told, frame is not None)

    def test_dark(self):
        told = self.probed(1280, "--blink-settings=preferredColorScheme=0")
        self.check_pictures(told, False)
        self.assertEqual((told["background"], told["ink"]), ("rgb(14, 18, 23)", "rgb(232, 236, 241)"))

    def test_errors_on_the_console_are_seen(self):
        """The test above could not fail otherwise."""
        _, console = self.dumped(self.written("broken.html", "<script>nonsense()</script>"), 800)
        self.assertTrue(console)

    def test_screenshot_and_print(self):
        self.full_page()
        for output, option in (("shot.png", "--screenshot"), ("page.pdf", "--print-to-pdf")):
            self.chromium(self.path("report.html"), 1280, f"{option}={self.path(output)}")
            self.assertGreater(os.path.getsize(self.path(output)), 20_000)


if __name__ == "__main__":
    sys.exit(unittest.main())
