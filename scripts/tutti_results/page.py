"""The report as one HTML page that needs nothing else: style, pictures and the few lines of script are in it.

Without script everything is shown, one section after the other; script adds the two lists that choose what is. Each picture is there twice, once
for wide and once for narrow screens, so that its letters have the size of the text around them.
"""
import html

from tutti_results import charts, summary, svg, words

MOST_DETAILS = 8

STYLE = """
:root{color-scheme:light dark;LIGHT;--page:#f5f6f8;--edge:#e3e7ec;--accent:#0072b2}
@media (prefers-color-scheme:dark){:root{DARK;--page:#0e1217;--edge:#262e38;--accent:#56b4e9}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 FONT}
main{max-width:1260px;margin:0 auto;padding:28px 22px 60px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.015em}
h2{font-size:1.15rem;margin:38px 0 12px;letter-spacing:-.01em}
h3{font-size:.95rem;margin:0 0 2px}
p{margin:0 0 10px;max-width:75ch}
.soft,figcaption,.none{color:var(--soft);font-size:.875rem}
header p{color:var(--soft)}
code{font:.85em ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:14px;margin:20px 0 0}
.tile,.card{background:var(--paper);border:1px solid var(--edge);border-radius:12px}
.tile{padding:14px 16px}
.tile b{display:block;font-size:1.55rem;line-height:1.2;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.85rem;line-height:1.35;display:block}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,500px),1fr));gap:16px}
.stack{display:grid;gap:16px;align-content:start;min-width:0}
.card{margin:0;padding:16px 16px 12px;min-width:0}
figure svg{display:block;width:100%;height:auto;max-width:760px;margin:8px auto 0}
.narrow{display:none}
.keys{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.875rem}
.keys span::before{content:"";display:inline-block;width:.8em;height:.8em;border-radius:3px;margin-right:.45em;background:var(--c);vertical-align:-.05em}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:5px 10px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--edge)}
th{color:var(--soft);font-weight:600;position:sticky;top:0;background:var(--paper)}
th.left,td.left{text-align:left}
tr:last-child td{border-bottom:0}
.share{display:inline-block;height:.65em;border-radius:3px;background:var(--accent);margin-right:.6em;min-width:2px;opacity:.75}
.choose{display:flex;flex-wrap:wrap;gap:8px 12px;align-items:center;margin:0 0 14px}
.choose[hidden]{display:none}
select{font:inherit;font-size:.95rem;color:inherit;background:var(--paper);border:1px solid var(--edge);border-radius:8px;padding:6px 10px;max-width:100%}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:4px 18px;margin:0;font-size:.9rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.hide{display:none}
details{margin-top:6px}summary{cursor:pointer;color:var(--accent)}
@media (max-width:620px){main{padding:18px 12px 40px}.wide{display:none}.narrow{display:block}.card{padding:12px 10px 8px}h1{font-size:1.4rem}
.tiles{grid-template-columns:1fr 1fr;gap:10px}.tile{padding:11px 12px}.tile b{font-size:1.25rem}th,td{padding:5px 7px}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:6px}}
@media print{:root{LIGHT;--page:#fff;--edge:#ccd2d9;--accent:#0072b2}body{font-size:11pt}main{max-width:none;padding:0}.choose{display:none}
.card,.tile{break-inside:avoid;border-radius:6px}h2{break-after:avoid}.scroll{overflow:visible}table{font-size:7pt}th,td{padding:2px 3px}
.wide{display:none}.narrow{display:block}.grid2{grid-template-columns:1fr 1fr}.tiles{grid-template-columns:repeat(4,1fr)}}
"""

SCRIPT = """
document.querySelectorAll('select[data-of]').forEach(function (list) {
  var panels = document.querySelectorAll('[data-in="' + list.dataset.of + '"]');
  function show() { panels.forEach(function (panel) { panel.classList.toggle('hide', panel.dataset.name !== list.value); }); }
  list.parentElement.hidden = panels.length < 2;
  list.addEventListener('change', show);
  show();
});
"""


def _variables(colours, ink):
    return ";".join([*(f"--{name}:{value}" for name, value in ink.items()), *(f"--s-{name}:{value}" for name, value in colours.items())])


def _style():
    """The pictures' colours become variables, so that dark and print change them."""
    pictures = svg.style({name: f"var(--s-{name})" for name in svg.LIGHT}, {name: f"var(--{name})" for name in svg.INK["light"]})
    text = STYLE.replace("FONT", svg.FONT).replace("LIGHT", _variables(svg.LIGHT, svg.INK["light"]))
    return text.replace("DARK", _variables(svg.DARK, svg.INK["dark"])) + pictures


