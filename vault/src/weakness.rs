//! The weaknesses of a value.

/// Why a value is weak: it is put only if the caller allows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// So short that it also occurs in ordinary text.
    Short,
    /// One of the most common guesses.
    Common,
    /// So few possibilities that all can be tried.
    Guessable,
}

/// Values with fewer bits than this, by [`bits`], are guessable.
pub(crate) const MIN_BITS: f64 = 40.0;

impl Weakness {
    /// Its meaning, as the rest of a sentence about the credential; never the value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => {
                "the value is shorter than 8 bytes: it may occur in ordinary text too, where masking it corrupts responses"
            }
            Self::Common => {
                "the value is one of those that people guess first: replace it at the service that takes it"
            }
            Self::Guessable => {
                "the value has so few possibilities that they can be tried: a client that can make an upstream repeat guesses finds it"
            }
        }
    }
}
