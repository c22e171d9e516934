//! The figures of a run, and the table that they are printed as.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::statistics::Spread;

/// Who is measured, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The client connects to the origin.
    Direct,
    Egret,
    /// As a reverse proxy that encrypts again.
    Nginx,
    /// As an intercepting proxy.
    Hudsucker,
}

impl Subject {
    /// The title of its column.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Egret => "Egret",
            Self::Nginx => "nginx",
            Self::Hudsucker => "hudsucker",
        }
    }
}

/// What is measured, in the order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Http1SingleLatency,
    Http1SingleCpu,
    Http1Throughput,
    Http1SlowestLatency,
    Http1Cpu,
    Http2SingleLatency,
    Http2SingleCpu,
    Http2Throughput,
    Http2SlowestLatency,
    Http2Cpu,
    NewConnections,
    NewConnectionLatency,
    NewConnectionCpu,
    NewNameLatency,
    NewNameCpu,
    DownloadRate,
    DownloadCpu,
    UploadRate,
    UploadCpu,
    TransferPeak,
    EventDelay,
    SlowestEventDelay,
    BaseMemory,
    IdleConnection,
    IdleTotal,
    StartUp,
    /// CPU of a request with this number of rules.
    Rules(usize),
    /// CPU of a request with this number of live sessions.
    Sessions(usize),
}

impl Row {
    /// The title of the row, with its unit.
    fn title(self) -> String {
        let title = match self {
            Self::Http1SingleLatency => "h1, 1 connection: p50 us",
            Self::Http1SingleCpu => "h1, 1 connection: CPU us/request",
            Self::Http1Throughput => "h1, 64 connections: requests/s",
            Self::Http1SlowestLatency => "h1, 64 connections: p99 ms",
            Self::Http1Cpu => "h1, 64 connections: CPU us/request",
            Self::Http2SingleLatency => "h2, 1 stream: p50 us",
            Self::Http2SingleCpu => "h2, 1 stream: CPU us/request",
            Self::Http2Throughput => "h2, 8x8 streams: requests/s",
            Self::Http2SlowestLatency => "h2, 8x8 streams: p99 ms",
            Self::Http2Cpu => "h2, 8x8 streams: CPU us/request",
            Self::NewConnections => "new connections/s, 8 at a time",
            Self::NewConnectionLatency => "new connection: p50 ms",
            Self::NewConnectionCpu => "new connection: CPU us",
            Self::NewNameLatency => "new name: p50 ms",
            Self::NewNameCpu => "new name: CPU us",
            Self::DownloadRate => "256 MiB down: MiB/s",
            Self::DownloadCpu => "256 MiB down: CPU s/GiB",
            Self::UploadRate => "256 MiB up: MiB/s",
            Self::UploadCpu => "256 MiB up: CPU s/GiB",
            Self::TransferPeak => "256 MiB down and up: peak MiB",
            Self::EventDelay => "server-sent event: delay p50 us",
            Self::SlowestEventDelay => "server-sent event: delay p99 us",
            Self::BaseMemory => "memory at rest: MiB",
            Self::IdleConnection => "idle connection: KiB",
            Self::IdleTotal => "all idle connections: MiB",
            Self::StartUp => "start to first response: ms",
            Self::Rules(count) => return format!("h1, 64 connections, {}: CPU us/request", counted(count, "rule")),
            Self::Sessions(count) => {
                return format!("h1, 64 connections, {}: CPU us/request", counted(count, "session"));
            }
        };
        title.to_owned()
    }

    /// Whether `other` differs from this one only in its number.
    fn is_compared_with(self, other: Self) -> bool {
        matches!((self, other), (Self::Rules(_), Self::Rules(_)) | (Self::Sessions(_), Self::Sessions(_)))
    }
}

/// Every value of every repetition.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    values: BTreeMap<(Row, Subject), Vec<f64>>,
    failures: BTreeMap<Subject, Vec<String>>,
    foreign_percent: Vec<f64>,
}

impl Figures {
    /// Adds the value of one repetition.
    pub(crate) fn add(&mut self, row: Row, subject: Subject, value: f64) {
        self.values.entry((row, subject)).or_default().push(value);
    }

    /// Adds failed requests.
    pub(crate) fn add_failures(&mut self, subject: Subject, failures: Vec<String>) {
        if !failures.is_empty() {
            self.failures.entry(subject).or_default().extend(failures);
        }
    }

    /// Adds the CPU time of processes outside the run during one measurement, in percent of one core.
    pub(crate) fn add_foreign(&mut self, percent: f64) {
        self.foreign_percent.push(percent);
    }

    /// Which requests failed, with the first error of each subject; `None` if all succeeded.
    pub(crate) fn failed(&self) -> Option<String> {
        let one = |(subject, failures): (&Subject, &Vec<String>)| {
            let first = failures.first().map_or("", String::as_str);
            format!("{}: {} requests failed, the first with: {first}", subject.name(), failures.len())
        };
        let all: Vec<String> = self.failures.iter().map(one).collect();
        Some(all.join("; ")).filter(|text| !text.is_empty())
    }

