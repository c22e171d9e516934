//! The properties of a credential besides its value. One file per kind declares its options and how it is attached to a
//! request.

mod basic;
mod bearer;
mod body;
mod cookie;
mod credential_kind;
mod header;
mod kind;
mod query;
mod slots;
mod spec;
mod template;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{CredentialId, Destination, TenantId, Timestamp};
use thiserror::Error;
use zeroize::Zeroizing;

use model::audience::{Audience, AudienceError};

pub use credential_kind::{KindOption, Slot};
pub use kind::Kind;
pub use query::percent_encode;
pub use slots::{BodySlot, BodySlots, MAX_BODY_SLOTS, MAX_BODY_SWAPS};
pub use spec::{CredentialSpec, is_variable};

/// The longest value of a credential, because it has to fit into a request head.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;
/// Shorter values also occur in ordinary text, which masking would destroy (importers warn).
pub const SHORT_VALUE_BYTES: usize = 8;
/// The longest name of a credential, a tenant or a variable.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest prefix of a placeholder, or of a header value.
pub const MAX_PREFIX_BYTES: usize = 64;
/// The longest template of a header value.
pub const MAX_TEMPLATE_BYTES: usize = 128;
/// How long a version stays after the next one was put, by default.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10 * 60);
/// The longest time that a version may stay after the next one was put.
pub const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most locations, in addition to its own, in which a credential's placeholder is substituted.
pub const MAX_FURTHER_LOCATIONS: usize = 4;
/// The most versions of one credential at a time.
pub const MAX_VERSIONS: usize = 16;
/// The longest description.
pub const MAX_DESCRIPTION_BYTES: usize = 1024;

/// The location of a value on a request, and its bytes there. `Debug` does not show them.
pub enum Placement {
    /// A header field.
    Header {
        /// The field name in lower case.
        name: String,
        /// The field value.
        value: Zeroizing<Vec<u8>>,
    },
    /// A query parameter.
    Query {
        /// The parameter's name, percent-encoded.
        name: String,
        /// The parameter's value, percent-encoded.
        value: Zeroizing<String>,
    },
    /// A cookie.
    Cookie {
        /// The cookie's name.
        name: String,
        /// The cookie's value.
        value: Zeroizing<Vec<u8>>,
    },
}

/// Why a value cannot be a credential of its kind. Recorded as `vault_value_invalid`; never contains the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Empty.
    #[error("the value is empty")]
    Empty,
    /// Longer than fits into a request.
    #[error("the value exceeds {MAX_VALUE_BYTES} bytes")]
    Length,
    /// CR, LF, NUL or another control character.
    #[error("the value holds a line end or another control character")]
    Control,
    /// White space, which the kind does not allow.
    #[error("the value holds white space where none may be")]
    Space,
    /// Bytes beyond ASCII, which the kind does not allow.
    #[error("the value holds characters beyond ASCII")]
    Ascii,
    /// A basic pair without a colon.
    #[error("the value of a basic credential is `user:password`")]
    Colon,
    /// A character that ends a cookie, or that servers interpret differently.
    #[error("the value holds a sign that no cookie may hold")]
    Cookie,
    /// Bytes that are not text.
    #[error("the value is not UTF-8")]
    Text,
}

/// Why a credential is refused for a reason other than its value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// The name of the credential or tenant.
    #[error("a name has 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_` and `-`, and begins with a letter or digit")]
    Name,
    /// The name of the environment variable.
    #[error("an environment variable has letters, digits and `_`, and does not begin with a digit")]
    Env,
    /// The placeholder's prefix.
    #[error("a placeholder's prefix has at most {MAX_PREFIX_BYTES} letters, digits, `.`, `_` and `-`")]
    Prefix,
    /// The header's name.
    #[error("the header name is not valid, or one that decides where a request goes or ends")]
    Header,
    /// The text before the value in a header.
    #[error("the prefix of a header value is not valid")]
    HeaderPrefix,
    /// A template and a prefix for one header value.
    #[error("use either --template or --header-prefix: a template contains the text before the secret itself")]
    TemplateAndPrefix,
    /// The template of a header value.
    #[error(
        "a template is at most {MAX_TEMPLATE_BYTES} printable characters with one {{}} for the secret, without a blank at either end"
    )]
    Template,
    /// The query parameter's name.
    #[error("the query parameter's name is empty, too long or holds control characters")]
    Query,
    /// The cookie's name.
    #[error("the cookie's name is not valid")]
    Cookie,
    /// An unknown kind.
    #[error("unknown kind {0:?}; expected one of {all}", all = Kind::names().collect::<Vec<_>>().join(", "))]
    UnknownKind(String),
    /// The kind has no such option.
    #[error("the kind {kind} does not take {option}")]
    UnknownOption {
        /// The kind.
        kind: &'static str,
        /// The unknown option.
        option: String,
    },
    /// A required option of the kind is missing.
    #[error("the kind {kind} needs {}: {}", option.flag, option.help)]
    MissingOption {
        /// The kind.
        kind: &'static str,
        /// The missing option.
        option: &'static KindOption,
    },
    /// A slot in bodies.
    #[error(
        "a slot in a body is a JSON pointer (`/client_secret`, RFC 6901) or a form field's name; at most {MAX_BODY_SLOTS}"
    )]
    BodySlot,
    /// How often a value may be substituted in one body.
    #[error("a value goes into one body 1 to {MAX_BODY_SWAPS} times")]
    BodySwaps,
    /// Additional locations.
    #[error(
        "a further location is `bearer`, `header:NAME`, `query:NAME` or `cookie:NAME`, each once and not the credential's own; at most {MAX_FURTHER_LOCATIONS}"
    )]
    Also,
    /// A credential without any location.
    #[error("the kind body needs a slot in a body: a JSON pointer or a form field")]
    NoSlot,
    /// The description.
    #[error("a description or an owner has at most {MAX_DESCRIPTION_BYTES} bytes without control characters")]
    Description,
    /// How long the previous version stays.
    #[error("a version stays for at most 30 days after the next was put")]
    Grace,
    /// Too many versions within their grace time.
    #[error("{MAX_VERSIONS} versions are still within their grace time; revoke one of them first")]
    Versions,
    /// The end is in the past.
    #[error("the credential would already have expired")]
    Expired,
    /// The audience.
    #[error(transparent)]
    Audience(#[from] AudienceError),
}

