//! Who is asking: sessions, their tokens, grants and placeholders.
//!
//! Nothing here knows HTTP, policies or secrets. Tokens and placeholders rest as SHA-256 digests
//! only; whoever reads the folder can end no session and speak for none.

mod error;
mod file;
mod registry;
mod session;
mod token;
mod tool_call;

pub use error::{Invalid, SessionError, Why};
pub use registry::{Created, Ending, GrantRequest, NewSession, Offered, PlaceholderOwner, Registry};
pub use session::{Grant, Session, State};
pub use token::{PLACEHOLDER_LETTERS, PLACEHOLDER_MARK, find_marks};
pub use tool_call::{MAX_OPEN_CALLS, ToolCall};
