//! The tables of the page, each with the plots that show the same figures.

use std::fmt::Write as _;

use super::plots::{Axis, Look, Plot, Series};
use crate::load::quantiles::Quantiles;
use crate::report::{BATCHED, Measured, Report, Run};

/// A heading with a table and its plots.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) table: String,
    pub(super) plots: Vec<Plot>,
}

/// The systems' names for people.
fn name(key: &str) -> &'static str {
    match key {
        "etcd" => "etcd",
        "nats" => "NATS JetStream",
        "rabbitmq" => "RabbitMQ",
        _ => "RingRift",
    }
}

/// Those that were measured, with their names.
fn measured(report: &Report) -> Vec<(&'static str, &Measured)> {
    let systems = report.systems().into_iter();
    systems.filter_map(|(key, measured)| Some((name(key), measured?))).collect()
}

/// 12345.678 as `12,346`, 3.14159 as `3.14`: three digits, and no false precision.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |parts| parts);
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn head(cells: &[&str]) -> String {
    let line = row(cells.iter().map(|cell| (*cell).to_owned()));
    format!("{line}|---|{}\n", "---:|".repeat(cells.len() - 1))
}

fn missing() -> String {
    "–".to_owned()
}

/// Where and when the figures were taken.
pub(super) fn origin(report: &Report) -> String {
    let mut text =
        "\nTaken as follows, a later run in the place of what an earlier one had measured:\n\n"
            .to_owned();
    for Run { date, command, machine } in &report.runs {
        let _ = writeln!(
            text,
            "- {date}: `{command}`. {} processors ({}), {} MiB of memory, Linux {}, {}; one synced write \
             of 4 KiB takes {} ms; the load average before was {}.",
            machine.cores,
            machine.processor,
            machine.memory_mib,
            machine.kernel,
            machine.filesystem,
            number(machine.fdatasync_ms),
            number(machine.load_before),
        );
    }
    text.push_str("\nAll nodes of a system, and the clients, share one machine.\n\n");
    text.push_str("| System | Version | Clients speak |\n|---|---|---|\n");
    for (name, system) in measured(report) {
        text.push_str(&row([name.to_owned(), system.version.clone(), system.transport.clone()]));
    }
    text
}

/// Everything that was measured.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let sections = [
        throughput(report),
        latency(report),
        submit(report),
        failover(report),
        leave(report),
        depth(report),
    ];
    sections.into_iter().flatten().collect()
}

