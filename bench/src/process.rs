//! Processes of a run: starting and stopping them, and what the kernel reports about them and their children in `/proc`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open};

use crate::clock;

/// How long a process may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(10);

/// The limit of open files that a run asks for: 10,000 connections have two each, plus a reserve.
const DESCRIPTORS: u64 = 65_536;

/// A process that was started here. It is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a command; its output is appended to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self { child })
    }

    /// As [`Self::start`], but its first line of output is returned, without its end.
    pub(crate) fn start_and_read(command: &mut Command, log: &Path) -> Result<(Self, String)> {
        let errors = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let output = child.stdout.take();
        let process = Self { child };
        let mut line = String::new();
        BufReader::new(output.context("no output")?).read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "{command:?} ended; its messages are in {}", log.display());
        Ok((process, line.trim_end().to_owned()))
    }

    /// Waits until it has ended, for this long; returns whether it has.
    fn wait_end(&mut self, limit: Duration) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) else { return Ok(false) };
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))?;
        Ok(self.child.try_wait()?.is_some())
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the process ended with {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // The child has not been waited for, so the id is still its own.
            let _ended = rustix::process::kill_process(pid, Signal::TERM);
        }
        if !self.wait_end(PATIENCE).unwrap_or(false) {
            let _ended = self.child.kill();
            let _ended = self.child.wait();
        }
    }
}

/// CPU time by process, of a process and all of its descendants.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTime(BTreeMap<u32, Duration>);

impl CpuTime {
    /// Reads the clocks. A process that ended meanwhile is left out.
    pub(crate) fn of(root: u32) -> Result<Self> {
        let own = clock::cpu_time(root)?;
        let others = family(root)?.into_iter().filter(|&pid| pid != root);
        let mut all: BTreeMap<u32, Duration> =
            others.filter_map(|pid| clock::cpu_time(pid).ok().map(|time| (pid, time))).collect();
        all.insert(root, own);
        Ok(Self(all))
    }

    /// The time since `before`; a process that did not exist then counts in full.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let one = |(pid, now): (&u32, &Duration)| now.saturating_sub(before.0.get(pid).copied().unwrap_or_default());
        self.0.iter().map(one).sum()
    }
}

/// A process and its descendants.
fn family(root: u32) -> Result<Vec<u32>> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let parent = std::fs::read_to_string(entry.path().join("stat")).ok().and_then(|stat| parent(&stat));
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    Ok(descendants(root, &parents))
}

/// `root` and the processes below it, given the parent of each process.
fn descendants(root: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// The parent in a line of `/proc/PID/stat` (proc(5)). The name of the program is in parentheses and may contain any character.
fn parent(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// The proportional resident memory of a process and its descendants, in KiB: a page that several share counts in parts.
pub(crate) fn memory_kib(root: u32) -> Result<u64> {
    total(root, "smaps_rollup", "Pss")
}

/// The peak of resident memory since [`reset_peak`], in KiB; the sum of the peaks if there are several processes.
pub(crate) fn peak_kib(root: u32) -> Result<u64> {
    total(root, "status", "VmHWM")
}

/// Starts a new peak for a process and its descendants.
pub(crate) fn reset_peak(root: u32) -> Result<()> {
    for pid in family(root)? {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the peak of resident memory")?;
    }
    Ok(())
}

fn total(root: u32, file: &str, name: &str) -> Result<u64> {
    let mut total = 0;
    for pid in family(root)? {
        let path = format!("/proc/{pid}/{file}");
        let text = match std::fs::read_to_string(&path) {
            // A descendant may have ended since it was listed.
            Err(_) if pid != root => continue,
            text => text.with_context(|| format!("cannot read {path}"))?,
        };
        total += match kib(&text, name) {
            // One that is ending has no memory any more.
            None if pid != root => 0,
            value => value.with_context(|| format!("{path} has no {name}"))?,
        };
    }
    Ok(total)
}

/// The value of a line such as `VmHWM:      1234 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

/// The CPU time that all processes of the machine have used.
pub(crate) fn machine_cpu_time() -> Result<Duration> {
    busy(&std::fs::read_to_string("/proc/stat")?).context("/proc/stat has no line for all cores")
}

/// The busy time in the first line of `/proc/stat`: user, nice, system, irq and softirq, in steps of 10 ms. `idle` and `iowait`
/// (the fourth and the fifth) are not busy, and `steal` is the time of other machines.
fn busy(stat: &str) -> Option<Duration> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|ticks| ticks.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some(Duration::from_millis((user + nice + system + irq + softirq) * 10))
}

/// Raises the limit of open files, also for processes that are started later. Returns the new limit.
pub(crate) fn raise_descriptor_limit() -> Result<u64> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = |limit: u64| Rlimit { current: Some(limit), maximum: Some(limit) };
    // Only a privileged process can raise the hard limit.
    let hard = before.maximum.unwrap_or(DESCRIPTORS);
    if hard < DESCRIPTORS && rustix::process::setrlimit(Resource::Nofile, raised(DESCRIPTORS)).is_ok() {
        return Ok(DESCRIPTORS);
    }
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(hard), ..before })?;
    ensure!(hard >= 1024, "the limit of open files is {hard}; 1024 are needed");
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_after_any_name() {
        assert_eq!(parent("12 (egret) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent("13 (a) b (c)) R 8 13 13 0 -1"), Some(8));
        assert_eq!(parent("13 egret S 7"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let parents = BTreeMap::from([(2, 1), (3, 1), (5, 3), (6, 5), (9, 8)]);
        assert_eq!(descendants(3, &parents), [3, 5, 6]);
        assert_eq!(descendants(1, &parents), [1, 2, 3, 5, 6]);
        assert_eq!(descendants(4, &parents), [4]);
    }

    #[test]
    fn values_in_kib_are_read() {
        let text =
            "55e0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:        2000 kB\nPss:        1234 kB\nPss_Dirty:   99 kB\n";
        assert_eq!(kib(text, "Pss"), Some(1234));
        assert_eq!(kib(text, "Pss_Dirty"), Some(99));
        assert_eq!(kib(text, "Swap"), None);
        assert_eq!(kib("Threads:\t4\n", "Threads"), None);
    }

    #[test]
    fn busy_time_leaves_out_idle_and_steal() {
        let text = "cpu  100 20 30 4000 500 6 7 800 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(text), Some(Duration::from_millis(1630)));
        assert_eq!(busy("cpu0 1 1 1 1 1 1 1\n"), None);
        assert_eq!(busy("cpu  1 2 3\n"), None);
    }

    #[test]
    fn time_of_new_processes_counts_in_full() {
        let seconds = |all: &[(u32, u64)]| {
            CpuTime(all.iter().map(|&(pid, seconds)| (pid, Duration::from_secs(seconds))).collect())
        };
        let (before, after) = (seconds(&[(1, 5), (2, 3)]), seconds(&[(1, 7), (3, 4)]));
        assert_eq!(after.since(&before), Duration::from_secs(6));
    }

    #[test]
    fn memory_and_peak_of_this_process_are_read() {
        assert!(memory_kib(std::process::id()).unwrap() > 0);
        assert!(peak_kib(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn a_process_is_stopped_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(Command::new("sleep").arg("600"), &folder.path().join("log")).unwrap();
        process.ensure_running().unwrap();
        let id = process.id();
        drop(process);
        assert!(clock::cpu_time(id).is_err());
    }
}
