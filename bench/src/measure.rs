//! The measurements: which load each subject gets, and which figures are taken from it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::figures::{Figures, Row, Subject};
use crate::lab::{Lab, Programs};
use crate::load::{self, Ask, Client, Connect, Http, Route, Tally};
use crate::meter::{Meter, Usage};
use crate::origin::LARGE_BYTES;
use crate::process;
use crate::statistics::percentile;
use crate::subject::{Running, egret, prepare};

/// How much is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) repetitions: usize,
    /// The length of a measurement over kept-alive connections.
    time: Duration,
    /// Load before it.
    warm_up: Duration,
    new_connections: usize,
    new_names: usize,
    /// Connections that are open without a request.
    idle: usize,
    /// Numbers of rules that are compared.
    rules: &'static [usize],
    /// Numbers of live sessions that are compared.
    sessions: &'static [usize],
}

/// New connections at a time.
const CONCURRENCY: usize = 8;

/// Sessions that share the idle connections: the default limits allow one session 1,000.
const IDLE_SESSIONS: usize = 20;

/// Connections that are used before the idle memory of a process is read.
const FIRST_CONNECTIONS: usize = 16;

/// The time without requests before memory is read. Egret returns freed memory after three idle seconds.
const SETTLE: Duration = Duration::from_secs(4);

/// Transfers in each direction.
const TRANSFERS: usize = 2;

impl Plan {
    /// Everything, some minutes for each repetition.
    pub(crate) fn full(repetitions: usize) -> Self {
        Self {
            repetitions,
            time: Duration::from_secs(2),
            warm_up: Duration::from_millis(500),
            new_connections: 600,
            new_names: egret::NAMES,
            idle: 10_000,
            rules: &[1, 1_000, 100_000],
            sessions: &[1, 100, 10_000],
        }
    }

    /// One short repetition, to see that everything works and to find large changes.
    pub(crate) fn brief() -> Self {
        Self {
            repetitions: 1,
            time: Duration::from_secs(1),
            warm_up: Duration::from_millis(250),
            new_connections: 200,
            new_names: 100,
            idle: 1_000,
            rules: &[1, 1_000],
            sessions: &[1, 1_000],
        }
    }

    /// Opens no more idle connections than the limit of open files allows. A proxy has two descriptors for each, the load
    /// generator and the origin one.
    pub(crate) fn within(self, descriptors: u64) -> Self {
        let allowed = usize::try_from(descriptors.saturating_sub(1_000) / 2).unwrap_or(usize::MAX);
        Self { idle: self.idle.min(allowed), ..self }
    }

    /// The number of idle connections.
    pub(crate) fn idle(&self) -> usize {
        self.idle
    }
}

/// Runs all repetitions. The subjects take turns, so that a change of the machine's load affects all of them. Each gets a fresh
/// process.
pub(crate) async fn run(lab: &Lab, plan: &Plan, say: impl Fn(&str)) -> Figures {
    let mut figures = Figures::default();
    let mut turns = turns(&lab.programs, plan);
    for repetition in 1..=plan.repetitions {
        for turn in &turns {
            say(&format!("repetition {repetition} of {}: {}", plan.repetitions, turn.name()));
            let mut measurement = Measurement { lab, plan, subject: turn.subject(), figures: &mut figures };
            let outcome = match *turn {
                Turn::Subject(_) => Box::pin(measurement.everything()).await,
                Turn::Rules(count) => Box::pin(measurement.rules(count)).await,
                Turn::Sessions(count) => Box::pin(measurement.sessions(count)).await,
            };
            if let Err(error) = outcome {
                say(&format!("{}: {error:#}", turn.name()));
                figures.add_failures(turn.subject(), vec![format!("{error:#}")]);
            }
        }
        turns.rotate_left(1);
    }
    figures
}

/// A part of a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Subject(Subject),
    /// Egret with this number of rules.
    Rules(usize),
    /// Egret with this number of sessions.
    Sessions(usize),
}

