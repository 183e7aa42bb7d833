"""Pictures of the report: matplotlib figures as SVG text in the page's own ink, by day and by night."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import product

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

_INK = "#010203"  # stands for the page's ink, which changes with its light
_POINTS = 7.5  # of a picture's width are as wide as the page's em at most
COLOURS = ("#d55e00", "#0091d8", "#00a37a", "#cc79a7", "#b08900", "#7a6ff0", "#4f9da6", "#a0522d")
_STYLE = {
    "text.parse_math": False, "svg.fonttype": "none",
    "svg.hashsalt": "kdpipe", "font.family": "sans-serif", "font.size": 10, "text.color": _INK,
    "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "grid.color": "#808080", "legend.frameon": False,
}


def _svg(draw: Callable[..., Figure]) -> Callable[..., str]:
    """A function that draws -> one that gives the drawing as SVG as wide as the page, up to a letter size that all
    share, without an ink of its own."""
    @wraps(draw)
    def drawn(*arguments, **named) -> str:
        with mpl.rc_context(_STYLE):
            figure, out = draw(*arguments, **named), io.StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None})
        text = out.getvalue()
        text = text[text.index("<svg"):].replace(_INK, "currentColor")
        width = float(re.search(r'<svg[^>]*? width="([0-9.]+)pt"', text)[1])
        text = re.sub(r' height="[^"]*"', "", text, count=1)
        return re.sub(r' width="[^"]*"', f' style="max-width: {width / _POINTS:.1f}em"', text, count=1)
    return drawn


@_svg
def intervals(names: Sequence[str], values: Sequence[float], low: Sequence[float], high: Sequence[float], metric: str
              ) -> Figure:
    """Scores with their intervals, the first at the top."""
    figure, axes = _figure(7, 0.9 + 0.28 * len(names))
    at = np.arange(len(names))[::-1]
    axes.hlines(at, low, high, color=COLOURS[1], linewidth=2)
    axes.plot(values, at, "o", color=COLOURS[0])
    axes.set_yticks(at, names)
    axes.set_xlabel(f"{metric}, with its 95% interval")
    axes.set_ylim(-0.7, len(names) - 0.3)
    return figure


@_svg
def counts(names: Sequence[str], values: Sequence[int]) -> Figure:
    """Bars of how often, the first at the top."""
    figure, axes = _figure(7, 0.9 + 0.28 * len(names))
    axes.barh(np.arange(len(names))[::-1], values, color=COLOURS[1], tick_label=names)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rows")
    return figure


@_svg
def against_cost(costs: Sequence[float], values: Sequence[float], names: Sequence[str], cost: str,
                 metric: str) -> Figure:
    """Scores over a cost on a logarithmic axis; those that no cheaper one beats are joined and named."""
    figure, axes = _figure(7, 4)
    costs, values = np.asarray(costs, float), np.asarray(values, float)
    best = front(costs, values)
    axes.semilogx(costs, values, "o", color=COLOURS[1], alpha=0.7)
    axes.step(costs[best], values[best], where="post", color=COLOURS[0])
    axes.plot(costs[best], values[best], "o", color=COLOURS[0])
    few = costs.max() < 100 * costs.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(cost)
    axes.set_ylabel(metric)
    _name(axes, costs, values, {i: names[i] for i in best})
    return figure


def _name(axes: Axes, x: np.ndarray, y: np.ndarray, names: Mapping[int, str]) -> None:
    """Write each name beside its point, where it lies on no point and no other name if there is such a place."""
    axes.figure.draw_without_rendering()
    points, taken = axes.transData.transform(np.column_stack([x, y])), []
    for i, name in names.items():
        text = axes.annotate(name, (x[i], y[i]), xytext=(0, 0), textcoords="offset points", fontsize=8)
        for side, above in product((5, -5), (5, -12, 18, -25)):
            text.set(ha="left" if side > 0 else "right")
            text.xyann = side, above
            box = text.get_window_extent()
            if not (box.count_overlaps(taken) or box.count_contains(points)):
                break
        taken.append(box)


def front(costs: np.ndarray, values: np.ndarray) -> list[int]:
    """The places of those that none is both cheaper than (or as cheap as) and better than, by rising cost."""
    order, found, best = np.lexsort((-values, costs)), [], -np.inf
    for i in order:
        if values[i] > best:
            found.append(int(i))
            best = values[i]
    return found


@_svg
def curves(lines: Mapping[str, Sequence[tuple[int, float, float | None]]], metric: str) -> Figure:
    """Loss and dev score by epoch. lines: name -> (epoch, loss, dev)."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    loss, dev = figure.subplots(1, 2)
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        loss.plot([e for e, _, _ in points], [x for _, x, _ in points], color=colour, label=name)
        seen = [(e, d) for e, _, d in points if d is not None]
        dev.plot([e for e, _ in seen], [d for _, d in seen], color=colour)
    for axes, label in ((loss, "loss"), (dev, f"dev {metric}")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


@_svg
def over_share(lines: Mapping[str, Sequence[tuple[float, float, float | None]]], metric: str) -> Figure:
    """Scores over shares of the rows, doubling steps as wide as each other. lines: name -> (share, mean, sd)."""
    figure, axes = _figure(6, 3.6)
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        share, mean, sd = zip(*points, strict=True)
        axes.errorbar(share, mean, np.array(sd, float), color=colour, marker="o", capsize=3, label=name)
    axes.set_xscale("log", base=2)
    ticks = sorted({share for points in lines.values() for share, _, _ in points})
    axes.set_xticks(ticks, [f"{share:.3g}" for share in ticks])
    axes.set_xlabel("share of the transfer set")
    axes.set_ylabel(f"dev {metric}")
    axes.legend(fontsize=8)
    return figure


@_svg
def confusion(labels: Sequence[str], shares: np.ndarray) -> Figure:
    """Shares of each class's rows [C, C] by answer."""
    side = 1.6 + 0.38 * len(labels)
    figure, axes = _figure(side + 1, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    for (i, j), share in np.ndenumerate(shares):
        if share >= 0.005:
            axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=7,
                      color="white" if share > 0.5 else "#1a1a1a")
    axes.set_xlabel("answer")
    axes.set_ylabel("label")
    return figure


@_svg
def heat_map(rows: Sequence[str], columns: Sequence[str], shades: np.ndarray, words: Sequence[Sequence[str]]) -> Figure:
    """Shades [R, C] between 0 and 1 with words in them, the first row at the bottom; NaN is left open."""
    figure, axes = _figure(1.8 + 0.82 * len(columns), 1.9 + 0.46 * len(rows))
    axes.imshow(np.ma.masked_invalid(shades), cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower")
    axes.grid(False)
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    for (i, j), shade in np.ndenumerate(shades):
        if not np.isnan(shade):
            axes.text(j, i, words[i][j], ha="center", va="center", fontsize=7,
                      color="white" if shade > 0.5 else "#1a1a1a")
    return figure


@_svg
def reliability(lines: Mapping[str, Sequence[tuple[float, float, int]]]) -> Figure:
    """Accuracy over confidence by bin. lines: name -> (confidence, accuracy, rows)."""
    figure, axes = _figure(4.6, 4.2)
    axes.plot([0, 1], [0, 1], linestyle=":", color="#808080")
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        axes.plot([c for c, _, _ in points], [a for _, a, _ in points], "o-", color=colour, label=name, markersize=4)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, mpl.axes.Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