def _escape(text):
    return html.escape(str(text))


def _figure(title, caption, picture, nothing, *arguments):
    """A card with a picture in both shapes, or with the sentence that says what would make it."""
    wide = picture(*arguments, charts.WIDE)
    if wide is None:
        return f'<figure class="card"><h3>{_escape(title)}</h3><p class="none">{nothing}</p></figure>'
    narrow = picture(*arguments, charts.NARROW)
    return (f'<figure class="card" data-picture="{picture.__name__}"><h3>{_escape(title)}</h3><figcaption>{caption}</figcaption>'
            f'<div class="wide">{wide.to_svg()}</div><div class="narrow">{narrow.to_svg()}</div></figure>')


NO_SAMPLES = f"Fewer than {charts.FEWEST_SAMPLES} samples of this size: <code>--raw FILE</code> writes them, more of them with <code>-n</code>."
NO_ARRIVALS = "Not known who arrived when: <code>--raw FILE</code> writes it, where ranks have a common clock."
NO_SKEW = "These files have no skew: it is known where all ranks have a common clock."
NO_CPU = ("These files do not say what processor time the calls took (<code>cpu_core_s_per_gb</code>): the benchmark that wrote them does not "
          "measure it.")


def _keys(group):
    entries = "".join(f'<span style="--c:var(--s-{svg.series_class(library)})">{_escape(words.library_name(library))}</span>' for library in group.libraries)
    return f'<div class="keys">{entries}</div>'


def _tile(figure, told):
    return f'<div class="tile"><b>{_escape(figure)}</b><span>{_escape(told)}</span></div>'


def _tiles(group):
    """What a reader wants to know first."""
    library, points = next(iter(group.libraries.items()))
    tiles = []
    points = [point for point in points if point.columns.get("p50_us")]
    if points:
        smallest = points[0]
        tiles.append(_tile(words.time(smallest.columns["p50_us"]),
                           f"{words.library_name(library)}, {words.size(smallest.bytes)}: half of all calls take no longer"))
        tails = sorted(point.columns["p99_us"] / point.columns["p50_us"] for point in points if point.columns.get("p99_us"))
        if tails:
            tiles.append(_tile(f"{words.number(tails[len(tails) // 2])} ×", "p99 over p50, the middle one of all sizes: how long the tail is"))
        fastest = max(points, key=lambda point: point.columns.get("busbw_gbs") or 0)
        if fastest.columns.get("busbw_gbs"):
            reached = fastest.columns.get("bound_fraction")
            share = f", {100 * reached:.0f} % of what the hardware allows" if reached else ""
            tiles.append(_tile(f"{words.number(fastest.columns['busbw_gbs'])} GB/s", f"highest bus bandwidth, at {words.size(fastest.bytes)}{share}"))
    for other in group.libraries:
        ratio = summary.paired_ratio(group, other, "p50_us") if other != library and library == "tutti" else None
        if ratio:
            tiles.append(_tile(f"{words.number(ratio[0])} ×", f"{words.library_name(other)}'s time over {words.library_name(library)}'s: p50, geometric mean over "
                               f"{ratio[1]} size{'s' if ratio[1] > 1 else ''}"))
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _curves(group):
    bound = any(point.columns.get("bound_us") for point in group.points())
    bound_told = "Dotted: the bound, what the hardware allows." if bound else "The bound is not known here: <code>--limits</code> measures it."
    several = max(len(point.rows) for point in group.points())
    launches = f" Medians over {several} launches." if several > 1 else ""
    return "".join([
        '<div class="grid2">',
        _figure("Latency", f"Line: p50. Bands: up to p90, p99 and p99.9.{launches}", charts.latency, "No times.", group),
        _figure("Bandwidth", f"Bus bandwidth at p50. {bound_told}", charts.bandwidth, "No bandwidth: every message is empty.", group),
        _figure("Skew and service", "Solid: service, last exit − last arrival. Dashed: skew, last arrival − first arrival. p50.", charts.arrival,
                NO_SKEW, group),
        _figure("CPU cost", "Core-seconds of one rank, all its threads, for one GB of its message; waiting included.", charts.cpu,
                NO_CPU, group),
        "</div>"])


