"""The parts that Grafana dashboards are made of: queries, panels and variables of one style.

Panels take what a reader needs as required arguments (a description, a unit), so that none is without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from modelconversion_api.reasons import FAILURES

REPOSITORY_URL: Final = "https://github.com/edgeml-dev/model-conversion-operator"
REASONS_URL: Final = f"{REPOSITORY_URL}/blob/main/docs/TROUBLESHOOTING.md#every-reason"
TAG: Final = "model-conversion-operator"

DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
ENDED: Final = "modelconversion_conversions_total"
_SELECTED: Final = 'namespace=~"$namespace", job=~"$job"'

_WINDOWS: Final = ("5m", "15m", "1h", "6h", "1d")
_WINDOW: Final = "1h"

PanelBuilder = Builder[models.Panel]
Steps = Sequence[tuple[float | None, str]]
"""Thresholds: from which value on which color; None stands for everything below the first."""


P = TypeVar(
    "P", stat.Panel, timeseries.Panel, bargauge.Panel, heatmap.Panel, statetimeline.Panel, table.Panel
)


@dataclass(frozen=True)
class Text:
    """What a panel says beside its data.

    Attributes:
        title: The heading.
        description: What is shown, and what to make of it.
        runbook: An alert's name, whose page the panel links to.

    """

    title: str
    description: str
    runbook: str | None = None


# Queries


def series(metric: str, *matchers: str) -> str:
    """Select the series of the chosen operators."""
    return f"{metric}{{{', '.join([*matchers, _SELECTED])}}}"


def of_leader(metric: str) -> str:
    """Select the leader's series only: a standby's line and queue say nothing."""
    return f"({series(metric)} and on (job, instance) ({series('modelconversion_leader')} == 1))"


def of_operator(expression: str) -> str:
    """Keep only what comes from an operator's process; the metric's name is everybody's."""
    return f"({expression} and on (job, instance) {series('modelconversion_leader')})"


def by(*labels: str) -> str:
    """Give the grouping of an aggregation, with spaces around it; empty for all in one."""
    return f" by ({', '.join(labels)}) " if labels else ""


def increase(metric: str, *matchers: str, labels: Sequence[str] = (), window: str = "$__range") -> str:
    """Count what happened in a window."""
    return f"sum{by(*labels)}(increase({series(metric, *matchers)}[{window}]))"


def rate(metric: str, *matchers: str, labels: Sequence[str] = (), window: str = "$__rate_interval") -> str:
    """Give what happens in a second."""
    return f"sum{by(*labels)}(rate({series(metric, *matchers)}[{window}]))"


def quantile(
    share: float,
    histogram: str,
    labels: Sequence[str] = (),
    window: str = "$interval",
    matchers: Sequence[str] = (),
) -> str:
    """Estimate a quantile from a histogram's buckets."""
    buckets = rate(f"{histogram}_bucket", *matchers, labels=["le", *labels], window=window)
    return f"histogram_quantile({share}, {buckets})"


def mean(histogram: str, labels: Sequence[str], window: str = "$__range") -> str:
    """Give the mean of what a histogram saw; not for one with values below zero, which has no sum."""
    total = increase(f"{histogram}_sum", labels=labels, window=window)
    return f"{total} / {increase(f'{histogram}_count', labels=labels, window=window)}"


def _query(expression: str, legend: str = "") -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).datasource(DATASOURCE)
    query = query.editor_mode(prometheus_models.QueryEditorMode.CODE)
    return query.legend_format(legend or "__auto")


# Panels


