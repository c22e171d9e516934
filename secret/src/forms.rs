//! A value in the forms that are searched for.

use model::{CredentialId, TenantId};

use crate::secret::Secret;

/// The owner of a value.
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
    /// Their owner.
    pub owner: NeedleOwner,
    /// Its forms.
    pub forms: Vec<Secret>,
}
