//! The policy decision point: policy files in, verdicts out.
//!
//! Pure: no files, no sockets, no clock, no async. The same sources and the same question give the
//! same answer, always. A [`PolicySet`] is an immutable snapshot; [`Rules`] is what one session's
//! policies say together; a [`Permit`] is the only proof that a request may go.

mod authorize;
mod checks;
mod client_auth;
mod codes;
mod combinations;
mod combine;
mod compile;
mod conflict;
mod decide;
mod diff;
mod document;
mod explain;
mod export;
mod fmt;
mod import;
mod in_force;
mod index;
mod junit;
mod library;
mod lint;
mod misfits;
mod observation;
mod parse;
mod pattern;
mod problem;
mod propose;
mod query;
pub mod render;
mod replay;
mod rollout;
mod rule;
mod schema;
mod selector;
mod session_documents;
mod suffix;
mod suite;
mod template;

pub use authorize::{Permit, Question};
pub use checks::{Actual, CheckResult, Verdict, read_url};
pub use client_auth::{AuthMode, ClientAuth};
pub use codes::{Story, explain_code, stories};
pub use combinations::{conflict_of, conflicting_pairs};
pub use combine::{CombineError, Observed, PolicySet, ReachLine, RuleRef, Rules};
pub use compile::{PolicySource, compile, read_instant};
pub use decide::{Denied, Judgement, Knock, Passage};
pub use diff::{Change, Diff, Kind, PolicyDiff, Sample, SetDiff, diff, diff_sets};
pub use explain::{
    CeilingSaid, ClientAuthSaid, Explanation, Given, Lost, Nearest, ObserverSaid, ReadingSaid, RulePlace, Standing,
};
pub use export::{Target, export};
pub use fmt::fmt;
pub use import::{ImportError, Origin, SCHEMA_LINE, import};
pub use in_force::{InForce, Own, PublishError};
pub use junit::junit;
pub use library::{LibraryPolicy, library};
pub use lint::lint;
pub use misfits::{CredentialFacts, Misfit, Surroundings};
pub use observation::Observation;
pub use problem::{Problem, Severity};
pub use propose::{Level, ProposeOptions, propose};
pub use replay::{Flip, Replay, replay};
pub use rollout::in_share;
pub use rule::{Limits, Rate, Timeouts};
pub use schema::schema;
pub use selector::Subject;
pub use session_documents::{
    MAX_SESSION_DOCUMENT_BYTES, MAX_SESSION_DOCUMENTS, MAX_SESSION_ENTRIES, MAX_SESSION_RULES, SessionDocuments,
    name_in_session,
};
pub use suite::{Coverage, coverage, run_suite};
pub use template::{Parameter, Template, TemplateError, template, templates};
