//! Logs, on standard error: `EGRET_LOG` (else `RUST_LOG`) chooses what, `--json` chooses the form.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

use crate::exit::{Answer, Failure};

/// Libraries that see plaintext. They never log below `info`, whatever the filter says, since their
/// traces may hold header values.
const QUIET: [&str; 4] = ["h2=info", "hyper=info", "hyper_util=info", "rustls=info"];

/// Starts logging; `default` is the filter where the environment names none.
pub(crate) fn start(default: &str, json: bool) -> Answer {
    let named = ["EGRET_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var_os(name)?)));
    let (name, text) = match named {
        Some((name, value)) => (name, value.to_string_lossy().into_owned()),
        None => ("EGRET_LOG", default.to_owned()),
    };
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::usage(anyhow::anyhow!(
            "{name} is no log filter: {error}; write for example info or warn,egret_proxy=debug"
        ))
    };
    let mut filter = EnvFilter::builder().parse(&text).map_err(|error| wrong(&error))?;
    for directive in QUIET {
        filter = filter.add_directive(directive.parse().map_err(|error| wrong(&error))?);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started =
        if json { builder.json().flatten_event(true).try_init() } else { builder.with_ansi(false).try_init() };
    started.map_err(|error| Failure::unreachable(anyhow::anyhow!("cannot start logging: {error}")))
}
