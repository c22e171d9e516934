//! A minimum rate: distinguishes a trickle from a pause. Time is an argument.
//!
//! A peer that is waited for is charged the time of the wait, at most half the grace for one wait. Each byte that it moves pays for
//! its share of a second. A balance beyond the grace is a trickle. So silence alone never terminates an exchange here (`idle` and
//! `unread` do that), and a pause is cheap for a peer with a normal rate. One byte a second, or one a minute, is terminated after a
//! few waits.

use std::time::Duration;

/// The minimum rate of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinimumRate {
    /// Bytes per second.
    pub(crate) bytes: u64,
    /// The waiting that is free.
    pub(crate) grace: Duration,
}

/// The waiting that one peer has not paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meter {
    unpaid: Duration,
}

impl Meter {
    /// The peer moved this many bytes after a wait; returns whether that is a trickle.
    pub(crate) fn moved(&mut self, rate: MinimumRate, waited: Duration, bytes: u64) -> bool {
        let paid = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate.bytes.max(1));
        let charged = self.unpaid.saturating_add(waited.min(rate.grace / 2));
        self.unpaid = charged.saturating_sub(paid);
        self.unpaid > rate.grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: MinimumRate = MinimumRate { bytes: 240, grace: Duration::from_secs(30) };

    /// How many pieces of `bytes`, each after `waited`, pass before it is a trickle; `None` if a thousand do.
    fn pieces(waited: f64, bytes: u64) -> Option<usize> {
        let mut meter = Meter::default();
        (1..=1_000).find(|_| meter.moved(RATE, Duration::from_secs_f64(waited), bytes))
    }

    #[test]
    fn a_byte_a_second_is_a_trickle_after_the_grace() {
        assert_eq!(pieces(1.0, 1), Some(31));
        assert_eq!(pieces(0.5, 60), Some(121));
    }

    #[test]
    fn a_byte_a_minute_is_one_too() {
        assert_eq!(pieces(60.0, 1), Some(3));
        assert_eq!(pieces(599.0, 100), Some(3));
    }

    #[test]
    fn the_rate_itself_and_pauses_between_real_pieces_pass() {
        assert_eq!(pieces(1.0, 240), None);
        assert_eq!(pieces(590.0, 3_600), None);
        assert_eq!(pieces(0.0, 1), None);
    }

    #[test]
    fn what_came_fast_pays_nothing_in_advance() {
        let mut meter = Meter::default();
        assert!(!meter.moved(RATE, Duration::ZERO, u64::MAX));
        let trickle = (1..100).find(|_| meter.moved(RATE, Duration::from_secs(1), 1));
        assert_eq!(trickle, Some(31));
    }
}
