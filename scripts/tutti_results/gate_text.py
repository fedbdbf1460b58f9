"""What the gate says: a table for the terminal, a summary in Markdown."""
from tutti_results import words

MACHINE = (("cpu", "processor"), ("cores", "cores"), ("architecture", "architecture"))


def sides_heading(old, new, settings):
    how = "pair by pair" if settings.paired else "as two independent sets"
    control = f", each time over {words.library_name(settings.control)}'s of the same launch" if settings.control else ""
    return f"NEW ({_launches(new)}) over OLD ({_launches(old)}), {how}{control}"


def within_heading(launches, libraries):
    return f"{words.library_name(libraries[0])} over {words.library_name(libraries[1])}, {_launches(launches)}, launch by launch"


def _launches(launches):
    return f"{len(launches)} launch{'es' if len(launches) != 1 else ''}"


def _gpu(launch):
    return (launch.machine.get("gpu") or {}).get("name")


def other_machine(old, new):
    """How the machines of two sides differ; empty where they do not."""
    differences = []
    for name, called in MACHINE:
        values = [{launch.machine.get(name) for launch in side} for side in (old, new)]
        if values[0] != values[1]:
            differences.append(f"{called}: {' and '.join(_text(value) for value in values)}")
    if {_gpu(launch) for launch in old} != {_gpu(launch) for launch in new}:
        differences.append("another GPU")
    return "; ".join(differences)


def _text(values):
    return "/".join(sorted(str(value) for value in values))


def notes(old, new=(), alone=(), robust=True):
    """What a reader has to know besides, one sentence each."""
    said = []
    launches = [*old, *new]
    plain = sum(not launch.raw for launch in launches)
    if plain:
        said.append(f"{plain} of {len(launches)} files have no samples (--json, not --raw): their intervals come from the differences between launches alone")
    if any(launch.interrupted for launch in launches):
        said.append("some launches were interrupted: they lack rows")
    changed = sum(bool(row.columns.get("machine_changed")) for launch in launches for row in launch.rows)
    if changed:
        said.append(f"{changed} of {sum(len(launch.rows) for launch in launches)} measured rows are left out: the machine changed meanwhile (machine_changed)")
    if new and min(len(old), len(new)) == 1:
        said.append("one launch says nothing about other launches: its intervals are of that launch alone")
    if new and not robust and _apart(old, new):
        said.append("OLD and NEW were measured one after the other: if the machine changed in between, that looks like a change of the code; "
                    "measure in turns (scripts/measure_launches.sh) or use --control")
    if alone:
        said.append(f"{len(alone)} row{'s are' if len(alone) > 1 else ' is'} in one of OLD and NEW only, and not compared: "
                    + "; ".join(f"{identity[0]} {words.size(identity[5])} ({words.series(identity)})" for identity in alone[:3])
                    + ("; ..." if len(alone) > 3 else ""))
    return said


def _apart(old, new):
    times = [sorted(launch.machine.get("time") or "" for launch in side) for side in (old, new)]
    return times[0][-1] < times[1][0] or times[1][-1] < times[0][0]


def ratio(result):
    return f"{result.ratio:.3f} [{result.low:.3f}, {result.high:.3f}]"


def _p(value):
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _cells(result):
    algorithm = result.algorithms[1] if result.algorithms[0] == result.algorithms[1] else f"{result.algorithms[0]} -> {result.algorithms[1]}"
    return [words.size(result.identity[5]), words.percentile_name(result.percentile), algorithm, words.time(result.old_us),
            words.time(result.new_us), ratio(result), _p(result.corrected), result.verdict]


def _head(settings):
    return ["size", "percentile", "algorithm", *settings.sides, "ratio [95 %]", "p slower", "verdict"]


def _by_series(results):
    series = {}
    for result in results:
        series.setdefault(f"{words.library_name(result.identity[0])}: {words.series(result.identity)}", []).append(result)
    return series


def conclusion(results, settings):
    bad = sum(result.verdict == "REGRESSION" for result in results)
    gated = sum(result.threshold is not None for result in results)
    if not gated:
        return f"{len(results)} comparisons, no gate"
    limits = ", ".join(f"{words.percentile_name(name)} +{100 * share:g} %" for name, share in settings.gate.items())
    if bad:
        return f"{bad} of {gated} comparisons {'is a regression' if bad == 1 else 'are regressions'} (gate: {limits})"
    unclear = sum(result.verdict == "not certain" for result in results)
    rest = f"; {unclear} of them are too noisy to exclude one" if unclear else ""
    return f"no regression in {gated} comparisons (gate: {limits}){rest}"


def table(heading, results, remarks, settings):
    lines = [f"# {heading}"]
    for series, members in _by_series(results).items():
        rows = [_head(settings)] + [_cells(result) for result in members]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["#", f"# {series}"]
        lines += ["  ".join(cell.ljust(width) if column in (2, 7) else cell.rjust(width)
                            for column, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]
    lines += ["#"] + [f"# note: {remark}" for remark in remarks]
    lines.append(f"# {conclusion(results, settings)}")
    return "\n".join(lines)


def _markdown_table(results, settings):
    lines = [f"| {' | '.join(_head(settings))} |", "| ---: | --- | --- | ---: | ---: | --- | ---: | --- |"]
    for result in results:
        cells = _cells(result)
        if result.verdict == "REGRESSION":
            cells[-1] = "**REGRESSION**"
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def markdown(heading, results, remarks, settings):
    """Regressions in sight, all rows folded away."""
    bad = [result for result in results if result.verdict == "REGRESSION"]
    lines = [f"### {'❌' if bad else '✅'} {conclusion(results, settings)}", "", f"{heading}; chance of any false alarm {settings.alpha:g}.", ""]
    for series, members in _by_series(bad).items():
        lines += [f"{series}:", "", *_markdown_table(members, settings), ""]
    lines += [f"- {remark}" for remark in remarks] + ([""] if remarks else [])
    lines += ["<details><summary>All comparisons</summary>", ""]
    for series, members in _by_series(results).items():
        lines += [f"{series}:", "", *_markdown_table(members, settings), ""]
    return "\n".join(lines + ["</details>", ""])