impl Turn {
    fn subject(self) -> Subject {
        match self {
            Self::Subject(subject) => subject,
            Self::Rules(_) | Self::Sessions(_) => Subject::Egret,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Subject(subject) => subject.name().to_owned(),
            Self::Rules(count) => format!("Egret, rules: {count}"),
            Self::Sessions(count) => format!("Egret, sessions: {count}"),
        }
    }
}

fn turns(programs: &Programs, plan: &Plan) -> Vec<Turn> {
    let mut turns = vec![Turn::Subject(Subject::Direct), Turn::Subject(Subject::Egret)];
    turns.extend(programs.nginx.as_ref().map(|_| Turn::Subject(Subject::Nginx)));
    turns.extend(programs.hudsucker.as_ref().map(|_| Turn::Subject(Subject::Hudsucker)));
    turns.extend(plan.rules.iter().map(|count| Turn::Rules(*count)));
    turns.extend(plan.sessions.iter().map(|count| Turn::Sessions(*count)));
    turns
}

/// The measurements of one turn.
struct Measurement<'a> {
    lab: &'a Lab,
    plan: &'a Plan,
    subject: Subject,
    figures: &'a mut Figures,
}

impl Measurement<'_> {
    async fn everything(&mut self) -> Result<()> {
        let running = self.start().await?;
        self.kept_alive(&running).await?;
        self.new_connections(&running).await?;
        self.transfers(&running).await?;
        self.events(&running).await?;
        drop(running);
        self.new_names().await?;
        match self.subject {
            // Its memory would be that of the origin.
            Subject::Direct => Ok(()),
            Subject::Egret | Subject::Nginx | Subject::Hudsucker => self.idle().await,
        }
    }

    /// A fresh process.
    async fn start(&mut self) -> Result<Running> {
        let running = prepare(self.lab, self.subject)?.start().await?;
        if running.id().is_some() {
            self.figures.add(Row::StartUp, self.subject, milliseconds(running.start_up));
        }
        Ok(running)
    }

    async fn kept_alive(&mut self, running: &Running) -> Result<()> {
        let single = self.repeated(running, Http::One, (1, 1)).await?;
        self.add(Row::Http1SingleLatency, single.latency(50).map(microseconds));
        self.add(Row::Http1SingleCpu, single.cpu_microseconds());
        let many = self.repeated(running, Http::One, (64, 1)).await?;
        self.add(Row::Http1Throughput, Some(many.rate()));
        self.add(Row::Http1SlowestLatency, many.latency(99).map(milliseconds));
        self.add(Row::Http1Cpu, many.cpu_microseconds());
        let single = self.repeated(running, Http::Two, (1, 1)).await?;
        self.add(Row::Http2SingleLatency, single.latency(50).map(microseconds));
        self.add(Row::Http2SingleCpu, single.cpu_microseconds());
        let many = self.repeated(running, Http::Two, (8, 8)).await?;
        self.add(Row::Http2Throughput, Some(many.rate()));
        self.add(Row::Http2SlowestLatency, many.latency(99).map(milliseconds));
        self.add(Row::Http2Cpu, many.cpu_microseconds());
        Ok(())
    }

    /// Requests over `connections` with `streams` each, after a warm-up.
    async fn repeated(&mut self, running: &Running, http: Http, shape: (usize, usize)) -> Result<Outcome> {
        let clients = self.warm(&running.route, http, shape).await?;
        let meter = self.meter(running)?;
        let (_clients, tally) = load::repeat(clients, self.plan.time).await?;
        self.outcome(meter, tally)
    }

    async fn warm(&mut self, route: &Route, http: Http, (connections, streams): (usize, usize)) -> Result<Vec<Client>> {
        let clients = load::open(route, http, connections, streams).await?;
        let (clients, tally) = load::repeat(clients, self.plan.warm_up).await?;
        self.figures.add_failures(self.subject, tally.failures);
        Ok(clients)
    }

    async fn new_connections(&mut self, running: &Running) -> Result<()> {
        let plan =
            Connect { count: self.plan.new_connections, concurrency: CONCURRENCY, new_names: false, keep: false };
        let meter = self.meter(running)?;
        let (_closed, tally) = load::connect(&running.route, plan).await?;
        let outcome = self.outcome(meter, tally)?;
        self.add(Row::NewConnections, Some(outcome.rate()));
        self.add(Row::NewConnectionLatency, outcome.latency(50).map(milliseconds));
        self.add(Row::NewConnectionCpu, outcome.cpu_microseconds());
        Ok(())
    }

    /// Names that the process has not seen: it has to sign a certificate for each, and to connect to the origin.
    async fn new_names(&mut self) -> Result<()> {
        let running = self.start().await?;
        let plan = Connect { count: self.plan.new_names, concurrency: CONCURRENCY, new_names: true, keep: false };
        let meter = self.meter(&running)?;
        let (_closed, tally) = load::connect(&running.route, plan).await?;
        let outcome = self.outcome(meter, tally)?;
        self.add(Row::NewNameLatency, outcome.latency(50).map(milliseconds));
        self.add(Row::NewNameCpu, outcome.cpu_microseconds());
        Ok(())
    }

    async fn transfers(&mut self, running: &Running) -> Result<()> {
        if let Some(id) = running.id() {
            process::reset_peak(id)?;
        }
        let directions =
            [(Ask::download(), Row::DownloadRate, Row::DownloadCpu), (Ask::upload(), Row::UploadRate, Row::UploadCpu)];
        for (ask, rate, cpu) in directions {
            let meter = self.meter(running)?;
            let mut tally = Tally::default();
            for _ in 0..TRANSFERS {
                let one = load::single(&running.route, &ask).await?;
                tally.latencies.extend(one.latencies);
                tally.failures.extend(one.failures);
            }
            let outcome = self.outcome(meter, tally)?;
            let gibibytes = LARGE_BYTES as f64 / f64::from(1_u32 << 30) * outcome.requests();
            self.add(rate, Some(gibibytes * 1024.0 / outcome.usage.elapsed.as_secs_f64()));
            self.add(cpu, outcome.cpu().map(|cpu| cpu.as_secs_f64() / gibibytes));
        }
        let peak = running.id().map(process::peak_kib).transpose()?;
        self.add(Row::TransferPeak, peak.map(mebibytes));
        Ok(())
    }

    async fn events(&mut self, running: &Running) -> Result<()> {
        let meter = self.meter(running)?;
        let tally = load::events(&running.route).await?;
        let outcome = self.outcome(meter, tally)?;
        self.add(Row::EventDelay, outcome.latency(50).map(microseconds));
        self.add(Row::SlowestEventDelay, outcome.latency(99).map(microseconds));
        Ok(())
    }

    /// Intercepted connections without a request, after one request on each.
    async fn idle(&mut self) -> Result<()> {
        let running = self.start().await?;
        let id = running.id().context("there is no process")?;
        let route = match self.subject {
            Subject::Egret => {
                let sessions = egret::create_sessions(&running, IDLE_SESSIONS).await?;
                Arc::new(running.route.with_sessions(sessions))
            }
            Subject::Direct | Subject::Nginx | Subject::Hudsucker => Arc::clone(&running.route),
        };
        let connect = |count, keep| Connect { count, concurrency: CONCURRENCY, new_names: false, keep };
        let (_closed, first) = load::connect(&route, connect(FIRST_CONNECTIONS, false)).await?;
        self.figures.add_failures(self.subject, first.failures);
        tokio::time::sleep(SETTLE).await;
        let before = process::memory_kib(id)?;
        let count = self.plan.idle;
        let (clients, tally) = load::connect(&route, connect(count, true)).await?;
        self.figures.add_failures(self.subject, tally.failures);
        tokio::time::sleep(SETTLE).await;
        let after = process::memory_kib(id)?;
        let open = clients.iter().filter(|client| client.is_open()).count();
        ensure!(open == count, "{open} of {count} idle connections are open");
        self.add(Row::BaseMemory, Some(mebibytes(before)));
        self.add(Row::IdleConnection, Some((after as f64 - before as f64) / count as f64));
        self.add(Row::IdleTotal, Some(mebibytes(after)));
        Ok(())
    }

    /// Egret with another number of rules.
    async fn rules(&mut self, count: usize) -> Result<()> {
        let running = egret::prepare(self.lab, count)?.start().await?;
        let outcome = self.repeated(&running, Http::One, (64, 1)).await?;
        self.add(Row::Rules(count), outcome.cpu_microseconds());
        Ok(())
    }

    /// Egret with this number of live sessions; the connections belong to as many of them as possible.
    async fn sessions(&mut self, count: usize) -> Result<()> {
        let running = egret::prepare(self.lab, egret::RULES)?.start().await?;
        let sessions = egret::create_sessions(&running, count).await?;
        let route = running.route.with_sessions(sessions);
        let clients = self.warm(&route, Http::One, (64, 1)).await?;
        let meter = self.meter(&running)?;
        let (_clients, tally) = load::repeat(clients, self.plan.time).await?;
        let outcome = self.outcome(meter, tally)?;
        self.add(Row::Sessions(count), outcome.cpu_microseconds());
        Ok(())
    }

    fn meter(&self, running: &Running) -> Result<Meter> {
        Meter::start(running.id(), self.lab.origin.id())
    }

    fn outcome(&mut self, meter: Meter, tally: Tally) -> Result<Outcome> {
        let usage = meter.stop()?;
        self.figures.add_foreign(usage.foreign_percent);
        let has_process = self.subject != Subject::Direct;
        self.figures.add_failures(self.subject, tally.failures);
        ensure!(!tally.latencies.is_empty(), "no request succeeded");
        Ok(Outcome { latencies: tally.latencies, usage, has_process })
    }

    fn add(&mut self, row: Row, value: Option<f64>) {
        if let Some(value) = value {
            self.figures.add(row, self.subject, value);
        }
    }
}

