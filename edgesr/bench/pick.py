"""The artifact for a device and a budget: the best that is fast enough, and why the others are not it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from edgesr.bench import pareto
from edgesr.bench.columns import number, significant
from edgesr.bench.runs import regime
from edgesr.bench.summary import Summary, ms_per_mpx
from edgesr.errors import DataError, NothingFits, UnknownName, UsageError

if TYPE_CHECKING:
    from rich.table import Table

Unit = Literal["ms", "ms/Mpx"]
SAME_DB = 0.01
"""PSNR that is nearer to the best is as good: less is not seen, and would decide by chance."""
SAME_TIME = 0.01
"""Times that are longer by a smaller part are as fast."""
LEAST_DROP_DB = 0.01
"""That a miss is set against where no drop at all was allowed."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`budget`: of p90, for an inference or a megapixel of output, by `unit`. `max_drop_db`: None for any."""

    budget: float
    unit: Unit
    max_drop_db: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """`cost`: p90 in the wish's unit. PSNR-Y and its drop: means over the image sets that all candidates have."""

    summary: Summary
    cost: float
    psnr_y_db: float
    drop_y_db: float | None


@dataclass(frozen=True, slots=True)
class RunnerUp:
    candidate: Candidate
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """`others`: the best first, with why each lost. `ignored`: names of runs that say nothing, and why. `sets`: that
    qualities are means over."""

    device: str
    wish: Wish
    sets: tuple[str, ...]
    chosen: Candidate
    others: tuple[RunnerUp, ...]
    ignored: tuple[tuple[str, str], ...]


