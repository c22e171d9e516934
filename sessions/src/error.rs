//! What can go wrong with sessions.

use std::path::PathBuf;

use model::SessionId;
use thiserror::Error;

/// Why a session could not be made, kept or ended.
#[derive(Debug, Error)]
pub enum SessionError {
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {path}")]
    File {
        /// What was tried: `read`, `write`, ...
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A field of a new session is not acceptable.
    #[error("{field} {why}")]
    Field {
        /// The field, as the control API calls it.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No further session fits.
    #[error("{0} sessions are open, which is the limit; end some first")]
    TooMany(usize),
    /// No session has this id.
    #[error("there is no session {0}")]
    NotFound(SessionId),
}

/// Why proxy credentials are not those of a live session. The client is told none of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No session has this id.
    Unknown,
    /// The token is not the session's.
    WrongToken,
    /// The token was taken back, and the session has no other one yet.
    VoidToken,
    /// The session was ended.
    Ended,
    /// The session's time is over.
    Expired,
}

/// Refused proxy credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the proxy credentials are not those of a running session")]
pub struct Invalid {
    /// For the record only.
    pub why: Why,
}

/// Why a credential is not lent to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It was never granted, or the grant was taken back.
    NotGranted,
    /// Requests with this method do not get it.
    Method,
    /// It is lent by the tool call, and which one the request belongs to is not known.
    NoToolCall,
    /// Its time is over.
    Expired,
    /// It went on as many requests as it may.
    Exhausted,
}

impl Withheld {
    /// The reason as one word, for clients and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotGranted => "not_granted",
            Self::Method => "grant_method",
            Self::NoToolCall => "grant_tool_call",
            Self::Expired => "grant_over",
            Self::Exhausted => "grant_spent",
        }
    }
}
