//! Plaintext: the one type that holds it, and its memory pages. Below all code that handles secrets, so that a value is borrowed and
//! never copied.

mod arena;
mod forms;
mod random;
mod secret;

pub use arena::{Memory, Slot, memory, probe};
pub use forms::{NeedleOwner, SecretForms};
pub use random::{RngUnavailable, fill_random, random};
pub use secret::Secret;