fn throughput(report: &Report) -> Option<Section> {
    let mut keys: Vec<u64> = measured(report)
        .iter()
        .flat_map(|(_, system)| system.cycles_per_s.keys().filter_map(|key| key.parse().ok()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<_> = keys.iter().map(u64::to_string).chain([BATCHED.to_owned()]).collect();
    let rows: Vec<_> = measured(report)
        .into_iter()
        .filter(|(_, system)| !system.cycles_per_s.is_empty())
        .map(|(name, system)| (name, keys.iter().map(|key| system.cycles_per_s.get(key).copied())))
        .map(|(name, values)| (name, values.collect::<Vec<_>>()))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let titles: Vec<_> = keys
        .iter()
        .map(|key| if key == BATCHED { key.clone() } else { format!("{key} in flight") })
        .collect();
    let mut cells = vec!["Full cycles a second"];
    cells.extend(titles.iter().map(String::as_str));
    let mut table = head(&cells);
    for (name, values) in &rows {
        let values = values.iter().map(|value| value.map_or_else(missing, number));
        table.push_str(&row([(*name).to_owned()].into_iter().chain(values)));
    }
    if !report.ratio_to_best_peer.is_empty() {
        let ratio = |key| report.ratio_to_best_peer.get(key).map(|ratio| format!("{ratio:.2} ×"));
        let ratios = keys.iter().map(|key| ratio(key).unwrap_or_else(missing));
        table.push_str(&row(["RingRift to the best peer".to_owned()].into_iter().chain(ratios)));
    }
    let split = keys.len() - 1;
    let bars = |range: std::ops::Range<usize>, name, title: &str| Plot {
        name,
        title: title.to_owned(),
        x: Axis { title: String::new(), logarithmic: false },
        y: Axis { title: "full cycles a second".to_owned(), logarithmic: false },
        look: Look::Bars(titles[range.clone()].to_vec()),
        series: series(&rows, range),
    };
    let mut plots = vec![bars(0..split, "throughput", "Throughput, one item a request")];
    if rows.iter().any(|(_, values)| values[split].is_some()) {
        plots.push(bars(split..keys.len(), "batched", "Throughput, batched"));
    }
    Some(Section { title: "Throughput", table, plots })
}

/// One series for each system, with its values in the columns of `range` at 0, 1, 2, …
fn series(rows: &[(&'static str, Vec<Option<f64>>)], range: std::ops::Range<usize>) -> Vec<Series> {
    let points = |values: &[Option<f64>]| {
        (0_u32..)
            .zip(&values[range.clone()])
            .filter_map(|(at, value)| Some((f64::from(at), (*value)?)))
            .collect()
    };
    rows.iter().map(|(name, values)| Series { name, points: points(values) }).collect()
}

fn latency(report: &Report) -> Option<Section> {
    let mut rates: Vec<u32> = measured(report)
        .iter()
        .flat_map(|(_, system)| system.latency_ms.values().map(|at| at.rate))
        .collect();
    rates.sort_unstable();
    rates.dedup();
    let titles = ["p50 ms", "p99 ms", "p99.9 ms"];
    let mut table = String::new();
    let mut plots = Vec::new();
    for rate in rates {
        let _written = writeln!(table, "At {} operations a second:\n", number(f64::from(rate)));
        table.push_str(&head(&[
            "",
            titles[0],
            titles[1],
            titles[2],
            "enqueue p99",
            "claim p99",
            "complete p99",
            "kept up",
            "elections",
        ]));
        let mut rows = Vec::new();
        for (name, system) in measured(report) {
            let Some(at) = system.latency_ms.get(&rate.to_string()) else { continue };
            let quantiles = [at.all.p50, at.all.p99, at.all.p999];
            let kinds =
                [&at.enqueue, &at.claim, &at.complete].map(|kind: &Quantiles| number(kind.p99));
            let kept = if at.sustained {
                "yes".to_owned()
            } else {
                format!("no: {}/s", number(at.achieved))
            };
            let cells = [name.to_owned()].into_iter().chain(quantiles.map(number)).chain(kinds);
            let elections = at.elections.map_or(String::new(), |elections| match at.seconds {
                0 => elections.to_string(),
                seconds => format!("{elections} in {} s", number(f64::from(seconds))),
            });
            table.push_str(&row(cells.chain([kept, elections])));
            // What did not keep up has no latency, only a backlog that grew for as long as it was watched.
            if at.sustained {
                rows.push((name, quantiles.map(Some).to_vec()));
            }
        }
        table.push('\n');
        plots.push(Plot {
            name: if rate >= 10_000 { "latency-high" } else { "latency-low" },
            title: format!("Latency at {} operations a second", number(f64::from(rate))),
            x: Axis { title: String::new(), logarithmic: false },
            y: Axis { title: "milliseconds".to_owned(), logarithmic: true },
            look: Look::Dots(titles.map(str::to_owned).to_vec()),
            series: series(&rows, 0..titles.len()),
        });
    }
    plots.retain(|plot| !plot.series.is_empty());
    plots.dedup_by_key(|plot| plot.name);
    if table.is_empty() { None } else { Some(Section { title: "Latency", table, plots }) }
}

fn submit(report: &Report) -> Option<Section> {
    let mut table = head(&["", "p50 ms", "p99 ms", "p99.9 ms", "slowest"]);
    let empty = table.len();
    for (name, system) in measured(report) {
        let Some(waits) = &system.submit_to_start_ms else { continue };
        let values = [waits.p50, waits.p99, waits.p999, waits.max].map(number);
        table.push_str(&row([name.to_owned()].into_iter().chain(values)));
    }
    (table.len() > empty).then(|| Section {
        title: "From submit to start",
        table,
        plots: Vec::new(),
    })
}

fn failover(report: &Report) -> Option<Section> {
    let mut table = head(&[
        "Leader killed",
        "times",
        "p50 ms",
        "p99 ms",
        "longest ms",
        "next claim p50",
        "next claim p99",
        "did not come back",
    ]);
    let mut series = Vec::new();
    for (name, system) in measured(report) {
        let Some(failover) = &system.failover_ms else { continue };
        let (fresh, next) = (&failover.fresh, &failover.next_claim);
        let values = [fresh.p50, fresh.p99, fresh.max, next.p50, next.p99].map(number);
        let cells = [name.to_owned(), fresh.count.to_string()].into_iter().chain(values);
        table.push_str(&row(cells.chain([failover.not_recovered.to_string()])));
        let count = fresh.values.len().max(1);
        #[expect(clippy::cast_precision_loss, reason = "a share for a plot")]
        let share = |at: usize| at as f64 / count as f64 * 100.0;
        let steps = fresh.values.iter().enumerate();
        let points = steps.flat_map(|(at, ms)| [(*ms, share(at)), (*ms, share(at + 1))]).collect();
        series.push(Series { name, points });
    }
    if series.is_empty() {
        return None;
    }
    let plot = Plot {
        name: "failover",
        title: "Leader killed: share of the times that work went on by then".to_owned(),
        x: Axis { title: "milliseconds after SIGKILL".to_owned(), logarithmic: true },
        y: Axis { title: "per cent".to_owned(), logarithmic: false },
        look: Look::Lines,
        series,
    };
    Some(Section { title: "Fail-over", table, plots: vec![plot] })
}

fn leave(report: &Report) -> Option<Section> {
    let mut table = head(&["Leader asked to leave", "times", "p50 ms", "p99 ms", "longest ms"]);
    let empty = table.len();
    for (name, system) in measured(report) {
        let Some(leaves) = &system.leave_ms else { continue };
        let values = [leaves.p50, leaves.p99, leaves.max].map(number);
        let cells = [name.to_owned(), leaves.count.to_string()].into_iter().chain(values);
        table.push_str(&row(cells));
    }
    (table.len() > empty).then(|| Section { title: "Polite leave", table, plots: Vec::new() })
}

fn depth(report: &Report) -> Option<Section> {
    let mut table = head(&[
        "",
        "queued",
        "cycles/s",
        "p50 ms",
        "p99 ms",
        "filled at items/s",
        "leader MiB",
        "restart s",
        "snapshot ms",
    ]);
    let mut series = Vec::new();
    #[expect(clippy::cast_precision_loss, reason = "a length for a plot")]
    let length = |depth: u64| depth as f64;
    for (name, system) in
        measured(report).into_iter().filter(|(_, system)| !system.depth.is_empty())
    {
        for point in &system.depth {
            let cycle = &point.cycle_ms;
            let values = [
                length(point.depth),
                point.cycles_per_s,
                cycle.p50,
                cycle.p99,
                point.fill_per_s,
                point.leader_mib,
                point.restart_s,
            ];
            let snapshot = point.snapshot.as_ref().map_or_else(missing, |it| number(it.ms));
            let cells = [name.to_owned()].into_iter().chain(values.map(number));
            table.push_str(&row(cells.chain([snapshot])));
        }
        let points = system.depth.iter().map(|point| (length(point.depth), point.cycles_per_s));
        series.push(Series { name, points: points.collect() });
    }
    if series.is_empty() {
        return None;
    }
    let plot = Plot {
        name: "depth",
        title: "Throughput as the queue grows, 64 in flight".to_owned(),
        x: Axis { title: "items in the queue".to_owned(), logarithmic: true },
        y: Axis { title: "full cycles a second".to_owned(), logarithmic: false },
        look: Look::Lines,
        series,
    };
    Some(Section { title: "Long queues", table, plots: vec![plot] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_their_thousands_apart() {
        let numbers = [0.123_4, 3.0, 12.34, 999.6, 1_234.5, 1_234_567.0].map(number);
        assert_eq!(numbers, ["0.12", "3", "12.3", "1,000", "1,234", "1,234,567"]);
    }
}
