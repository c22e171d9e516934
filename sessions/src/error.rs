//! What can go wrong with sessions.

use std::path::PathBuf;

use model::SessionId;
use thiserror::Error;

/// The longest path of a unix socket, in bytes: `sun_path` without its final NUL (unix(7)).
pub(crate) const MAX_PATH_BYTES: usize = 107;

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
    /// Its listener cannot be opened.
    #[error("the listener of the session cannot be opened")]
    Listener(#[source] ListenerError),
    /// No further session fits.
    #[error("{0} sessions are open, which is the limit; end some first")]
    TooMany(usize),
    /// No session has this id.
    #[error("there is no session {0}")]
    NotFound(SessionId),
}

/// Why a session has no listener.
#[derive(Debug, Error)]
pub enum ListenerError {
    /// As many sessions have one as may.
    #[error("the limit of {0} listeners is reached; end a session, or raise max_session_listeners")]
    TooMany(usize),
    /// The path does not fit into the address of a socket.
    #[error(
        "the path {0} is longer than the {MAX_PATH_BYTES} bytes of a unix socket; use a data folder with a shorter path"
    )]
    TooLong(PathBuf),
    /// The socket or its folder cannot be made.
    #[error("cannot listen on {path}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
}

/// Why proxy credentials are not those of a live session. The client sees none of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No session has this id.
    Unknown,
    /// The token is not the session's.
    WrongToken,
    /// The token was taken back, and the session has no other one yet.
    VoidToken,
    /// The session's listener is for the processes of another user.
    WrongPeer,
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