def _culprit_table(points):
    table = charts.culprits(points)
    if table is None:
        return f'<div class="card"><h3>Culprits</h3><p class="none">{NO_ARRIVALS}</p></div>'
    rows = "".join(f'<tr><td>{rank}</td><td class="left"><i class="share" style="width:{4 * share:.2f}em"></i>{100 * share:.1f} %</td>'
                   f"<td>{words.time(median)}</td><td>{words.time(high)}</td></tr>" for rank, share, median, high in table)
    even = 100 / len(table)
    return (f'<div class="card" data-picture="culprits"><h3>Culprits</h3><p class="soft">Who arrived last, and how long after the first rank it then was. '
            f"With equal ranks each has about {even:.0f} %.</p>"
            f'<div class="scroll"><table><tr><th>rank</th><th class="left">last in</th><th>late, p50</th><th>late, p99</th></tr>{rows}</table></div></div>')


def _details(group, number, wanted):
    """Samples: one panel per size, of which script shows one."""
    sizes = group.detailed_sizes()
    if not sizes:
        return ('<h2>One size in detail</h2><p class="none">Distribution, course over time, lateness of ranks and culprits need samples: '
                "<code>--raw FILE</code> writes them.</p>")
    chosen = wanted if wanted in sizes else sizes[len(sizes) // 2]
    shown = sorted({chosen, *(sizes[round(index * (len(sizes) - 1) / (MOST_DETAILS - 2))] for index in range(MOST_DETAILS - 1))}) \
        if len(sizes) > MOST_DETAILS else sizes
    options = "".join(f'<option value="{size}"{" selected" if size == chosen else ""}>{words.size(size)}</option>' for size in shown)
    panels = []
    for size in shown:
        points = group.at(size)
        late = charts.late_point(points)
        of = f" before calls of {words.library_name(late[0].columns['library'])}" if late else ""
        panels.append(
            f'<div data-in="size{number}" data-name="{size}"><div class="grid2">'
            + _figure(f"Distribution, {words.size(size)}", "How often each time was.", charts.histogram, NO_SAMPLES, points)
            + _figure(f"Tail, {words.size(size)}", "Each percentile's time: the flatter, the steadier.", charts.tail, NO_SAMPLES, points)
            + _figure(f"Over time, {words.size(size)}", "Thick: p50 of each window, thin: p99. Dashed: the level of p50 changed, by how much.",
                      charts.over_time,
                      "Too few samples for windows: more iterations (<code>-n</code>, <code>--seconds</code>).", points)
            + '<div class="stack">'
            + _figure(f"Lateness, {words.size(size)}",
                      f"By how much each rank arrived after the first one{of}; bright: late. Means over neighbouring iterations.",
                      charts.lateness, NO_ARRIVALS, points)
            + _culprit_table(points) + "</div></div></div>")
    return (f'<h2>One size in detail</h2><div class="choose" hidden><label for="size{number}">Message size</label>'
            f'<select id="size{number}" data-of="size{number}" autocomplete="off">{options}</select></div>{"".join(panels)}')


COLUMNS = (("size", lambda c: words.size(c["bytes"])), ("library", lambda c: words.library_name(c["library"])),
           ("algorithm", lambda c: c.get("algorithm") or "–"),
           ("iterations", lambda c: f"{int(c['iterations'])}" if c.get("iterations") else "–"), ("p50", lambda c: words.time(c.get("p50_us"))),
           ("p90", lambda c: words.time(c.get("p90_us"))), ("p99", lambda c: words.time(c.get("p99_us"))), ("p99.9", lambda c: words.time(c.get("p999_us"))),
           ("max", lambda c: words.time(c.get("max_us"))), ("busbw GB/s", lambda c: words.number(c.get("busbw_gbs"))),
           ("skew p50", lambda c: words.time(c.get("skew_p50_us"))), ("service p50", lambda c: words.time(c.get("service_p50_us"))),
           ("service p99", lambda c: words.time(c.get("service_p99_us"))),
           ("culprit", lambda c: "–" if c.get("culprit_rank") is None else f"{int(c['culprit_rank'])} ({100 * (c.get('culprit_share') or 0):.0f} %)"),
           ("core-s/GB", lambda c: words.number(c.get("cpu_core_s_per_gb"))),
           ("p99 alone", lambda c: words.time((c.get("alone") or {}).get("p99_us"))),
           ("machine", lambda c: "changed" if c.get("machine_changed") else "–"),
           ("of bound", lambda c: "–" if c.get("bound_fraction") is None else f"{100 * c['bound_fraction']:.0f} %"))
LEFT = {"library", "algorithm"}


def _table(group):
    """All figures; columns that no row has are left out."""
    cells = [[text(point.columns) for _, text in COLUMNS] for size in group.sizes() for point in group.at(size)]
    kept = [index for index, _ in enumerate(COLUMNS) if any(row[index] != "–" for row in cells)]

    def line(values, kind):
        return "".join(f'<{kind}{" class=left" if COLUMNS[index][0] in LEFT else ""}>{_escape(values[index])}</{kind}>' for index in kept)

    head = line([name for name, _ in COLUMNS], "th")
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in cells)
    return f'<h2>All figures</h2><div class="card"><div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></div>'