def number(
    text: Text,
    unit: str,
    expression: str,
    *,
    width: int = 4,
    steps: Steps = ((None, "blue"),),
    decimals: int | None = None,
    none: str = "-",
    words: Mapping[str, tuple[str, str]] | None = None,
) -> PanelBuilder:
    """Make a panel of one number. ``words`` maps values to a text and its color."""
    panel = _titled(stat.Panel(), text, width, 4).unit(unit).no_value(none).thresholds(_thresholds(steps))
    panel = panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    panel = panel.graph_mode(common_models.BigValueGraphMode.NONE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if decimals is not None:
        panel = panel.decimals(decimals)
    if words:
        panel = panel.mappings([_words(words)])
    return panel.with_target(_query(expression, text.title).instant())


def lines(
    text: Text,
    unit: str,
    targets: Mapping[str, str],
    *,
    width: int = 12,
    height: int = 8,
    top: float | None = None,
    bottom: float | None = 0,
    stacked: bool = False,
    steps: Steps = (),
    colors: Mapping[str, str] | None = None,
) -> PanelBuilder:
    """Make a panel of lines over time; ``targets`` maps legends to queries."""
    panel = _titled(timeseries.Panel(), text, width, height).unit(unit).line_width(1)
    # Conversions come in their own time: a line across the pauses shows what is rare.
    panel = panel.span_nulls(True).show_points(common_models.VisibilityMode.AUTO)
    panel = panel.fill_opacity(25 if stacked else 10)
    if bottom is not None:
        panel = panel.min(bottom)
    if top is not None:
        panel = panel.max(top)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if steps:
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
        )
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    panel = panel.legend(
        legend.display_mode(common_models.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"])
    )
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    panel = panel.tooltip(tooltip.sort(common_models.SortOrder.DESCENDING))
    for name, color in (colors or {}).items():
        fixed = {"mode": models.FieldColorModeId.FIXED.value, "fixedColor": color}
        panel = panel.override_by_name(name, [models.DynamicConfigValue("color", fixed)])
    for legend_format, expression in targets.items():
        panel = panel.with_target(_query(expression, legend_format).range())
    return panel


def bars(
    text: Text,
    unit: str,
    expression: str,
    legend: str,
    *,
    width: int = 8,
    height: int = 7,
    top: float | None = None,
    steps: Steps = ((None, "blue"),),
    decimals: int | None = None,
) -> PanelBuilder:
    """Make a panel of one bar for each series."""
    panel = _titled(bargauge.Panel(), text, width, height).unit(unit).min(0).no_value("-")
    panel = panel.orientation(common_models.VizOrientation.HORIZONTAL).thresholds(_thresholds(steps))
    panel = panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.display_mode(common_models.BarGaugeDisplayMode.BASIC)
    if top is not None:
        panel = panel.max(top)
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.with_target(_query(expression, legend).instant())


def heat(
    text: Text, unit: str, histogram: str, *, width: int = 12, height: int = 8, decimals: int | None = None
) -> PanelBuilder:
    """Make a panel of a histogram over time: the darker, the more."""
    panel = _titled(heatmap.Panel(), text, width, height).unit("none").decimals(0)
    axis = heatmap.YAxisConfig().unit(unit).axis_placement(common_models.AxisPlacement.LEFT)
    colors = heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME).scheme("Blues")
    panel = panel.y_axis(axis if decimals is None else axis.decimals(decimals))
    panel = panel.calculate(False).color(colors.steps(64)).show_y_histogram()
    query = increase(f"{histogram}_bucket", labels=["le"], window="$__rate_interval")
    # Cells between two buckets that stayed empty would be drawn as zeros.
    panel = panel.filter_values(heatmap.FilterValueRange().le(1e-9)).hide_legend()
    return panel.with_target(
        _query(query, "{{le}}").range().format(prometheus_models.PromQueryFormat.HEATMAP)
    )


def timeline(
    text: Text, unit: str, expression: str, legend: str, words: Mapping[str, tuple[str, str]], *, width: int
) -> PanelBuilder:
    """Make a panel of states over time, one row for each series."""
    panel = _titled(statetimeline.Panel(), text, width, 8).unit(unit).mappings([_words(words)])
    panel = panel.show_value(common_models.VisibilityMode.AUTO)
    return panel.with_target(_query(expression, legend).range())


def reasons(text: Text, expression: str, *, columns: Sequence[str], width: int = 24) -> PanelBuilder:
    """Make a table of failures: how many of each reason, and what to do about it.

    ``columns`` are the labels of ``expression``, one of them ``reason``; each reason links to its line in the
    documentation.
    """
    panel = _titled(table.Panel(), text, width, 9).unit("none").decimals(0)
    panel = panel.no_value("No failure in this time").sort_by(
        [common.TableSortByFieldState().display_name("count").desc(True)]
    )
    # The label is shown twice, as the word and as the advice that the word stands for.
    twice = f'label_replace({expression}, "advice", "$1", "reason", "(.+)")'
    advice = {str(reason): (failure.hint, "text") for reason, failure in FAILURES.items()}
    link = {
        "title": "What ${__value.text} means",
        # Browsers that know text fragments show the very line.
        "url": f"{REASONS_URL}:~:text=${{__value.text}}",
        "targetBlank": True,
    }
    panel = panel.override_by_name(
        "reason",
        [models.DynamicConfigValue("links", [link]), models.DynamicConfigValue("custom.width", 240)],
    )
    panel = panel.override_by_name("advice", [models.DynamicConfigValue("mappings", [_words(advice)])])
    panel = panel.override_by_name("count", [models.DynamicConfigValue("custom.width", 100)])
    order = [*columns, "advice", "Value"]
    panel = panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(order)},
                "renameByName": {"Value": "count"},
            },
        )
    )
    return panel.with_target(
        _query(twice, "{{reason}}").instant().format(prometheus_models.PromQueryFormat.TABLE)
    )


