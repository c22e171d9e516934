//! What a change of policies grants and takes away: exact, found on the patterns and not by trying requests.
//!
//! Hosts, paths and everything else that a rule can limit are split into classes that no rule of either side
//! distinguishes. One request of each class goes through the very indexes and ranks of the data path on both sides. What
//! cannot be decided within bounds is reported, and counts as granting more.

mod addresses;
mod ceiling;
mod compare;
mod findings;
mod hosts;
mod identity;
mod outcome;
mod paths;
mod requests;
mod sets;
mod tell;
mod words;

use std::sync::Arc;

use model::{Host, Scheme, Timestamp};

use crate::explain::Decision;
use crate::rules::Rules;

pub use sets::{PolicyDiff, SetDiff, diff_sets};

/// What differs between the rules of before and those of after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    changes: Vec<Change>,
}

/// One change: of one kind, by one rule of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What kind of change.
    pub kind: Kind,
    /// Whether it grants more than before.
    pub wider: bool,
    /// What changes, in words.
    pub words: String,
    /// The credential, the addresses or the limit that it is about.
    pub detail: Option<String>,
    /// One request for which it is so; `None` where it is not about requests, or none was found.
    pub request: Option<Sample>,
    /// What that request got.
    pub old: Option<Decision>,
    /// What it gets now.
    pub new: Option<Decision>,
    /// When it begins, where that is later than the comparison.
    since: Option<Timestamp>,
    /// Whether it is about paths that servers read differently.
    ambiguous: bool,
}

/// What can change for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A rule allows what was refused.
    Reachable,
    /// It passes without a rule, because a policy observes.
    Observed,
    /// It passes without being read.
    Unread,
    /// A credential can be added.
    CredentialUsable,
    /// An approval is needed: wider if it was refused.
    Asked,
    /// No approval is needed any more: wider if it passes.
    Unasked,
    /// More addresses may be dialed.
    AddressesWidened,
    /// More may pass, or longer.
    LimitsLoosened,
    /// The client may act as someone else: a header is no longer set, or authentication of its own passes.
    IdentityLoosened,
    /// A ceiling is gone.
    CeilingDropped,
    /// A policy denies less, which counts beside others that allow.
    DenyDropped,
    /// A policy applies to other sessions.
    AppliesTo,
    /// It is not known whether more is granted, so it counts as if it were.
    Undecided,
    /// What passed is refused.
    Unreachable,
    /// What passed because a policy observes now passes by a rule.
    Unobserved,
    /// What passed unread is read.
    Read,
    /// A credential cannot be added any more.
    CredentialLost,
    /// Fewer addresses may be dialed.
    AddressesNarrowed,
    /// Less may pass, or shorter.
    LimitsTightened,
    /// A header is set, or authentication of the client no longer passes.
    IdentityTightened,
    /// A ceiling is new.
    CeilingAdded,
}

/// A request that shows a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Where it goes.
    pub host: Host,
    /// How it travels.
    pub scheme: Scheme,
    /// The port.
    pub port: u16,
    /// The method.
    pub method: String,
    /// The path with its query, or `*`.
    pub target: String,
    /// Whether it asks for a WebSocket.
    pub websocket: bool,
    /// The tool call that it belongs to.
    pub tool: Option<String>,
    /// When it is asked.
    pub at: Timestamp,
}

/// Something of before and the same of after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct BeforeAfter<T> {
    old: T,
    new: T,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

impl<T> BeforeAfter<T> {
    fn side(&self, side: Side) -> &T {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        }
    }
}

/// Compares the rules of two sessions from `now` on.
///
/// Exact for all requests: hosts, schemes, ports, methods, paths, queries, tools, upgrades, times, addresses,
/// credentials and limits. Where a path has two readings, a request that shows a change is looked for, and where
/// neither one is found nor the possibility is excluded, the change is [`Kind::Undecided`].
pub fn diff(old: &Arc<Rules>, new: &Arc<Rules>, now: Timestamp) -> Diff {
    let found = compare::compare(old, new, now);
    let mut changes: Vec<Change> =
        found.drafts.into_iter().map(|(key, draft)| tell::change(BeforeAfter { old, new }, now, &key, draft)).collect();
    changes.extend(found.undecided.into_iter().map(|words| {
        Change::without_request(Kind::Undecided, true, format!("cannot be decided, so it counts as wider: {words}"))
    }));
    changes.sort_by(|a, b| (!a.wider, a.kind, &a.words).cmp(&(!b.wider, b.kind, &b.words)));
    Diff { changes }
}

impl Diff {
    /// The changes, those that grant more first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether nothing that a request gets is changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether anything grants more than before, or could.
    pub fn is_wider(&self) -> bool {
        self.changes.iter().any(|change| change.wider)
    }
}

impl Change {
    fn without_request(kind: Kind, wider: bool, words: String) -> Self {
        Self { kind, wider, words, detail: None, request: None, old: None, new: None, since: None, ambiguous: false }
    }
}

impl Kind {
    /// The word for it in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Observed => "observed",
            Self::Unread => "unread",
            Self::CredentialUsable => "credential_usable",
            Self::Asked => "asked",
            Self::Unasked => "unasked",
            Self::AddressesWidened => "addresses_widened",
            Self::LimitsLoosened => "limits_loosened",
            Self::IdentityLoosened => "identity_loosened",
            Self::CeilingDropped => "ceiling_dropped",
            Self::DenyDropped => "deny_dropped",
            Self::AppliesTo => "applies_to",
            Self::Undecided => "undecided",
            Self::Unreachable => "unreachable",
            Self::Unobserved => "unobserved",
            Self::Read => "read",
            Self::CredentialLost => "credential_lost",
            Self::AddressesNarrowed => "addresses_narrowed",
            Self::LimitsTightened => "limits_tightened",
            Self::IdentityTightened => "identity_tightened",
            Self::CeilingAdded => "ceiling_added",
        }
    }
}