MACHINE = (("processor", "cpu"), ("cores", "cores"), ("memory", "memory_bytes"), ("kernel", "kernel"), ("architecture", "architecture"),
           ("compiler", "compiler"),
           ("Tutti", "tutti_version"), ("MPI", "mpi"), ("MPI yields when idle", "mpi_yield_when_idle"), ("launch", "launch"))


def _machines(launches):
    """Each distinct machine and command once."""
    seen = {}
    for launch in launches:
        entries = [(name, launch.machine.get(key)) for name, key in MACHINE]
        entries = [(name, f"{value / (1 << 30):.1f} GiB" if name == "memory" else value) for name, value in entries if value is not None]
        gpu = launch.machine.get("gpu")
        if gpu:
            entries.append(("GPU", f"{gpu.get('devices')} × {gpu.get('name')}, CUDA {gpu.get('cuda')}, copies {words.number(gpu.get('copy_gbs'))} GB/s"))
            if gpu.get("nccl"):
                entries.append(("NCCL", gpu["nccl"]))
        for name, baseline in (launch.machine.get("baselines") or {}).items():
            if name != "mpi":
                entries.append((words.library_name(name), f"{baseline['version']}: {baseline['settings']}"))
        limits = launch.machine.get("limits") or {}
        if limits.get("cache_line_ns"):
            entries.append(("cache line", f"{limits['cache_line_ns']:.0f} ns one way between the first two ranks"))
        if limits.get("copy_gbs"):
            entries.append(("copies", f"{words.number(limits['copy_gbs'])} GB/s read and written by all ranks at once"))
        if launch.machine.get("measuring_ns") is not None:
            entries.append(("measuring adds", f"{launch.machine['measuring_ns']:.0f} ns to each time"))
        entries.append(("command", launch.command))
        seen.setdefault(tuple(entries), []).append(launch)
    parts = []
    for entries, members in seen.items():
        times = sorted(launch.machine.get("time") or "" for launch in members)
        when = times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}, {len(members)} launches"
        lines = "".join(f"<dt>{_escape(name)}</dt><dd>{f'<code>{_escape(value)}</code>' if name == 'command' else _escape(value)}</dd>"
                        for name, value in [*entries, ("time", when)])
        parts.append(f'<div class="card"><dl>{lines}</dl></div>')
    return f'<h2>Machine and versions</h2><div class="grid2">{"".join(parts)}</div>'


def _group(group, number, wanted):
    return (f'<section data-in="series" data-name="{number}"><h2>{_escape(words.series(group.identity))}</h2>{_keys(group)}{_tiles(group)}'
            f'<h2>Against size</h2>{_curves(group)}{_details(group, number, wanted)}{_table(group)}</section>')


def page(launches, title, size=None):
    """The whole page. `size` is the message size whose details are shown first."""
    groups = summary.groups(launches)
    options = "".join(f'<option value="{number}">{_escape(words.series(group.identity))}</option>' for number, group in enumerate(groups))
    files = f"{len(launches)} launch{'es' if len(launches) > 1 else ''}"
    notes = "".join(f"<p>{note}</p>" for note in (
        "Some of the runs were interrupted: their last rows are missing." if any(launch.interrupted for launch in launches) else "",
        "Some results were wrong: see “wrong” in the files." if any(row.columns.get("wrong") for launch in launches for row in launch.rows) else "") if note)
    machine = launches[0].machine
    where = ", ".join(str(part) for part in (machine.get("cpu"), f"{machine.get('cores')} cores" if machine.get("cores") else None,
                                             (machine.get("gpu") or {}).get("name")) if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_escape(title)}</title>
<link rel="icon" href="data:,">
<style>{_style()}</style>
</head>
<body>
<main>
<header><h1>{_escape(title)}</h1><p>{_escape(where)} · {files} · {_escape(machine.get("time") or "")}</p>{notes}</header>
<div class="choose" hidden style="margin-top:18px"><label for="series">Series</label>
<select id="series" data-of="series" autocomplete="off">{options}</select></div>
{"".join(_group(group, number, size) for number, group in enumerate(groups))}
{_machines(launches)}
<p class="soft" style="margin-top:28px">How to read this page: docs/benchmarking.md, “Reading the report”.</p>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""
