//! The decision of the data path, told: what decides, which other rules matched and why they lost, and what the
//! nearest rule would have needed. The verdict is that of the very same functions, never a second opinion.

mod standing;

pub use standing::{RulePlace, Standing};
