//! Percentiles of one run, and the median and the range of several.

use std::time::Duration;

/// The value below or at which `percent` percent of `latencies` are, by the nearest rank; `None` without values.
pub(crate) fn percentile(latencies: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The median of several repetitions with the smallest and the largest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) smallest: f64,
    pub(crate) largest: f64,
}

impl Spread {
    /// `None` without values. The median of an even number is the mean of the two in the middle.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (smallest, largest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(*sorted.get(middle - 1)?, upper),
            _ => upper,
        };
        Some(Self { median, smallest, largest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(values: &[u64]) -> Vec<Duration> {
        values.iter().copied().map(Duration::from_micros).collect()
    }

    #[test]
    fn percentiles_are_values_of_the_run() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let at = |percent| percentile(&micros(&hundred), percent).map(|value| value.as_micros());
        assert_eq!([at(1), at(50), at(99), at(100)], [Some(1), Some(50), Some(99), Some(100)]);
        assert_eq!(percentile(&micros(&[7]), 99), Some(Duration::from_micros(7)));
        assert_eq!(percentile(&micros(&[4, 1, 3]), 50), Some(Duration::from_micros(3)));
        assert_eq!(percentile(&micros(&[4, 1, 3, 2]), 50), Some(Duration::from_micros(2)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_median_has_a_range() {
        let spread = |median, smallest, largest| Some(Spread { median, smallest, largest });
        assert_eq!(Spread::of(&[3.0, 1.0, 8.0]), spread(3.0, 1.0, 8.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]), spread(3.0, 1.0, 9.0));
        assert_eq!(Spread::of(&[5.5]), spread(5.5, 5.5, 5.5));
        assert_eq!(Spread::of(&[]), None);
    }
}
