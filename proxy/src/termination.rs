//! Why an exchange is terminated, and the result for its record and its client.

use audit::{Fault, Outcome};
use policies::Denied;

use crate::limits::allowance::Limited;
use crate::limits::timer::Timer;
use crate::refusal::Refusal;

/// Why an exchange is terminated.
#[derive(Clone, Debug)]
pub(crate) enum Termination {
    /// The policies, the vault or its content refuse it now.
    Denied(Denied),
    /// It made no progress, or too little.
    Timer(Timer),
    /// It exceeds a limit.
    Limit(Limited),
}

impl Termination {
    /// The code.
    pub(crate) fn reason(&self) -> model::Reason {
        match self {
            Self::Denied(denied) => denied.reason,
            Self::Timer(timer) => timer.reason(),
            Self::Limit(limited) => limited.reason,
        }
    }

    /// The answer, if none has begun.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Denied(denied) => denied.into(),
            Self::Timer(timer) => timer.refusal(),
            Self::Limit(limited) => limited.refusal(),
        }
    }

    /// How the record of an exchange with a started answer ends: outcome, fault, and the refinement of the code.
    pub(crate) fn ending(&self) -> (Outcome, Fault, Option<&'static str>) {
        match self {
            Self::Denied(denied) => (Outcome::Aborted, Fault::Policy, denied.class),
            Self::Timer(timer) => (Outcome::Timeout, timer.fault(), Some(timer.name())),
            Self::Limit(limited) => (Outcome::Aborted, Fault::Policy, Some(limited.limit())),
        }
    }
}

impl From<Timer> for Termination {
    fn from(timer: Timer) -> Self {
        Self::Timer(timer)
    }
}

impl From<Limited> for Termination {
    fn from(limited: Limited) -> Self {
        Self::Limit(limited)
    }
}
