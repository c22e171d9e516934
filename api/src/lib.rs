//! The documents of the control API: requests and responses. The server (`control`) and its clients (`cli`, an SDK) share
//! them; this crate contains no HTTP.
//!
//! A `..Request` is a body, a `..Query` the part of a path after `?`, a `..View` or `..Document` a response.

mod bounds;
mod credential;
mod problem;
mod query;
mod record;
mod session;
mod sidecar;
mod vault;

use serde::{Deserialize, Serialize};

pub use self::bounds::{GrantDocument, GrantView, LimitsDocument};
pub use self::credential::{
    BodySlotDocument, CredentialDocument, CredentialQuery, CredentialRequest, CredentialView, ImportQuery,
    ImportedView, ScanDocument, ScanRequest, TenantQuery, VersionView,
};
pub use self::problem::ProblemDocument;
pub use self::query::{encode, parameters, path_with};
pub use self::record::RecordQuery;
pub use self::session::{
    EndRequest, ExplainRequest, Explained, PolicyDocument, Rollout, SessionCreated, SessionRequest, SessionToken,
    SessionView, StateRequest, TokenQuery, ToolCallRequest, ToolCallView, ViewDocument,
};
pub use self::sidecar::{CaDocument, CaView, Health, PoliciesView, Status, UnusableSession};
pub use self::vault::{KeyQuery, TenantKeyView, VaultView};

/// A list with a name, so that more fields can be added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// The entries.
    pub items: Vec<T>,
}
