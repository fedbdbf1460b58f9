"""How sizes, times and rows are written, the same in every table and picture."""
from tutti_results.read import IDENTITY

LIBRARY_NAMES = {"tutti": "Tutti", "mpi": "MPI", "nccl": "NCCL", "ucc": "UCC", "gloo": "Gloo"}
COLLECTIVE_NAMES = {"all_reduce": "all-reduce", "all_gather": "all-gather", "reduce_scatter": "reduce-scatter", "all_to_all": "all-to-all"}
PERCENTILES = {"p50": 500, "p90": 900, "p99": 990, "p999": 999}


def library_name(library):
    return LIBRARY_NAMES.get(library, library)


def collective_name(collective):
    return COLLECTIVE_NAMES.get(collective, collective.replace("_", "-"))


def size(count):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    if count >= 1 << 20:
        return f"{count / (1 << 20):.1f} MiB"
    return f"{count} B" if count < 10_000 else f"{count / 1024:.1f} KiB"


def number(value):
    """Three digits that matter."""
    if value is None:
        return "–"
    magnitude = abs(value)
    if magnitude >= 1e6:
        return f"{value:.3g}"
    if magnitude >= 100:
        return f"{value:,.0f}".replace(",", "\u202f") if magnitude >= 10_000 else f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}" if magnitude >= 0.1 else f"{value:.3g}"


def time(us):
    """A time with the unit that keeps it short."""
    if us is None:
        return "–"
    if us >= 1e6:
        return f"{number(us / 1e6)} s"
    if us >= 1e3:
        return f"{number(us / 1e3)} ms"
    return f"{number(us)} µs" if us >= 0.1 or us == 0 else f"{us * 1e3:.3g} ns"


def tick(us):
    """A time beside an axis: no digit more than it needs."""
    value, unit = (us / 1e6, "s") if us >= 1e6 else (us / 1e3, "ms") if us >= 1e3 else (us, "µs") if us >= 1 or us == 0 else (us * 1e3, "ns")
    return f"{value:.3g} {unit}" if us else "0"


def percent(ratio):
    """A ratio as what it adds or takes: +3.1 %."""
    return f"{100 * (ratio - 1):+.1f} %"


def percentile_name(name):
    return "p99.9" if name == "p999" else name


def ranks(count, nodes):
    return f"{count} ranks" + (f" on {nodes} nodes" if nodes and nodes > 1 else "")


def series(identity):
    """What all sizes of one curve have in common, without the library: all-reduce float32 sum, out of place, 2 ranks."""
    row = dict(zip(IDENTITY, identity))
    how = [f"{collective_name(row['collective'])} {row['dtype']}"]
    if row["op"] is not None:
        how[0] += f" {row['op']}"
    if row["root"] is not None:
        how.append(f"root {row['root']}")
    how.append("in place" if row["in_place"] else "out of place")
    how.append(ranks(row["ranks"], row["nodes"]))
    if row["memory"] == "device":
        how.append("on device memory")
    if row["mode"] not in ("isolated", "rate") or row["chain"] != 1:
        how.append(f"{row['mode']}" + (f" of {row['chain']}" if row["chain"] != 1 else ""))
    if row["rate"] is not None:
        how.append(f"{number(row['rate'])} calls a second")
    if row["disturbance"] is not None:
        how.append(f"disturbed: {row['disturbance']}")
    if identity[-1]:
        how.append(f"time {identity[-1] + 1}")
    return ", ".join(how)
