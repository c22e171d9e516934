//! Who is asking: sessions, their tokens, grants and placeholders.
//!
//! No HTTP, policies or secrets. Tokens and placeholders are stored as SHA-256 digests
//! only; with a copy of the folder no one can end a session or use it.

mod budget;
mod cookies;
mod error;
mod file;
mod grant;
mod identity;
mod listener;
mod new_session;
mod registry;
mod session;
mod token;
mod tool_call;

pub use budget::{Budgets, Scope, Spend};
pub use error::{Invalid, ListenerError, SessionError, Why, Withheld};
pub use grant::{Bounds, Grant, GrantUse, Per};
pub use identity::{Identified, Means, Proof, UnixPeer};
pub use listener::{SessionListener, bind_unix};
pub use model::placeholder::{PLACEHOLDER_LETTERS, PLACEHOLDER_MARK, find_marks};
pub use new_session::{GrantRequest, NewSession};
pub use registry::{Created, Ending, Offered, PlaceholderOwner, Registry};
pub use session::{Channel, OwnDocuments, Session, State};
pub use tool_call::{CallSerial, MAX_OPEN_CALLS, ToolCall};
