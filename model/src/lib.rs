//! Words that every crate of Egret shares: ids, destinations, paths, addresses and reasons.
//!
//! Plain data: no I/O, no async, no clock. What is parsed here is parsed once; the other crates
//! take `Destination` and `RequestPath`, never a bare string that still has to be judged.

pub mod address;
pub mod audience;
pub mod destination;
pub mod escape;
pub mod field;
pub mod fields;
pub mod id;
pub mod limits;
pub mod log_limit;
pub mod map;
pub mod method;
pub mod parameter;
pub mod path;
pub mod placeholder;
pub mod query;
pub mod reason;
pub mod reserved;
pub mod sync;
pub mod text_file;

pub use address::{AddressClass, METADATA};
pub use audience::Audience;
pub use destination::{Authority, Destination, Endpoint, Host, HostError, Scheme};
pub use field::{FieldRole, field_role};
pub use fields::Fields;
pub use id::{CredentialId, ExchangeId, PolicyName, RecordId, RuleId, SessionId, SnapshotDigest, TenantId};
pub use limits::{Limits, Rate};
pub use log_limit::LogLimit;
pub use method::{MethodError, check_method};
pub use parameter::{LooseQuery, method_overrides, parameter_names};
pub use path::{
    ENCODED_SLASH, LITERAL_STAR, PathError, PathReading, RequestPath, fully_decoded, path_escape, written_path,
};
pub use reason::Reason;

/// An instant in UTC. All times of Egret are of this type.
pub use jiff::Timestamp;
