//! The policy decision point: policy files in, verdicts out.
//!
//! Pure: no files, no sockets, no clock, no async. The same sources and the same question give the
//! same answer, always. A [`PolicySet`] is an immutable snapshot; [`Rules`] is what one session's
//! policies allow together; a [`Permit`] is the only proof that a request may go.

mod auth_mode;
mod authorize;
mod check;
mod checks;
mod client_auth;
mod codes;
mod combination_cache;
mod combinations;
mod combine;
mod combine_error;
mod compile;
mod conflict;
mod decide;
mod denied;
mod diff;
mod digest;
mod document;
mod explain;
mod export;
mod fmt;
mod granted;
mod import;
mod in_force;
mod index;
mod junit;
mod library;
mod lint;
mod misfits;
mod observation;
mod observers;
mod parse;
mod pattern;
mod permit;
mod policy;
mod problem;
mod propose;
mod query;
mod question;
pub mod render;
mod replay;
mod rollout;
mod rule;
mod rules;
mod schema;
mod selector;
mod session_documents;
mod suffix;
mod suite;
mod template;

pub use check::read_url;
pub use checks::{Actual, CheckResult};
pub use permit::Permit;
pub use question::Question;
pub use verdict::Verdict;
mod unenforced;
mod verdict;

pub use auth_mode::AuthMode;
pub use codes::{Story, explain_code, stories};
pub use combinations::{conflict_of, conflicting_pairs};
pub use combine::PolicySet;
pub use combine_error::{CombineError, RuleRef};
pub use compile::{PolicySource, compile, read_instant};
pub use decide::{ConnectQuery, Judgement, Passage};
pub use denied::Denied;
pub use diff::{Change, Diff, Kind, PolicyDiff, Sample, SetDiff, diff, diff_sets};
pub use explain::{
    CeilingReport, ClientAuthReport, ClosestRule, Decision, Explanation, Given, ObserverReport, OverriddenRule,
    ReadingReport, RulePlace,
};
pub use export::{Target, export};
pub use fmt::fmt;
pub use granted::{GrantState, Grants};
pub use import::{ImportError, Origin, SCHEMA_LINE, import};
pub use in_force::{InForce, Own, PublishError};
pub use junit::junit;
pub use library::{LibraryPolicy, library};
pub use lint::lint;
pub use misfits::{CredentialFacts, Misfit, Surroundings};
pub use observation::Observation;
pub use observers::WouldDeny;
pub use parse::suggest::distance as edit_distance;
pub use permit::ClientAuth;
pub use problem::{Problem, Severity};
pub use propose::{Level, ProposeOptions, propose};
pub use replay::{ChangedVerdict, Replay, replay};
pub use rollout::in_share;
pub use rule::{Limits, Rate, Timeouts};
pub use rules::{ReachLine, Rules};
pub use schema::schema;
pub use selector::Subject;
pub use session_documents::{
    MAX_SESSION_DOCUMENT_BYTES, MAX_SESSION_DOCUMENTS, MAX_SESSION_ENTRIES, MAX_SESSION_RULES, SessionDocuments,
    name_in_session,
};
pub use suite::{Coverage, coverage, run_suite};
pub use template::{Parameter, Template, TemplateError, template, templates};
