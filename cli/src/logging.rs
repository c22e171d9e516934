//! Logs, on standard error: `EGRET_LOG` (else `RUST_LOG`) is the filter, `--json` selects the format.

use std::io::stderr;

use model::{LogLimit, Timestamp};
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, filter::FilterExt as _, fmt, registry};

use crate::exit::{Answer, Failure};

/// The log level of libraries, whatever the filter of the environment: errors only, and few of them.
///
/// Libraries process plaintext, so their other levels may contain header values. Some of them warn about a peer's input (h2 does
/// for each unexpected PING ACK), so that a peer could fill the disk. Egret's own lines have their own limits.
struct LibraryFloor;

static LIBRARY_ERRORS: LogLimit = LogLimit::new();

impl<S> Filter<S> for LibraryFloor {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        is_own(metadata.target()) || *metadata.level() == Level::ERROR
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        is_own(event.metadata().target()) || LIBRARY_ERRORS.admit(Timestamp::now()).is_some()
    }
}

/// Whether a target is a module of Egret.
fn is_own(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    name == "egret" || name.starts_with("egret_")
}

/// Starts logging; `default` is the filter if the environment names none.
pub(crate) fn start(default: &str, json: bool) -> Answer {
    let named = ["EGRET_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var_os(name)?)));
    let (name, text) = match named {
        Some((name, value)) => (name, value.to_string_lossy().into_owned()),
        None => ("EGRET_LOG", default.to_owned()),
    };
    let filter = EnvFilter::builder().parse(&text).map_err(|error| {
        Failure::usage(anyhow::anyhow!(
            "{name} is not a log filter: {error}; write for example info or warn,egret_proxy=debug"
        ))
    })?;
    let filter = filter.and(LibraryFloor);
    let lines = fmt::layer().with_writer(stderr);
    let started = if json {
        registry().with(lines.json().flatten_event(true).with_filter(filter)).try_init()
    } else {
        registry().with(lines.with_ansi(false).with_filter(filter)).try_init()
    };
    started.map_err(|error| Failure::unreachable(anyhow::anyhow!("cannot start logging: {error}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = EnvFilter::builder().parse(filter).unwrap().and(LibraryFloor);
        let layer = fmt::layer().with_writer(move || writer.clone()).with_ansi(false).with_filter(filter);
        tracing::subscriber::with_default(registry().with(layer), work);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn t241_no_filter_shows_what_a_library_logs_below_error() {
        for filter in ["trace", "h2=trace", "h2::codec::framed_read=trace", "[{name}]=trace,trace", "log=trace"] {
            let text = logged(filter, || {
                tracing::trace!(target: "h2::codec::framed_read", name = 1, "authorization: secret");
                tracing::warn!(target: "h2::proto::ping_pong", "recv PING ack that we never sent");
                tracing::info!(target: "log", "header secret");
                tracing::warn!(target: "egretful", "not one of ours");
            });
            assert_eq!(text, "", "{filter}");
        }
        let text = logged("info", || {
            tracing::warn!(target: "egret_proxy::server", "one of ours");
            tracing::info!(target: "egret", "another");
            tracing::debug!(target: "egret_proxy::server", "not asked for");
        });
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn t242_a_library_logs_ten_errors_a_minute() {
        let text = logged("trace", || (0..10_000).for_each(|_| tracing::error!(target: "h2::proto", "a peer did it")));
        assert!((1..=10).contains(&text.lines().count()), "{}", text.lines().count());
    }
}
