//! Declared slots in the bodies of requests, where a credential's placeholder is substituted.

use super::{CredentialError, MAX_NAME_BYTES};

/// The most slots of one credential.
pub const MAX_BODY_SLOTS: usize = 16;
/// The most substitutions of one credential in one body.
pub const MAX_BODY_SWAPS: u8 = 16;

/// One slot in bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodySlot {
    /// The text at this pointer of a JSON document (RFC 6901).
    Json(String),
    /// The field of this name in a form (`application/x-www-form-urlencoded`).
    Form(String),
}

/// The slots of one credential, and how often it may be substituted in one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodySlots {
    slots: Vec<BodySlot>,
    swaps: u8,
}

impl Default for BodySlots {
    /// No slots.
    fn default() -> Self {
        Self { slots: Vec::new(), swaps: 1 }
    }
}

impl BodySlots {
    /// These slots; `swaps` counts all substitutions in one body.
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

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All slots, as they were declared.
    pub fn iter(&self) -> impl Iterator<Item = &BodySlot> {
        self.slots.iter()
    }

    /// How often the value may be substituted in one body.
    pub fn swaps(&self) -> u8 {
        self.swaps
    }
}

impl BodySlot {
    fn is_valid(&self) -> bool {
        let plain = |text: &str| text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control);
        match self {
            Self::Form(name) => !name.is_empty() && plain(name),
            // The whole document is not a slot: the value would be the whole body.
            Self::Json(pointer) => pointer.starts_with('/') && plain(pointer) && tokens_are_valid(pointer),
        }
    }
}

/// Every `~` begins `~0` or `~1` (RFC 6901 section 3).
fn tokens_are_valid(pointer: &str) -> bool {
    pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}
