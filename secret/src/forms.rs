//! A value in the forms in which it is looked for.

use model::{CredentialId, TenantId};

use crate::secret::Secret;

/// Whose value it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedleOwner {
    /// The tenant.
    pub tenant: TenantId,
    /// The credential.
    pub credential: CredentialId,
    /// Its version.
    pub version: u32,
}

/// The forms of one version of a credential, opened once.
#[derive(Debug)]
pub struct SecretForms {
    /// Whose it is.
    pub owner: NeedleOwner,
    /// Its forms.
    pub forms: Vec<Secret>,
}
