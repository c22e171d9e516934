//! Places in the bodies of requests where a credential's placeholder is swapped, because somebody declared them.

use super::{CredentialError, MAX_NAME_BYTES};

/// The most places of one credential.
pub const MAX_BODY_SLOTS: usize = 16;
/// The most times that one credential goes into one body.
pub const MAX_BODY_SWAPS: u8 = 16;

/// One place in bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodySlot {
    /// The text at this pointer of a JSON document (RFC 6901).
    Json(String),
    /// The field of this name in a form (`application/x-www-form-urlencoded`).
    Form(String),
}

/// The places of one credential, and how often it may go into one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodySlots {
    slots: Vec<BodySlot>,
    swaps: u8,
}

impl Default for BodySlots {
    /// Nowhere.
    fn default() -> Self {
        Self { slots: Vec::new(), swaps: 1 }
    }
}

impl BodySlots {
    /// These places; `swaps` counts those in one body together.
    ///
    /// # Errors
    /// [`CredentialError::BodySlot`], [`CredentialError::BodySwaps`].
    pub fn new(slots: Vec<BodySlot>, swaps: u8) -> Result<Self, CredentialError> {
        if slots.len() > MAX_BODY_SLOTS || !slots.iter().all(BodySlot::is_valid) {
            return Err(CredentialError::BodySlot);
        }
        if !(1..=MAX_BODY_SWAPS).contains(&swaps) {
            return Err(CredentialError::BodySwaps);
        }
        Ok(Self { slots, swaps })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All of them, as they were declared.
    pub fn iter(&self) -> impl Iterator<Item = &BodySlot> {
        self.slots.iter()
    }

    /// How often the value may go into one body.
    pub fn swaps(&self) -> u8 {
        self.swaps
    }
}

impl BodySlot {
    fn is_valid(&self) -> bool {
        let plain = |text: &str| text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control);
        match self {
            Self::Form(name) => !name.is_empty() && plain(name),
            // The whole document is no place: what goes there is all that is sent.
            Self::Json(pointer) => pointer.starts_with('/') && plain(pointer) && tokens_are_valid(pointer),
        }
    }
}

/// Every `~` begins `~0` or `~1` (RFC 6901 section 3).
fn tokens_are_valid(pointer: &str) -> bool {
    pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}
