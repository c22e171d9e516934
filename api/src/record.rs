//! Calls about audit records. A record itself is a document of `audit`.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// The query of `GET /v1/records`; unset fields do not filter.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordQuery {
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Of this session.
    pub session: Option<String>,
    /// About this host.
    pub host: Option<String>,
    /// `allow`, `deny`, `ask` or `observe`.
    pub decision: Option<String>,
    /// With this code.
    pub code: Option<String>,
    /// Of this kind, such as `exchange.closed`.
    pub kind: Option<String>,
    /// With this method.
    pub method: Option<String>,
    /// With this credential.
    pub credential: Option<String>,
    /// The record or the exchange of this id.
    pub id: Option<String>,
    /// Only records with a greater number.
    pub after: Option<u64>,
    /// Only records with a smaller number.
    pub before: Option<u64>,
    /// At most this many.
    pub limit: Option<u32>,
}
