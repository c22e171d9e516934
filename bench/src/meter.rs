//! The resources that a measurement uses, read from the kernel before and after it.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::clock;
use crate::process::{CpuTime, machine_cpu_time};

/// A measurement in progress.
#[derive(Debug)]
pub(crate) struct Meter {
    subject: Option<u32>,
    origin: u32,
    before: Reading,
}

/// The clocks at one moment.
#[derive(Debug)]
struct Reading {
    time: Instant,
    subject: CpuTime,
    /// The origin and the load generator.
    others: Duration,
    machine: Duration,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) elapsed: Duration,
    /// CPU time of the process under test and its descendants; zero without one.
    pub(crate) cpu: Duration,
    /// CPU time of processes outside the run, in percent of one core. The kernel counts the whole machine in steps of 10 ms, so
    /// short measurements are inexact.
    pub(crate) foreign_percent: f64,
}

impl Meter {
    /// Begins; `subject` is the process under test, if there is one.
    pub(crate) fn start(subject: Option<u32>, origin: u32) -> Result<Self> {
        Ok(Self { subject, origin, before: Reading::now(subject, origin)? })
    }

    /// Ends.
    pub(crate) fn stop(self) -> Result<Usage> {
        let (before, after) = (self.before, Reading::now(self.subject, self.origin)?);
        let elapsed = after.time - before.time;
        let cpu = after.subject.since(&before.subject);
        let own = cpu + (after.others.saturating_sub(before.others));
        let foreign = after.machine.saturating_sub(before.machine).saturating_sub(own);
        Ok(Usage { elapsed, cpu, foreign_percent: foreign.as_secs_f64() / elapsed.as_secs_f64() * 100.0 })
    }
}

impl Reading {
    fn now(subject: Option<u32>, origin: u32) -> Result<Self> {
        Ok(Self {
            machine: machine_cpu_time()?,
            others: clock::cpu_time(origin)? + clock::cpu_time(std::process::id())?,
            subject: subject.map_or_else(|| Ok(CpuTime::default()), CpuTime::of)?,
            time: Instant::now(),
        })
    }
}
