//! A token bucket: a number of requests per span of time, and the same number as a burst. Time is an argument.

use std::time::Duration;

use model::Rate;
use tokio::time::Instant;

/// How many requests may pass now. It starts full and fills evenly.
///
/// The level is stored in requests times the nanoseconds of the rate's span, so that no rate is rounded: it rises by the
/// rate's count in each nanosecond.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: Rate,
    level: u128,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, level: capacity(rate), at: now }
    }

    /// Takes one token, at this rate from now on.
    ///
    /// # Errors
    /// The time until a token is available.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        self.change(rate);
        let (token, count) = (rate.per.as_nanos(), u128::from(rate.count.max(1)));
        match self.level.checked_sub(token) {
            Some(left) => {
                self.level = left;
                Ok(())
            }
            None => {
                let nanos = (token - self.level).div_ceil(count);
                Err(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
        }
    }

    /// Returns a token that was taken for a request that another limit refuses.
    pub(crate) fn give_back(&mut self) {
        self.level = (self.level + self.rate.per.as_nanos()).min(capacity(self.rate));
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        self.at = self.at.max(now);
        let more = elapsed.saturating_mul(u128::from(self.rate.count));
        self.level = self.level.saturating_add(more).min(capacity(self.rate));
    }

    /// Applies a rate that a reload changed: whole tokens stay, up to the new rate.
    fn change(&mut self, rate: Rate) {
        if rate == self.rate {
            return;
        }
        let tokens = self.level / self.rate.per.as_nanos().max(1);
        self.level = (tokens * rate.per.as_nanos()).min(capacity(rate));
        self.rate = rate;
    }
}

fn capacity(rate: Rate) -> u128 {
    u128::from(rate.count) * rate.per.as_nanos()
}

/// Whole seconds for Retry-After: rounded up, and at least one.
pub(crate) fn retry_after(wait: Duration) -> u64 {
    let up = u64::from(wait.subsec_nanos() > 0);
    (wait.as_secs() + up).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap()
    }

    fn taken(bucket: &mut TokenBucket, rate: Rate, now: Instant) -> u64 {
        let mut count = 0;
        while bucket.take(rate, now).is_ok() {
            count += 1;
        }
        count
    }

    #[test]
    fn the_burst_is_the_number_and_then_it_fills_evenly() {
        let (now, six) = (Instant::now(), rate("6/m"));
        let mut bucket = TokenBucket::full(six, now);
        assert_eq!(taken(&mut bucket, six, now), 6);
        assert_eq!(bucket.take(six, now), Err(Duration::from_secs(10)));
        let later = now + Duration::from_millis(9_999);
        assert_eq!(bucket.take(six, later), Err(Duration::from_millis(1)));
        assert_eq!(taken(&mut bucket, six, now + Duration::from_secs(10)), 1);
        assert_eq!(taken(&mut bucket, six, now + Duration::from_secs(31)), 2);
        assert_eq!(taken(&mut bucket, six, now + Duration::from_secs(3_600)), 6);
    }

    #[test]
    fn no_rate_is_rounded_in_favor_of_the_client() {
        for text in ["3/s", "7/m", "11/h", "1000003/d"] {
            let (now, rate) = (Instant::now(), rate(text));
            let mut bucket = TokenBucket::full(rate, now);
            assert_eq!(taken(&mut bucket, rate, now), rate.count, "{text}");
            let wait = bucket.take(rate, now).unwrap_err();
            assert!(bucket.take(rate, now + wait - Duration::from_nanos(1)).is_err(), "{text}");
            assert_eq!(bucket.take(rate, now + wait), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_token_that_is_given_back_can_be_taken_again_and_fills_nothing_beyond() {
        let (now, two) = (Instant::now(), rate("2/h"));
        let mut bucket = TokenBucket::full(two, now);
        bucket.take(two, now).unwrap();
        bucket.give_back();
        bucket.give_back();
        assert_eq!(taken(&mut bucket, two, now), 2);
    }

    #[test]
    fn a_changed_rate_gives_no_second_burst() {
        let (now, ten, hundred) = (Instant::now(), rate("10/m"), rate("100/m"));
        let mut bucket = TokenBucket::full(ten, now);
        assert_eq!(taken(&mut bucket, ten, now), 10);
        assert_eq!(taken(&mut bucket, hundred, now), 0);
        let mut bucket = TokenBucket::full(hundred, now);
        assert_eq!(taken(&mut bucket, ten, now), 10);
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_fills_nothing() {
        let (now, one) = (Instant::now() + Duration::from_secs(100), rate("1/s"));
        let mut bucket = TokenBucket::full(one, now);
        bucket.take(one, now).unwrap();
        assert!(bucket.take(one, now - Duration::from_secs(50)).is_err());
        assert!(bucket.take(one, now).is_err());
    }

    #[test]
    fn waiting_is_told_in_whole_seconds_rounded_up() {
        let told = [0, 1, 999, 1_000, 1_001, 59_999].map(|millis| retry_after(Duration::from_millis(millis)));
        assert_eq!(told, [1, 1, 1, 1, 2, 60]);
    }
}