/// The result of one measurement, in which at least one request succeeded.
struct Outcome {
    latencies: Vec<Duration>,
    usage: Usage,
    has_process: bool,
}

impl Outcome {
    fn requests(&self) -> f64 {
        self.latencies.len() as f64
    }

    /// Requests in a second.
    fn rate(&self) -> f64 {
        self.requests() / self.usage.elapsed.as_secs_f64()
    }

    fn latency(&self, percent: usize) -> Option<Duration> {
        percentile(&self.latencies, percent)
    }

    fn cpu(&self) -> Option<Duration> {
        Some(self.usage.cpu).filter(|_| self.has_process)
    }

    /// CPU time of one request.
    fn cpu_microseconds(&self) -> Option<f64> {
        self.cpu().map(|cpu| microseconds(cpu) / self.requests())
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_has_no_turn() {
        let plan = Plan { rules: &[1], sessions: &[], ..Plan::brief() };
        let programs = Programs { nginx: Some("nginx".into()), ..Programs::default() };
        let expected = [
            Turn::Subject(Subject::Direct),
            Turn::Subject(Subject::Egret),
            Turn::Subject(Subject::Nginx),
            Turn::Rules(1),
        ];
        assert_eq!(turns(&programs, &plan), expected);
    }

    #[test]
    fn idle_connections_fit_the_limit_of_open_files() {
        assert_eq!(Plan::full(3).within(65_536).idle(), 10_000);
        assert_eq!(Plan::full(3).within(20_000).idle(), 9_500);
        assert_eq!(Plan::brief().within(500).idle(), 0);
    }

    #[test]
    fn figures_are_those_of_one_request() {
        let usage = Usage { elapsed: Duration::from_secs(2), cpu: Duration::from_micros(300), foreign_percent: 0.0 };
        let latencies = [10, 20, 30].map(Duration::from_micros).to_vec();
        let outcome = Outcome { latencies, usage, has_process: true };
        assert_eq!(outcome.rate().to_bits(), 1.5_f64.to_bits());
        assert_eq!(outcome.latency(50).map(microseconds).unwrap().round().to_bits(), 20.0_f64.to_bits());
        assert_eq!(outcome.cpu_microseconds().unwrap().round().to_bits(), 100.0_f64.to_bits());
        assert_eq!(Outcome { has_process: false, ..outcome }.cpu_microseconds(), None);
    }
}
