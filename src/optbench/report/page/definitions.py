"""How each number was computed: a sentence each, with its source."""

from __future__ import annotations

from optbench.report.document import Report
from optbench.report.page.markup import Html, el

#: term, definition, source, and a column of the comparison that has to be known for it, workloads more than one ("" for always)
_TERMS = (
    (
        "Seeds",
        "For one seed every optimizer gets the same initial weights and the same order of batches: comparisons are paired by seed. "
        "n is the number of seeds behind a number.",
        "",
        "",
    ),
    (
        "Clock",
        "Seconds count training only: data, forward pass, backward pass and update. Evaluation, checkpoints and set-up are "
        "apart. Trials whose time is reported run alone on their device, in turns.",
        "",
        "train_seconds",
    ),
    (
        "Time to target",
        "The first evaluation at which the target holds; over seeds the median by Kaplan and Meier (the middle of two "
        "where the number of seeds is even), empty if half of the seeds or "
        "fewer arrived. Seeds that did not arrive are censored at the budget: never dropped, never averaged as if they had arrived. "
        "Its interval covers the time since the evaluation before; none is given for a censored median under 6 seeds.",
        "Kaplan and Meier, J. Am. Stat. Assoc. 53 (1958); pointwise band: Greenwood's, on the scale of log(-log S)",
        "reached",
    ),
    (
        "Gradient evaluations",
        "A forward and a backward pass over the batch of a step, however many micro-batches it is split into. Optimizers that call a "
        "closure several times in a step use several, which epochs and steps do not show.",
        "",
        "gradient_evaluations_per_step",
    ),
    (
        "Final metric",
        "On the test split at the end, of the weights that the table names, never of the best test result. Mean over seeds with the "
        "95 % t interval. Trials that diverged, ran out of memory or failed through the optimizer count as the worst outcome, and "
        "then no interval is given.",
        "Student, Biometrika 6 (1908)",
        "final_metric",
    ),
    (
        "Top group (◆)",
        "Entries not significantly worse than any other: paired t tests of all pairs (times: sign-flip tests), adjusted by "
        "Holm at 5 %. Entries of the group are tied: their order in a table says nothing.",
        "Holm, Scand. J. Stat. 6 (1979)",
        "",
    ),
    (
        "Difference",
        "From the baseline, paired by seed: mean, 95 % t interval of this difference alone, and the p of the paired t test, "
        "adjusted by Holm over all pairs of entries, as for the top group.",
        "",
        "difference",
    ),
    (
        "Memory overhead",
        "Bytes of all tensors in the optimizer's state after a real step, as a multiple of the parameters' bytes. The step's peak is "
        "what an update allocates for a moment beyond that.",
        "",
        "memory_overhead",
    ),
    (
        "Curves",
        "Median over seeds at each evaluation. The band spans the range over seeds, or from 10 seeds on the 10 % to the 90 % "
        "quantile: it shows spread between seeds and is no interval of the median. A seed that ended early leaves the curve there.",
        "Hyndman and Fan, Am. Stat. 50 (1996), type 7",
        "",
    ),
    (
        "Performance profile",
        "Share of workloads on which an entry's time is within a multiple of the fastest entry's. It depends on the set of entries.",
        "Dolan and Moré, Math. Program. 91 (2002)",
        "workload",
    ),
)


def definitions(report: Report) -> Html:
    """Those of what the report has, as a list of terms."""
    items = []
    for term, meaning, source, column in _TERMS:
        if column and (column not in report.table or not report.table[column].notna().any()):
            continue
        if column == "workload" and report.table["workload"].nunique() < 2:
            continue
        said = [meaning] if not source else [meaning, " ", el("span", f"({source})", class_="quiet")]
        items += [el("dt", term), el("dd", *said)]
    return el("dl", *items, class_="terms")
