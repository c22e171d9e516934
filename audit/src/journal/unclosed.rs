//! The segments with openings that are not closed yet: a restart has to read them.

use std::collections::VecDeque;

use crate::journal::queue::Batch;

/// For a closing record: its opening was on its way to the disk when its writer stopped waiting.
pub(super) const IN_FLIGHT: u32 = u32::MAX;

/// Openings without a closing, by the segment that holds them.
pub(super) struct Unclosed {
    counts: VecDeque<u64>,
    /// The segment of the first count.
    from: u32,
    /// The segments of openings whose writers did not learn the result; their closings come in about this order.
    unclaimed: VecDeque<u32>,
}

impl Unclosed {
    /// Nothing is open, and the next records go into this segment.
    pub(super) fn new(segment: u32) -> Self {
        Self { counts: VecDeque::from([0]), from: segment, unclaimed: VecDeque::new() }
    }

    /// The next records go into this segment.
    pub(super) fn begin(&mut self, segment: u32) {
        self.counts.resize((segment - self.from + 1) as usize, 0);
    }

    /// Counts the openings and closings of a batch that is now in a segment.
    pub(super) fn count(&mut self, batch: &Batch, segment: u32) {
        for entry in batch.entries.iter().filter(|entry| !entry.given_up) {
            if entry.link.kind.opens() {
                self.add(segment, 1);
            } else if entry.opened_in == IN_FLIGHT {
                let opened_in = self.unclaimed.pop_front();
                opened_in.into_iter().for_each(|segment| self.add(segment, -1));
            } else if entry.opened_in > 0 {
                self.add(entry.opened_in, -1);
            }
        }
    }

    /// Openings in a segment whose writers did not wait for the answer.
    pub(super) fn unclaimed(&mut self, segment: u32, openings: usize) {
        self.unclaimed.extend(std::iter::repeat_n(segment, openings));
    }

    /// The oldest segment that holds an opening without a closing; the newest where there is none.
    pub(super) fn oldest(&mut self) -> u32 {
        while self.counts.len() > 1 && self.counts.front() == Some(&0) {
            self.counts.pop_front();
            self.from += 1;
        }
        self.from
    }

    /// How many there are in all.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn add(&mut self, segment: u32, by: i64) {
        let place = segment.checked_sub(self.from).and_then(|place| self.counts.get_mut(place as usize));
        if let Some(count) = place {
            *count = count.saturating_add_signed(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Link;
    use crate::journal::queue::Entry;
    use crate::record::Kind;

    fn batch(kind: Kind, opened_in: u32) -> Batch {
        let mut batch = Batch::default();
        let link = Link { time: 0, kind, salt: [0; 16], digest: [0; 32] };
        batch.push(Entry { link, length: 0, waiter: None, opened_in, given_up: false }, b"");
        batch
    }

    #[test]
    fn the_oldest_open_segment_moves_on_as_exchanges_close() {
        let mut unclosed = Unclosed::new(3);
        unclosed.count(&batch(Kind::ExchangeOpened, 0), 3);
        unclosed.begin(5);
        unclosed.count(&batch(Kind::TunnelOpened, 0), 5);
        assert_eq!((unclosed.oldest(), unclosed.total()), (3, 2));
        unclosed.count(&batch(Kind::ExchangeClosed, 3), 5);
        assert_eq!((unclosed.oldest(), unclosed.total()), (5, 1));
        unclosed.count(&batch(Kind::TunnelClosed, 5), 5);
        assert_eq!((unclosed.oldest(), unclosed.total()), (5, 0));
    }

    #[test]
    fn an_opening_that_nobody_waited_for_is_open_until_its_closing_is_written() {
        let mut unclosed = Unclosed::new(1);
        unclosed.count(&batch(Kind::ExchangeOpened, 0), 1);
        unclosed.unclaimed(1, 1);
        assert_eq!(unclosed.total(), 1);
        unclosed.count(&batch(Kind::ExchangeClosed, IN_FLIGHT), 1);
        assert_eq!(unclosed.total(), 0);
        // A refusal closes nothing, nor does the closing of an opening that was never written.
        unclosed.count(&batch(Kind::ExchangeClosed, 0), 1);
        unclosed.count(&batch(Kind::ExchangeClosed, IN_FLIGHT), 1);
        assert_eq!(unclosed.total(), 0);
    }
}
