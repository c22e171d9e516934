//! A credential issued for one exchange. Dropping the lease wipes the value and so ends it.

use std::fmt;

use model::CredentialId;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::credential::{CredentialShape, Placement, Slot};
use secret::Secret;

/// Why a credential is not issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeaseError {
    /// The tenant has no credential of this name.
    #[error("there is no such credential")]
    Unknown,
    /// The request would travel in cleartext.
    #[error("credentials are not sent in cleartext")]
    Plaintext,
    /// The destination is outside the audience.
    #[error("the destination is outside the credential's audience")]
    Audience,
    /// The credential is past its end.
    #[error("the credential has expired")]
    Expired,
    /// The sealed value does not open.
    #[error("the credential cannot be opened")]
    Corrupt,
    /// It was stored before a current rule, which refuses it.
    #[error("the stored value is one that no request may carry")]
    Invalid,
}

/// A credential opened for one destination. No `Clone`; `Debug` shows its name only.
pub struct Lease {
    id: CredentialId,
    shape: CredentialShape,
    value: Secret,
    /// The previous versions that are still within their grace time.
    superseded: Vec<(CredentialShape, Secret)>,
}

impl Lease {
    pub(crate) fn new(id: CredentialId, shape: CredentialShape, value: Secret) -> Self {
        Self { id, shape, value, superseded: Vec::new() }
    }

    /// Adds a previous version, to be masked in responses too.
    pub(crate) fn also_redact(&mut self, shape: CredentialShape, value: Secret) {
        self.superseded.push((shape, value));
    }

    /// The name of the credential.
    pub fn id(&self) -> &CredentialId {
        &self.id
    }

    /// Its version when it was issued.
    pub fn version(&self) -> u32 {
        self.shape.version()
    }

    /// Its kind, audience and names.
    pub fn shape(&self) -> &CredentialShape {
        &self.shape
    }

    /// The location and bytes for the head of a request to which the credential is added; `None` for a credential that
    /// is attached only to bodies.
    pub fn placement(&self) -> Option<Placement> {
        self.shape.kind().placement(&self.value)
    }

    /// The location and bytes for the head of a request whose placeholder is in one of the credential's locations, for which
    /// `is_there` is true.
    pub fn placement_at(&self, is_there: impl Fn(Slot<'_>) -> bool) -> Option<Placement> {
        let kind = self.shape.kinds().find(|kind| kind.slot().is_some_and(&is_there))?;
        kind.placement(&self.value)
    }

    /// The value that replaces a placeholder, unencoded: the password of a basic pair, else the whole value.
    pub fn substitution_bytes(&self) -> &[u8] {
        self.shape.kind().substitution_bytes(&self.value)
    }

    /// Every plain pattern to mask in responses: the value, the parts and the sent form of a basic pair, and the same
    /// of the previous versions within their grace time.
    pub fn patterns(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut patterns = self.shape.kinds().flat_map(|kind| kind.patterns(&self.value)).collect::<Vec<_>>();
        patterns.extend(
            self.superseded.iter().flat_map(|(shape, value)| shape.kinds().flat_map(|kind| kind.patterns(value))),
        );
        patterns
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} version {})", self.id, self.version())
    }
}