    /// One sentence about the load of the machine.
    pub(crate) fn disturbance(&self) -> Option<String> {
        let Spread { median, largest, .. } = Spread::of(&self.foreign_percent)?;
        Some(format!(
            "CPU time of other processes meanwhile: median {median:.0} %, maximum {largest:.0} % of one core."
        ))
    }

    /// The table in Markdown: a row for each measurement, a column for each subject, in each cell the median and, of several
    /// repetitions, the range.
    pub(crate) fn table(&self) -> String {
        let rows: BTreeSet<Row> = self.values.keys().map(|(row, _)| *row).collect();
        let subjects: BTreeSet<Subject> = self.values.keys().map(|(_, subject)| *subject).collect();
        let names: Vec<&str> = subjects.iter().map(|subject| subject.name()).collect();
        let mut table = format!("| | {} |\n|---|{}\n", names.join(" | "), "---:|".repeat(names.len()));
        for row in &rows {
            let cells: Vec<String> = subjects.iter().map(|subject| self.cell(*row, *subject)).collect();
            // Writing to a string does not fail.
            let _infallible = writeln!(table, "| {} | {} |", row.title(), cells.join(" | "));
        }
        table
    }

    fn cell(&self, row: Row, subject: Subject) -> String {
        let Some((values, spread)) = self.spread(row, subject) else { return "-".to_owned() };
        let mut cell = number(spread.median);
        if values.len() > 1 {
            let _infallible = write!(cell, " ({} to {})", number(spread.smallest), number(spread.largest));
        }
        if let Some(first) = self.baseline(row, subject) {
            let _infallible = write!(cell, ", {:+.0} %", (spread.median / first - 1.0) * 100.0);
        }
        cell
    }

    fn spread(&self, row: Row, subject: Subject) -> Option<(&[f64], Spread)> {
        let values = self.values.get(&(row, subject))?;
        Some((values, Spread::of(values)?))
    }

    /// The median of the smallest number that `row` is compared with; `None` for that row itself.
    fn baseline(&self, row: Row, subject: Subject) -> Option<f64> {
        let first = self.values.keys().map(|(other, _)| *other).find(|other| row.is_compared_with(*other))?;
        let (_, spread) = self.spread(first, subject).filter(|_| first != row)?;
        Some(spread.median)
    }
}

/// Three significant digits or more: `1,234`, `12.3`, `1.23`.
fn number(value: f64) -> String {
    match value {
        100.0.. => grouped(value),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number with its thousands separated.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([0.0, 1.234, 9.996, 10.06, 99.94].map(number), ["0.00", "1.23", "10.00", "10.1", "99.9"]);
        assert_eq!(
            [100.0, 999.6, 1234.5, 91_201.0, 1_234_567.0].map(number),
            ["100", "1,000", "1,234", "91,201", "1,234,567"]
        );
    }

    #[test]
    fn counts_name_their_unit() {
        assert_eq!([counted(1, "rule"), counted(100_000, "rule")], ["1 rule", "100,000 rules"]);
    }

    #[test]
    fn the_table_has_medians_ranges_and_changes() {
        let mut figures = Figures::default();
        for value in [52.0, 50.0, 60.0] {
            figures.add(Row::Http1Cpu, Subject::Egret, value);
            figures.add(Row::Rules(1), Subject::Egret, value);
            figures.add(Row::Rules(1000), Subject::Egret, value * 1.05);
        }
        figures.add(Row::Http1Throughput, Subject::Nginx, 12_345.0);
        figures.add(Row::Sessions(1), Subject::Egret, 4.0);
        figures.add(Row::Sessions(10_000), Subject::Egret, 3.0);
        let expected = "\
| | Egret | nginx |
|---|---:|---:|
| h1, 64 connections: requests/s | - | 12,345 |
| h1, 64 connections: CPU us/request | 52.0 (50.0 to 60.0) | - |
| h1, 64 connections, 1 rule: CPU us/request | 52.0 (50.0 to 60.0) | - |
| h1, 64 connections, 1,000 rules: CPU us/request | 54.6 (52.5 to 63.0), +5 % | - |
| h1, 64 connections, 1 session: CPU us/request | 4.00 | - |
| h1, 64 connections, 10,000 sessions: CPU us/request | 3.00, -25 % | - |
";
        assert_eq!(figures.table(), expected);
    }

    #[test]
    fn failures_are_counted_by_subject() {
        let mut figures = Figures::default();
        assert_eq!(figures.failed(), None);
        figures.add_failures(Subject::Egret, Vec::new());
        assert_eq!(figures.failed(), None);
        figures.add_failures(Subject::Egret, vec!["TLS".to_owned(), "dial".to_owned()]);
        figures.add_failures(Subject::Egret, vec!["CONNECT".to_owned()]);
        assert_eq!(figures.failed().unwrap(), "Egret: 3 requests failed, the first with: TLS");
    }

    #[test]
    fn the_load_of_the_machine_is_one_sentence() {
        let mut figures = Figures::default();
        assert_eq!(figures.disturbance(), None);
        [3.0, 1.0, 80.4].into_iter().for_each(|percent| figures.add_foreign(percent));
        let expected = "CPU time of other processes meanwhile: median 3 %, maximum 80 % of one core.";
        assert_eq!(figures.disturbance().unwrap(), expected);
    }
}
