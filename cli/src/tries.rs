//! Wrong passphrases, counted across processes. After each of them the next attempt has to wait, and the wait doubles
//! every time.
//!
//! This slows down guesses through Egret. An attacker with a copy of the vault's file guesses without Egret, against
//! Argon2id alone.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::SignedDuration;
use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::data_dir::{DataDir, replace};

/// The longest wait.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// The file in which wrong attempts are counted.
pub(crate) struct Tries(PathBuf);

#[derive(Serialize, Deserialize)]
struct Wrong {
    /// How many in a row.
    wrong: u32,
    /// The time of the last one.
    last: Timestamp,
}

impl Tries {
    pub(crate) fn of(dir: &DataDir) -> Self {
        Self(dir.path().join("vault.tries"))
    }

    /// The number of wrong attempts, and the wait before the next one, if there is one.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<(u32, SignedDuration)> {
        let Wrong { wrong, last } = self.read()?;
        // One second after the first, doubled after each more. A clock that was set back makes no wait longer.
        let wait = SignedDuration::from_secs(1 << wrong.saturating_sub(1).min(12)).min(LONGEST);
        let left = wait - now.duration_since(last).max(SignedDuration::ZERO);
        left.is_positive().then_some((wrong, left))
    }

    /// Counts a wrong attempt.
    pub(crate) fn record_failure(&self, now: Timestamp) {
        let wrong = self.read().map_or(0, |before| before.wrong).saturating_add(1);
        let written = serde_json::to_vec(&Wrong { wrong, last: now }).map_err(io::Error::other);
        if let Err(error) = written.and_then(|text| replace(&self.0, &text, 0o600)) {
            tracing::warn!(file = %self.0.display(), %error, "a wrong try could not be counted");
        }
    }

    /// How many attempts in a row were wrong and when the last one was, for the records: these exist only once the vault
    /// is open.
    pub(crate) fn unreported(&self) -> Option<(u32, Timestamp)> {
        self.read().map(|Wrong { wrong, last }| (wrong, last))
    }

    /// Resets the count after a correct passphrase.
    pub(crate) fn reset(&self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.0.display(), %error, "wrong tries cannot be forgotten");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn read(&self) -> Option<Wrong> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t156_each_wrong_try_doubles_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let tries = Tries(folder.path().join("vault.tries"));
        let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        assert_eq!(tries.wait(now), None);
        for (number, seconds) in
            [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 64), (8, 128), (9, 256), (10, 512)]
        {
            tries.record_failure(now);
            let wait = SignedDuration::from_secs(seconds);
            assert_eq!(tries.wait(now), Some((number, wait)));
            assert_eq!(tries.wait(now + wait), None);
            assert_eq!(tries.wait(now - SignedDuration::from_hours(9)), Some((number, wait)), "the clock was set back");
        }
        for _ in 0..100 {
            tries.record_failure(now);
        }
        assert_eq!(tries.wait(now), Some((110, LONGEST)));
        tries.reset();
        assert_eq!(tries.wait(now), None);
    }
}
