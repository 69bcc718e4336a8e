"""Definitions of the numbers on the page, with their sources."""

from __future__ import annotations

from optbench.report.document import Report
from optbench.report.page.markup import Html, el

#: term, definition, source, and the column of the comparison that must have values ("": always; "workload": several workloads)
_TERMS = (
    (
        "Seeds",
        "With the same seed, all optimizers get the same initial weights and the same order of batches; comparisons are paired by "
        "seed. n is the number of seeds.",
        "",
        "",
    ),
    (
        "Clock",
        "Seconds count training only: data, forward pass, backward pass and update, without evaluation, checkpoints and set-up. "
        "Timed trials run one at a time on their device, with the optimizers interleaved.",
        "",
        "train_seconds",
    ),
    (
        "Time to target",
        "The first evaluation at which the target is met; Kaplan-Meier median over seeds (midpoint of the middle two if the number "
        "of seeds is even), empty if at most half of the seeds reached the target. Seeds that did not reach it are censored at the "
        "budget: they are neither dropped nor averaged as if they had reached it. The interval includes the time since the previous "
        "evaluation; a censored median has no interval with fewer than 6 seeds.",
        "Kaplan and Meier, J. Am. Stat. Assoc. 53 (1958); pointwise band: Greenwood, on the log(-log S) scale",
        "reached",
    ),
    (
        "Gradient evaluations",
        "Forward and backward passes over the batch of a step, regardless of micro-batches. Optimizers that call a closure several "
        "times per step use several, which epochs and steps do not show.",
        "",
        "gradient_evaluations_per_step",
    ),
    (
        "Final metric",
        "On the test split at the end of training, with the weights that the table names; weights are never selected on the test "
        "split. Mean over seeds with the 95 % t interval. Trials that diverged, ran out of memory or failed because of the optimizer "
        "count as the worst outcome; the mean then has no interval.",
        "Student, Biometrika 6 (1908)",
        "final_metric",
    ),
    (
        "Top group (◆)",
        "Entries not significantly worse than any other: paired t tests of all pairs (times: sign-flip tests), Holm-adjusted at "
        "5 %. Entries of the group are statistically tied; their order in a table has no meaning.",
        "Holm, Scand. J. Stat. 6 (1979)",
        "",
    ),
    (
        "Difference",
        "From the baseline, paired by seed: mean, 95 % t interval (not adjusted), and p of the paired t test, Holm-adjusted over "
        "all pairs of entries as for the top group.",
        "",
        "difference",
    ),
    (
        "Memory overhead",
        "Bytes of all tensors in the optimizer's state after a real step, as a multiple of the parameters' bytes; the range over "
        "seeds where they differ, as with the settings of several tuning studies. The step peak is the additional temporary memory "
        "of an update.",
        "",
        "memory_overhead",
    ),
    (
        "Curves",
        "Median over seeds at each evaluation. The band spans the range over seeds, or with at least 10 seeds the 10 % to the 90 % "
        "quantile; it shows the spread between seeds and is not an interval of the median. Seeds that ended early are missing after "
        "their last evaluation.",
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
    """Return the definitions of what the report shows, as an HTML definition list."""
    items = []
    for term, meaning, source, column in _TERMS:
        if column and (column not in report.table or not report.table[column].notna().any()):
            continue
        if column == "workload" and report.table["workload"].nunique() < 2:
            continue
        content = [meaning] if not source else [meaning, " ", el("span", f"({source})", class_="quiet")]
        items += [el("dt", term), el("dd", *content)]
    return el("dl", *items, class_="terms")