/// A credential to be put into a vault, besides its value.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name.
    pub id: CredentialId,
    /// Its properties.
    pub spec: CredentialSpec,
    /// How long the previous version is still redacted, and valid for exchanges that began with it.
    pub grace: Duration,
    /// Whether a guessable value is accepted.
    pub allow_weak: bool,
}

impl NewCredential {
    /// A credential of the default tenant.
    pub fn new(id: CredentialId, spec: CredentialSpec) -> Self {
        Self { tenant: TenantId::default(), id, spec, grace: DEFAULT_GRACE, allow_weak: false }
    }

    /// Judges everything except the value and the end.
    pub(crate) fn check_fields(&self) -> Result<(), CredentialError> {
        check_name(self.tenant.as_str())?;
        check_name(self.id.as_str())?;
        self.spec.check()?;
        if self.grace > MAX_GRACE { Err(CredentialError::Grace) } else { Ok(()) }
    }
}

/// One version of a credential, without its value. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CredentialShape(Arc<Shape>);

#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) spec: CredentialSpec,
    /// The fingerprint of the value.
    pub(crate) fingerprint: String,
    pub(crate) version: u32,
}

impl CredentialShape {
    pub(crate) fn new(shape: Shape) -> Self {
        Self(Arc::new(shape))
    }

    /// Its properties.
    pub fn spec(&self) -> &CredentialSpec {
        &self.0.spec
    }

    /// How it is attached to a request.
    pub fn kind(&self) -> &Kind {
        &self.0.spec.kind
    }

    /// Every kind of location in which its placeholder is substituted: its own first.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.0.spec.kinds()
    }

    /// The hosts it may be sent to.
    pub fn audience(&self) -> &Audience {
        &self.0.spec.audience
    }

    /// Whether it may be sent there; https only.
    pub fn covers(&self, destination: &Destination) -> bool {
        self.0.spec.audience.covers(destination)
    }

    /// The slots in bodies where its placeholder is substituted.
    pub fn body(&self) -> &BodySlots {
        &self.0.spec.body
    }

    /// Whether a rule that uses it attaches it to requests by itself; otherwise it only replaces its placeholder.
    pub fn is_added(&self) -> bool {
        self.0.spec.body.is_empty()
    }

    /// The environment variable that contains its placeholder.
    pub fn env(&self) -> Option<&str> {
        self.0.spec.env.as_deref()
    }

    /// The prefix of its placeholders.
    pub fn prefix(&self) -> Option<&str> {
        self.0.spec.prefix.as_deref()
    }

    /// Sixteen hex digits that distinguish this value from the tenant's others, and reveal nothing about it.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// The time from which it is no longer issued.
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.spec.expires
    }

    /// Whether it is past its end.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.0.spec.expires.is_some_and(|end| end <= now)
    }

    /// Its version; the first is 1.
    pub fn version(&self) -> u32 {
        self.0.version
    }
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, .. } => write!(f, "Header({name}: [REDACTED])"),
            Self::Query { name, .. } => write!(f, "Query({name}=[REDACTED])"),
            Self::Cookie { name, .. } => write!(f, "Cookie({name}=[REDACTED])"),
        }
    }
}

/// One wiped buffer of these parts, never moved while it is filled.
fn copy(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

pub(crate) fn check_name(name: &str) -> Result<(), CredentialError> {
    if spec::is_name(name) { Ok(()) } else { Err(CredentialError::Name) }
}

#[cfg(test)]
mod tests;