def _titled(panel: P, text: Text, width: int, height: int) -> P:
    panel.title(text.title).description(text.description).datasource(DATASOURCE)
    panel.span(width).height(height)
    if text.runbook is not None:
        link = dashboard.DashboardLink("Runbook").url(runbook_url(text.runbook)).target_blank(True)
        panel.links([link.type(models.DashboardLinkType.LINK).tooltip(f"What to do about {text.runbook}")])
    return panel


def runbook_url(alert: str) -> str:
    """Where an alert's page is."""
    return f"{REPOSITORY_URL}/blob/main/docs/runbooks/{alert}.md"


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    thresholds = [models.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(thresholds)


def _words(words: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(words.items())
        }
    )


# Dashboards


@dataclass(frozen=True)
class Scraped:
    """Whose metrics a dashboard shows.

    Attributes:
        metric: One that every process of them has.
        what: What a process is, for the variables' labels.
        namespaces: What a namespace says about it.

    """

    metric: str
    what: str
    namespaces: str


OPERATOR: Final = Scraped(
    "modelconversion_leader",
    "operator",
    "Where the operator runs. Conversions of all namespaces are counted together.",
)


def board(
    name: str,
    title: str,
    description: str,
    rows: Mapping[str, Sequence[PanelBuilder]],
    *,
    since: str,
    of: Scraped = OPERATOR,
) -> models.Dashboard:
    """Make a dashboard of rows of panels, with the variables and links that all have."""
    builder = dashboard.Dashboard(title).uid(f"model-conversion-{name}").description(description)
    builder = (
        builder.tags([TAG, "kubernetes"]).timezone("browser").time(since, "now").refresh("1m").editable()
    )
    builder = builder.tooltip(models.DashboardCursorSync.CROSSHAIR)
    others = dashboard.DashboardLink("Model conversion").type(models.DashboardLinkType.DASHBOARDS)
    builder = builder.link(others.tags([TAG]).keep_time(True).include_vars(True).as_dropdown(False))
    docs = dashboard.DashboardLink("Metrics").type(models.DashboardLinkType.LINK).icon("doc")
    builder = builder.link(docs.url(f"{REPOSITORY_URL}/blob/main/docs/metrics.md").target_blank(True))
    for variable in _variables(of):
        builder = builder.with_variable(variable)
    for row, panels in rows.items():
        builder = builder.with_row(dashboard.Row(row))
        for panel in panels:
            builder = builder.with_panel(panel)
    built = builder.build()
    for number_, panel_ in enumerate(built.panels or (), start=1):
        panel_.id_val = number_  # stable: links to a panel name it
        for ref, target in zip("ABCDEFGH", getattr(panel_, "targets", None) or (), strict=False):
            target.ref_id = ref
    return built


def _variables(of: Scraped) -> list[Builder[models.VariableModel]]:
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    everything = models.VariableOption(text="All", value="$__all", selected=True)

    def labels(name: str, title: str, query: str, description: str) -> dashboard.QueryVariable:
        variable = dashboard.QueryVariable(name).label(title).description(description).datasource(DATASOURCE)
        variable = variable.query(query).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        return (
            variable.sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .current(everything)
        )

    namespace = labels(
        "namespace",
        f"{of.what.capitalize()}'s namespace",
        f"label_values({of.metric}, namespace)",
        of.namespaces,
    ).all_value(".*")  # also where the scrape adds no such label
    job = labels(
        "job",
        "Scrape job",
        f'label_values({of.metric}{{namespace=~"$namespace"}}, job)',
        f"The {of.what}'s scrape job.",
    )
    window = dashboard.IntervalVariable("interval").label("Window").values(",".join(_WINDOWS))
    window = window.description("Quantiles and shares are taken over so long a time.")
    choices = [models.VariableOption(text=w, value=w, selected=w == _WINDOW) for w in _WINDOWS]
    window = window.options(choices).current(choices[_WINDOWS.index(_WINDOW)])
    return [source, namespace, job, window]
