"""The charts of the page: which numbers go where."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espnet_dice.records.train_log import Training
from espnet_dice.report.charts import INK, Style, draw
from espnet_dice.results.uncertainty_eval import ENTROPY, MEASURES, SIGMA, Evaluation


@dataclass(frozen=True)
class Chart:
    """A drawing and its caption."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class Point:
    """A model in the chart of size, speed and error.

    Attributes:
        name: of its series.
        seconds: CPU-seconds per audio-second.
        error: in %.
        low, high: of its 95 % interval, or the error itself.
        parameters: how many.
        filled: not an export.
    """

    name: str
    seconds: float
    error: float
    low: float
    high: float
    parameters: int
    filled: bool = True


def trade(points: Sequence[Point], styles: Mapping[str, Style], measure: str, name: str) -> Chart:
    """Error over speed; the area of a mark is the size of the model."""
    largest = max(p.parameters for p in points)

    def paint(axes) -> None:
        for p in points:
            style = styles[p.name]
            size = 25 + 150 * p.parameters / largest
            if p.high > p.low:
                axes.plot([p.seconds] * 2, [p.low, p.high], color=style.colour, linewidth=1)
            face = style.colour if p.filled else "none"
            axes.scatter([p.seconds], [p.error], size, marker=style.mark, facecolor=face,
                         edgecolor=style.colour, linewidth=1.2)  # fmt: skip
        axes.set_xlabel("CPU-seconds per second of audio")
        axes.set_ylabel(measure)
        axes.set_xlim(0, 1.12 * max(p.seconds for p in points))
        axes.set_ylim(0, 1.12 * max(p.high for p in points))

    title = f"{measure} over CPU time; larger marks are larger models"
    return Chart(title, draw(paint, name, f"{title}. The table has the numbers."))


SCALED = 0.2
"""Coverage above which curves set the scale."""

PANELS = (
    ("loss", "valid", "loss", "Validation loss (KD adds terms: compare within a method)"),
    ("loss_att", "valid", "loss", "Attention loss, validation"),
    ("loss_nll", "valid", "nats an utterance", "Loss with the reference alone (NLL), validation"),
    ("loss_ctc", "valid", "nats an utterance", "CTC loss, validation"),
    ("acc", "valid", "share", "Token accuracy, validation"),
    ("acc_m", "valid", "share", "Masked accuracy, validation"),
    ("acc_u", "valid", "share", "Unmasked accuracy, validation"),
    ("variance", "valid", "σ²", "Mean σ², validation"),
    ("optim0_lr0", "train", "", "Learning rate (the log rounds it)"),
    ("grad_norm", "train", "", "Gradient norm (before clipping)"),
)


def training(runs: Sequence[Training], styles: Mapping[str, Style], name: str) -> list[Chart]:
    """Curves of all runs of a kind, overlaid; statistics that none has are left out."""
    charts = []

    def add(title: str, unit: str, series: dict[str, tuple[list, list]]) -> None:
        def paint(axes) -> None:
            for run, (x, y) in series.items():
                axes.plot(x, y, **styles[run].line)
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_ylabel(unit)

        svg = draw(paint, f"{name}{len(charts)}", f"{title}, epoch by epoch, of {len(series)} runs")
        charts.append(Chart(title, svg))

    for statistic, part, unit, title in PANELS:
        series = {
            r.name: (r.epochs, getattr(r, part)[statistic])
            for r in runs
            if any(map(math.isfinite, getattr(r, part).get(statistic, ())))
        }
        if statistic == "loss_att" and any("loss_nll" in r.valid for r in runs):
            continue
        if series:
            add(title, unit, series)
    add("Seconds per epoch", "s", {r.name: (r.epochs, r.seconds) for r in runs})
    return charts


def reliability(evaluations: Sequence[Evaluation], styles: Mapping[str, Style], name: str) -> Chart:
    """Accuracy over confidence; the diagonal is perfect."""

    def paint(axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        for w in evaluations:
            some = w.reliability.count > 0
            x, y = w.reliability.confidence[some], w.reliability.accuracy[some]
            style = styles[w.system.name]
            axes.plot(x, y, marker=style.mark, markersize=3.5, **style.line)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share that is right")

    said = ", ".join(f"{w.system.name} ECE {100 * w.reliability.ece:.1f} %" for w in evaluations)
    title = "Reliability: above the dotted line, models are right more often than they say"
    return Chart(title, draw(paint, name, f"Reliability diagram: {said}"))


def coverage(
    evaluations: Sequence[Evaluation], styles: Mapping[str, Style], name: str
) -> list[Chart]:
    """Risk over coverage, a chart for σ² and one for entropy, on one scale."""
    charts = []
    # the last few utterances kept are all wrong or all right: they would set the scale
    every = [c for w in evaluations for c in w.curves.values()]
    top = 100 * max(float(c.risk[c.coverage >= SCALED].max()) for c in every)
    for measure in (SIGMA, ENTROPY):
        some = [w for w in evaluations if measure in w.curves]
        if not some:
            continue

        def paint(axes, some=some, measure=measure) -> None:
            for w in some:
                curve = w.curves[measure]
                axes.plot(100 * curve.coverage, 100 * curve.risk, **styles[w.system.name].line)
            axes.set_xlabel("% of the words kept" if some[0].snr is None else "% of tokens kept")
            axes.set_ylabel("WER % of those" if some[0].snr is None else "% wrong of those")
            axes.set_xlim(100, 0)
            axes.set_ylim(0, 1.15 * top or 1)

        said = ", ".join(f"{w.system.name} {100 * w.curves[measure].kept:.1f} %" for w in some)
        title = f"Dropping the most uncertain first, by {MEASURES[measure]}"
        label = f"{title}; error rate when a fifth is dropped: {said}"
        charts.append(Chart(title, draw(paint, f"{name}{len(charts)}", label)))
    return charts
