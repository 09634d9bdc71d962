"""Training curves as a table and a picture: is mine normal?

    python -m espnet_dice.stages.curves --exp exp [other/exp …] [--plot curves.svg]

reads ESPnet's logs. Runs of one name, and seeds of one configuration, are one row: least to most.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import DataError, cli
from espnet_dice.records import train_log as training
from espnet_dice.records.train_log import Training
from espnet_dice.results.table import layout

SHOWN = (1, 2, 5, 10, 20, 40, 60, 100, 200, 500, 1000)
ACCURACY = ("acc", "acc_m")
Curve = Mapping[int, tuple[float, float]]
"""Epoch → least and most of the runs."""


def collect(exps: Iterable[Path]) -> dict[str, list[Training]]:
    """Configuration → its runs, of all seeds and directories.

    Raises:
        DataError: no run has ended an epoch.
    """
    found: dict[str, list[Training]] = {}
    exps = list(exps)
    for exp in exps:
        for one in training.read_all(exp):
            stem, _, seed = one.name.rpartition("_seed")
            name = stem if seed.isdigit() else one.name
            found.setdefault(f"{one.kind}_{name}", []).append(one)
    if not found:
        where = ", ".join(map(str, exps))
        raise DataError(f"{where}: no train.log with a finished epoch: train something first")
    return found


def curve(runs: Sequence[Training], part: str, stat: str) -> Curve:
    """A statistic of the runs, epoch by epoch; empty where none has it."""
    values: dict[int, list[float]] = {}
    for run in runs:
        stats = run.train if part == "train" else run.valid
        for epoch, value in zip(run.epochs, stats.get(stat, ()), strict=False):
            if not math.isnan(value):
                values.setdefault(epoch, []).append(value)
    return {epoch: (min(v), max(v)) for epoch, v in sorted(values.items())}


def accuracy_of(runs: Sequence[Training]) -> str | None:
    """The statistic that says how often these models are right, if one does."""
    return next((stat for stat in ACCURACY if any(stat in run.valid for run in runs)), None)


def rows_of(runs: Sequence[Training]) -> list[tuple[str, Curve]]:
    """Of a configuration: its loss in training, its accuracy, or loss, in validation."""
    stat = accuracy_of(runs) or "loss"
    return [
        ("train loss", curve(runs, "train", "loss")),
        (f"valid {stat}", curve(runs, "valid", stat)),
    ]


def table(found: Mapping[str, Sequence[Training]]) -> str:
    """Markdown: a line a configuration and statistic, columns of epochs."""
    last = max(run.epochs[-1] for runs in found.values() for run in runs)
    epochs = sorted({*(e for e in SHOWN if e < last), last})
    lines = [["system", "runs", "", *(f"epoch {e}" for e in epochs)]]
    for name, runs in found.items():
        for what, values in rows_of(runs):
            # a row that ends earlier shows its end under the next epoch of the table
            end = max(run.epochs[-1] for run in runs)
            shown = [e if e <= end else end if e == _above(epochs, end) else 0 for e in epochs]
            cells = [_cell(values.get(e)) + (f" ({e})" if e not in epochs else "") for e in shown]
            cells = [cell if e else "" for cell, e in zip(cells, shown, strict=True)]
            lines.append([name, str(len(runs)), what, *cells])
    return layout(lines, left=3)


def _above(epochs: Sequence[int], end: int) -> int:
    return next((e for e in epochs if e >= end), end)


def _cell(value: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    low, high = (f"{x:.3g}" for x in value)
    return low if low == high else f"{low}–{high}"


def plot(found: Mapping[str, Sequence[Training]], path: Path) -> None:
    """Accuracy in validation, and the training loss as a share of its first epoch's, as SVG.

    Of several runs the middle between least and most.

    Args:
        found: see :func:`collect`; language models are left out.
        path: the file.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    # text as text, and no date: the same curves are the same file
    pyplot.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "curves", "font.size": 8}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for n, (name, runs) in enumerate((k, v) for k, v in found.items() if not k.startswith("lm_")):
        loss = curve(runs, "train", "loss")  # empty where it was never a number
        first = sum(next(iter(loss.values()), ())) / 2 or 1.0
        scaled = {e: (low / first, high / first) for e, (low, high) in loss.items()}
        stat = accuracy_of(runs)
        for axes, values in ((left, curve(runs, "valid", stat) if stat else {}), (right, scaled)):
            middle = [(low + high) / 2 for low, high in values.values()]
            style = {"color": f"C{n}", "linestyle": ("-", "--", ":", "-.")[n % 4]}
            axes.plot(list(values), middle, label=name, linewidth=1.2, **style)
    for axes, title in ((left, "validation accuracy"), (right, "training loss / its first epoch")):
        axes.set(title=title, xlabel="epoch", ylim=(0, None))
        axes.grid(alpha=0.3)
    right.legend(frameon=False, fontsize=7)
    with atomic_file(path, "wb") as f:
        figure.savefig(f, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> None:
    """The command; see ``--help``."""
    parser = options.parser(__doc__)
    parser.add_argument(
        "--exp", nargs="+", default=[Path("exp")], type=Path, help="experiments of one or more runs"
    )
    parser.add_argument("--plot", type=Path, help="SVG to write")
    args = parser.parse_args(argv)
    found = collect(args.exp)
    print(table(found))
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    cli(main)
