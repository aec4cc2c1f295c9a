"""Numbers as people write them, and foreign text as it can be shown without harm."""

import math
import unicodedata
from datetime import datetime

# Joiners are spelling in Persian and in emoji, the soft hyphen is typography; both are harmless.
_KEPT = frozenset("\n\t\u00ad\u200c\u200d")
_MINUS, _TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# What the scores of metrics.json are called, and how to read them.
SCORES = {
    "inertia": ("Inertia", "lower is better at the same number of clusters"),
    "log_likelihood": ("Log-likelihood", "mean of a row; higher is better"),
    "bic": ("BIC", "lower is better"),
    "aic": ("AIC", "lower is better"),
    "silhouette": ("Silhouette", "1 apart, 0 touching, below 0 misplaced"),
    "simplified_silhouette": ("Simplified silhouette", "as silhouette, by distances to centers"),
    "davies_bouldin": ("Davies\N{EN DASH}Bouldin", "lower is better"),
    "calinski_harabasz": ("Calinski\N{EN DASH}Harabasz", "higher is better"),
    "ari": ("Adjusted Rand (ARI)", "1 the classes, 0 chance"),
    "ami": ("Adjusted mutual information", "1 the classes, 0 chance"),
    "nmi": ("Normalized mutual information", "1 the classes, 0 nothing shared"),
    "homogeneity": ("Homogeneity", "1: no cluster mixes classes"),
    "completeness": ("Completeness", "1: no class is split"),
    "v_measure": ("V-measure", "mean of the two before"),
    "fowlkes_mallows": ("Fowlkes\N{EN DASH}Mallows", "1 the classes"),
    "matched_accuracy": ("Matched accuracy", "rows right if clusters were named one to one"),
    "purity": ("Purity", "rows of the largest class of their cluster"),
    "pair_precision": ("Pair precision", "pairs in one cluster that share a class"),
    "pair_recall": ("Pair recall", "pairs in one class that share a cluster"),
    "pair_f": ("Pair F", "mean of the two before"),
    "noise_share": ("Noise share", "labelled rows in no cluster"),
    "labelled_rows": ("Labelled rows", "rows these scores rest on"),
}
# Scores whose best value is one: the silhouettes, and all that compare with classes.
UP_TO_ONE = frozenset((
    "silhouette", "simplified_silhouette", "ari", "ami", "nmi", "homogeneity", "completeness",
    "v_measure", "fowlkes_mallows", "matched_accuracy", "purity", "pair_precision", "pair_recall",
    "pair_f",
))  # fmt: skip


def visible(text: str) -> str:
    """The same text with what could hide, reorder or break it spelled out: ⟨U+202E⟩.

    Direction overrides make `gpj.exe` read `exe.jpg`; lone surrogates, which stand for bytes of a
    name that is not UTF-8, cannot be written to a page at all.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _KEPT else _spelled(c) for c in text)


def _spelled(c: str) -> str:
    if unicodedata.category(c) == "Zs":
        return " "
    if "\udc80" <= c <= "\udcff":  # how Python carries a byte that would not decode
        return f"⟨{ord(c) - 0xDC00:02X}⟩"
    return f"⟨U+{ord(c):04X}⟩"


def short(text: str, most: int = 64) -> str:
    """A long text without its middle: a name is known by its start and its ending."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def count(n: int) -> str:
    """12,345."""
    return f"{n:,}".replace("-", _MINUS)


def counted(n: int, one: str, many: str = "") -> str:
    """1 row, 12,345 rows."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def number(value: float, places: int | None = None) -> str:
    """A measured number, to about four digits: 0.512, 87.31, 1,165,122, 4.2 × 10⁻⁵."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    size = abs(value)
    if size >= 1e9 or 0 < size < 0.0005:
        digits, power = f"{value:.2e}".split("e")
        return f"{digits} {_TIMES} 10{str(int(power)).translate(_RAISED)}".replace("-", _MINUS, 1)
    text = f"{value:,.{_places(value) if places is None else places}f}"
    if not text.strip("-0.,"):
        text = "0" if value == 0 and places is None else text.lstrip("-")
    return text.replace("-", _MINUS)


def whole(value: float) -> str:
    """A large number to its last digit, where neighbours differ only there: 12,345,678,901."""
    return count(round(value)) if 1000 <= abs(value) < math.inf else number(value)


def _places(value: float) -> int:
    """Decimals that leave about four digits."""
    size = abs(value)
    return 0 if size >= 1000 or (size >= 10 and size == int(size)) else 2 if size >= 10 else 3


def interval(low: float | None, high: float | None, value: float) -> str:
    """[0.498, 0.526], to as many places as the value between; empty where there is none."""
    if low is None or high is None:
        return ""
    places = _places(value) if math.isfinite(value) else None
    return f"[{number(low, places)}, {number(high, places)}]"


def compact(value: float) -> str:
    """For an axis: 500, 1.5k, 20M, or a power of ten."""
    size = abs(value)
    if size >= 1e15:
        return number(value)
    if size >= 10_000:
        unit = next(u for u in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if size >= u[0])
        return f"{value / unit[0]:.4g}{unit[1]}".replace("-", _MINUS)
    return (f"{value:,.0f}" if size >= 1000 else f"{value:.4g}").replace("-", _MINUS)


def share(part: float) -> str:
    """A fraction as a percentage: 10.1 %, 100 %, < 0.1 %."""
    if math.isnan(part):
        return "undefined"
    percent = 100 * part
    if 0 < percent < 0.05:
        return "< 0.1 %"
    if 99.95 <= percent < 100:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def duration(seconds: float) -> str:
    """0.21 s, 12.4 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{count(minutes // 60)} h {minutes % 60:02d} min"


def day(text: str) -> str:
    """An ISO time as a date in words: 4 June 2026, 14:03 UTC."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = f" {when.tzname()}" if when.tzinfo else ""
    clock = f", {when:%H:%M}{zone}" if "T" in text or " " in text else ""
    return f"{when.day} {when:%B %Y}{clock}"


def score_name(name: str) -> str:
    """What a score is called in print."""
    return SCORES[name][0] if name in SCORES else name.replace("_", " ").capitalize()


def score_hint(name: str) -> str:
    """How to read a score, in a few words; empty for one we do not know."""
    return SCORES[name][1] if name in SCORES else ""


def setting(value: object) -> str:
    """A parameter's value as it would stand in a spec."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k}: {setting(v)}" for k, v in value.items())
    return short(str(value), 200)
