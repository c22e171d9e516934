//! Reading the origin's events, which arrive in pieces of any size.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// The delays of the events that have arrived so far.
#[derive(Debug, Default)]
pub(super) struct Delays {
    unfinished: Vec<u8>,
    delays: Vec<Duration>,
}

impl Delays {
    /// Reads a piece that arrived at `now`, by the clock of the origin.
    pub(super) fn read(&mut self, piece: &[u8], now: Duration) -> Result<()> {
        self.unfinished.extend_from_slice(piece);
        while let Some(end) = self.unfinished.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.unfinished.drain(..end + 2).collect();
            let sent = sent(&event).with_context(|| format!("not an event: {}", event.escape_ascii()))?;
            self.delays.push(now.saturating_sub(sent));
        }
        Ok(())
    }

    /// All delays, after the end of the body.
    pub(super) fn finish(self) -> Result<Vec<Duration>> {
        ensure!(self.unfinished.is_empty(), "the last event is incomplete");
        Ok(self.delays)
    }
}

/// The time in an event.
fn sent(event: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(event).ok()?;
    text.strip_prefix("data: ")?.trim_end().parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_from_pieces_of_any_size() {
        let mut delays = Delays::default();
        let now = Duration::from_nanos;
        delays.read(b"data: 10", now(100)).unwrap();
        delays.read(b"\n\ndata: 20\n\ndata: 30\n", now(140)).unwrap();
        delays.read(b"\n", now(200)).unwrap();
        assert_eq!(delays.finish().unwrap(), [now(130), now(120), now(170)]);
    }

    #[test]
    fn other_text_and_a_part_of_an_event_are_errors() {
        let mut delays = Delays::default();
        let error = delays.read(b"event: x\n\n", Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), r"not an event: event: x\n\n");
        let mut delays = Delays::default();
        delays.read(b"data: 1\n", Duration::ZERO).unwrap();
        assert_eq!(delays.finish().unwrap_err().to_string(), "the last event is incomplete");
    }
}
