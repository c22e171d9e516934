//! Compares Egret with the direct connection and with other proxies, under the load of its own clients against its own origin.
//! `cargo xtask bench peers` builds and runs it. Only loopback is used, and nothing outside a temporary folder is changed.

mod clock;
mod figures;
mod lab;
mod load;
mod measure;
mod meter;
mod origin;
mod pki;
mod process;
mod statistics;
mod subject;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use figures::Figures;
use lab::{Lab, Programs};
use measure::Plan;

const USAGE: &str = "\
egret-bench run --egret PATH [--nginx PATH] [--hudsucker PATH] [--reps N | --brief]
egret-bench origin CERTIFICATE KEY";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "run" => run(&Options::parse(rest)?),
        Some((command, rest)) if command == "origin" => origin::serve_from_arguments(rest),
        _ => bail!("{USAGE}"),
    }
}

/// The options of `run`.
#[derive(Debug)]
struct Options {
    programs: Programs,
    plan: Plan,
    /// The command that produces the same figures.
    command: String,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut programs = Programs::default();
        let (mut plan, mut command) = (Plan::full(3), "cargo xtask bench peers --reps 3".to_owned());
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{option} needs a value"));
            match option.as_str() {
                "--egret" => programs.egret = PathBuf::from(value()?),
                "--nginx" => programs.nginx = Some(PathBuf::from(value()?)),
                "--hudsucker" => programs.hudsucker = Some(PathBuf::from(value()?)),
                "--reps" => {
                    let repetitions = value()?.parse().context("--reps needs a number")?;
                    ensure!(repetitions > 0, "--reps needs a number above 0");
                    plan = Plan::full(repetitions);
                    command = format!("cargo xtask bench peers --reps {repetitions}");
                }
                "--brief" => (plan, command) = (Plan::brief(), "cargo xtask bench".to_owned()),
                unknown => bail!("unknown option {unknown}\n{USAGE}"),
            }
        }
        ensure!(!programs.egret.as_os_str().is_empty(), "--egret is missing\n{USAGE}");
        Ok(Self { programs, plan, command })
    }
}

/// Prints the table on standard output, and progress on standard error. Fails if a request failed.
fn run(options: &Options) -> Result<()> {
    let descriptors = process::raise_descriptor_limit()?;
    let plan = options.plan.clone().within(descriptors);
    let lab = Lab::open(options.programs.clone())?;
    if plan.idle() < options.plan.idle() {
        progress(&format!("{} idle connections, because the limit of open files is {descriptors}", plan.idle()));
    }
    // One thread: two cores are shared with the origin and the process under test.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(measure::run(&lab, &plan, progress));
    print(&report(options, &plan, &figures)?);
    if let Some(failed) = figures.failed() {
        bail!("{failed}");
    }
    Ok(())
}

/// A paragraph about the conditions of the run, then the table.
fn report(options: &Options, plan: &Plan, figures: &Figures) -> Result<String> {
    let conditions = [
        format!("`{}` on {}", options.command, jiff::Timestamp::now().strftime("%Y-%m-%d")),
        format!("{} cores", std::thread::available_parallelism()?),
        format!("Linux {}", std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()),
        first_line(Command::new("rustc").arg("--version"))?,
    ];
    let mut conditions = conditions.to_vec();
    if let Some(nginx) = &options.programs.nginx {
        // `nginx version: nginx/1.22.1`, on standard error.
        let version = first_line(Command::new(nginx).arg("-v"))?;
        conditions.push(version.trim_start_matches("nginx version: ").to_owned());
    }
    if let Some(hudsucker) = &options.programs.hudsucker {
        conditions.push(first_line(Command::new(hudsucker).arg("--version"))?);
    }
    let repetitions = match plan.repetitions {
        1 => "One repetition".to_owned(),
        many => format!("Medians of {many} repetitions with their ranges"),
    };
    let failures = if figures.failed().is_some() { "Requests failed." } else { "No request failed." };
    let disturbance = figures.disturbance().unwrap_or_default();
    Ok(format!(
        "{}. {repetitions}; {} idle connections. {disturbance} {failures}\n\n{}",
        conditions.join("; "),
        plan.idle(),
        figures.table()
    ))
}

/// The first line that a command prints.
fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    Ok(printed.lines().next().with_context(|| format!("{command:?} prints nothing"))?.to_owned())
}

#[expect(clippy::print_stdout, reason = "this is a program of the command line")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "this is a program of the command line")]
fn progress(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        Options::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_select_programs_and_plan() {
        let options = parse(&["--egret", "e", "--nginx", "n", "--reps", "5"]).unwrap();
        assert_eq!(options.programs.egret, PathBuf::from("e"));
        assert_eq!(options.programs.nginx, Some(PathBuf::from("n")));
        assert_eq!(options.programs.hudsucker, None);
        assert_eq!(options.plan, Plan::full(5));
        assert_eq!(options.command, "cargo xtask bench peers --reps 5");
        assert_eq!(parse(&["--egret", "e"]).unwrap().plan, Plan::full(3));
        assert_eq!(parse(&["--egret", "e", "--brief"]).unwrap().plan, Plan::brief());
    }

    #[test]
    fn unusable_options_are_refused() {
        let error = |arguments: &[&str]| parse(arguments).unwrap_err().to_string();
        assert_eq!(error(&[]), format!("--egret is missing\n{USAGE}"));
        assert_eq!(error(&["--egret", "e", "--reps", "0"]), "--reps needs a number above 0");
        assert_eq!(error(&["--egret"]), "--egret needs a value");
        assert_eq!(error(&["--fast"]), format!("unknown option --fast\n{USAGE}"));
    }
}