def pick(summaries: Sequence[Summary], device: str | None, wish: Wish, scale: int | None = None) -> Choice:
    """Of the runs on `device` (name or address; None if there is one device) and of one scale.

    Raises UnknownName, UsageError for several devices or scales, DataError if no run says anything, NothingFits.
    """
    here = _of_scale(_on_device(summaries, device), scale)
    ignored = [(described(each), reason) for each in here if (reason := _unfit(each, wish))]
    fit = [each for each in here if _unfit(each, wish) is None]
    _check_one_scale(fit)
    name = here[0].where.name
    if not fit:
        reasons = "; ".join(_grouped(ignored))
        raise DataError(f"No run on {name} says both how fast and how good an artifact is. {reasons}.")
    sets = _common_sets(fit)
    candidates = sorted((_candidate(each, sets, wish) for each in fit), key=lambda each: -each.psnr_y_db)
    fitting = [each for each in candidates if _miss(each, wish) is None]
    if not fitting:
        raise NothingFits(_nothing(name, candidates, wish))
    chosen = best(fitting)
    as_good_db = fitting[0].psnr_y_db - SAME_DB
    others = tuple(RunnerUp(each, _why(each, chosen, as_good_db, wish)) for each in candidates if each is not chosen)
    return Choice(
        name, wish, tuple(f"{set_name} ({images})" for set_name, images in sets), chosen, others, tuple(ignored)
    )


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The smallest of the fastest of those that are as good as the best."""
    best_db = max(each.psnr_y_db for each in candidates)
    good = [each for each in candidates if each.psnr_y_db >= best_db - SAME_DB]
    fastest = min(each.cost for each in good)
    fast = [each for each in good if each.cost <= fastest * (1 + SAME_TIME)]
    return min(fast, key=lambda each: (each.summary.subject.bytes, each.cost))


def table(choice: Choice) -> "Table":
    """For a terminal, the chosen one first."""
    from rich.table import Table

    caption = f"PSNR-Y: luma (paper-y), mean over {', '.join(choice.sets)}. Times: p90."
    for words in _grouped(choice.ignored):
        caption += f"\nIgnored, {words}."
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    for name in ("", "artifact", "thr."):
        drawn.add_column(name, overflow="fold")
    for name in (choice.wish.unit, "PSNR dB", "drop dB", "MB"):
        drawn.add_column(name, justify="right")
    drawn.add_column("why not; flags of the choice", overflow="fold")
    drawn.add_row("→", *_cells(choice.chosen), "; ".join(choice.chosen.summary.flags))
    for other in choice.others:
        drawn.add_row("", *_cells(other.candidate), other.why)
    return drawn


def described(summary: Summary) -> str:
    return f"{summary.subject.name} ({regime(summary)})"


def _grouped(ignored: Sequence[tuple[str, str]]) -> list[str]:
    """Reason and names, so that a hundred runs of an emulated board are one line."""
    found: dict[str, list[str]] = {}
    for name, reason in ignored:
        found.setdefault(reason, []).append(name)
    more = {reason: f" and {len(names) - 3} more" if len(names) > 3 else "" for reason, names in found.items()}
    return [f"{reason}: {', '.join(names[:3])}{more[reason]}" for reason, names in found.items()]


def _cells(candidate: Candidate) -> tuple[str, ...]:
    summary = candidate.summary
    return (
        summary.subject.name,
        "all" if summary.regime.threads is None else str(summary.regime.threads),
        significant(candidate.cost, 4),
        f"{candidate.psnr_y_db:.3f}",
        number(candidate.drop_y_db, 3, signed=True),
        f"{summary.subject.bytes / 1e6:.2f}",
    )


def _on_device(summaries: Sequence[Summary], device: str | None) -> list[Summary]:
    names = list(dict.fromkeys(each.where.name for each in summaries))
    if device is None:
        if len(names) > 1:
            raise UsageError(f"The runs are of {len(names)} devices. Name one with --device: {', '.join(names)}")
        return list(summaries)
    found = [each for each in summaries if device in (each.where.name, each.where.address)]
    if not found:
        raise UnknownName("measured device", device, names)
    return found


def _of_scale(summaries: Sequence[Summary], scale: int | None) -> list[Summary]:
    """Those of `scale`, all where none is named."""
    found = [each for each in summaries if scale in (None, each.subject.scale)]
    if not found:
        raise UsageError(f"No run is of scale {scale}. There are: {_scales(summaries)}")
    return found


def _check_one_scale(summaries: Sequence[Summary]) -> None:
    if len({each.subject.scale for each in summaries}) > 1:
        names = _scales(summaries)
        raise UsageError(f"Artifacts of several scales cannot be compared. Name one with --scale: {names}")


def _scales(summaries: Sequence[Summary]) -> str:
    return ", ".join(map(str, sorted({each.subject.scale for each in summaries})))


def _unfit(summary: Summary, wish: Wish) -> str | None:
    reason = pareto.unfit(summary)
    if reason is None and _cost(summary, wish) is None:
        return "its halo is not known, so neither is the time of a megapixel"
    return reason


def _cost(summary: Summary, wish: Wish) -> float | None:
    if summary.latency is None:
        return None
    p90_ms = summary.latency.p90_ms
    return p90_ms if wish.unit == "ms" else ms_per_mpx(summary.subject, p90_ms)


def _common_sets(summaries: Sequence[Summary]) -> list[tuple[str, int]]:
    """Name and number of images, in the order of the first run."""
    each = [
        [(quality.name, quality.images) for quality in summary.sets if quality.psnr_y_db is not None]
        for summary in summaries
    ]
    common = [key for key in each[0] if all(key in keys for keys in each)]
    if not common:
        names = "; ".join(f"{summary.subject.name}: {summary.quality.name}" for summary in summaries if summary.quality)
        raise DataError(
            f"These artifacts were measured on no common image set: {names}. Measure all on the same --data."
        )
    return common


def _candidate(summary: Summary, sets: Sequence[tuple[str, int]], wish: Wish) -> Candidate:
    cost = _cost(summary, wish)
    assert cost is not None
    taken = [quality for quality in summary.sets if (quality.name, quality.images) in sets]
    psnr = [quality.psnr_y_db for quality in taken if quality.psnr_y_db is not None]
    drops = [quality.drop_y_db for quality in taken if quality.drop_y_db is not None]
    return Candidate(summary, cost, fmean(psnr), fmean(drops) if len(drops) == len(taken) else None)


def _miss(candidate: Candidate, wish: Wish) -> str | None:
    """Why a candidate is not allowed; None if it is."""
    found = []
    if candidate.cost > wish.budget:
        over = significant(candidate.cost - wish.budget, 3)
        found.append(f"{significant(candidate.cost, 4)} {wish.unit}, {over} over the budget")
    if wish.max_drop_db is not None:
        if candidate.drop_y_db is None:
            found.append("its drop against float32 is not known")
        elif round(candidate.drop_y_db - wish.max_drop_db, 3) > 0:
            over_db = candidate.drop_y_db - wish.max_drop_db
            found.append(f"loses {candidate.drop_y_db:.3f} dB, {over_db:.3f} more than allowed")
    return " and ".join(found) or None


def _why(candidate: Candidate, chosen: Candidate, as_good_db: float, wish: Wish) -> str:
    missed = _miss(candidate, wish)
    if missed is not None:
        return missed
    slower = candidate.cost - chosen.cost
    if candidate.psnr_y_db < as_good_db:
        faster = ", though faster" if slower < 0 else ""
        return f"{chosen.psnr_y_db - candidate.psnr_y_db:.3f} dB worse{faster}"
    if candidate.cost > chosen.cost * (1 + SAME_TIME):
        return f"as good, but {significant(slower, 3)} {wish.unit} slower"
    return "as good and as fast, but not smaller"


def _nothing(device: str, candidates: Sequence[Candidate], wish: Wish) -> str:
    nearest = min(candidates, key=lambda each: _distance(each, wish))
    drop = "" if wish.max_drop_db is None else f" and {wish.max_drop_db:g} dB"
    return (
        f"Nothing on {device} keeps {wish.budget:g} {wish.unit}{drop}. The nearest is "
        f"{described(nearest.summary)}: {_miss(nearest, wish)}."
    )


def _distance(candidate: Candidate, wish: Wish) -> float:
    """The part of a limit by which it is missed most; a drop that is not known is the farthest of all."""
    over = candidate.cost / wish.budget - 1
    if wish.max_drop_db is None:
        return over
    if candidate.drop_y_db is None:
        return float("inf")
    return max(over, (candidate.drop_y_db - wish.max_drop_db) / max(wish.max_drop_db, LEAST_DROP_DB))
