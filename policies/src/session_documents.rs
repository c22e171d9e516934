//! The documents that one session brings: a namespace of that session.
//!
//! They are compiled apart, never together with the files of the sidecar or with the documents of another session. Their
//! policies are named `session:NAME` in rules, records and explanations; the name of a file cannot contain `:`, so a
//! document can neither take the name of a file nor be mistaken for one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{AddressClass, PolicyName, SnapshotDigest};

use crate::auth_mode::AuthMode;
use crate::combine::PolicySet;
use crate::combine_error::CombineError;
use crate::compile::{PolicySource, compile_all, has_errors};
use crate::digest::{digest, digest_of};
use crate::document::{Document, Match, Mode, OneOrMany, RuleEntry, Scalar, Spanned, place};
use crate::policy::Policy;
use crate::problem::{Place, Problem, Reporter, code};
use crate::rules::Rules;
use crate::selector::Subject;

/// The part of a name that marks the policy of a session's own document.
const PREFIX: &str = "session:";

/// How many documents a session may bring.
pub const MAX_SESSION_DOCUMENTS: usize = 16;

/// How many bytes the documents of one session may have together.
pub const MAX_SESSION_DOCUMENT_BYTES: usize = 512 * 1024;

/// How many rules the documents of one session may have together.
pub const MAX_SESSION_RULES: usize = 5_000;

/// How many entries the documents of one session may have in the index: for each rule its hosts (sets counted with all
/// their hosts), multiplied by its paths and by its ports.
pub const MAX_SESSION_ENTRIES: usize = 50_000;

/// The longest file name of a document, in bytes.
const MAX_FILE_NAME_BYTES: usize = 256;

/// The compiled documents of one session. Immutable; sessions that bring the same texts may share one value.
#[derive(Debug)]
pub struct SessionDocuments {
    digest: SnapshotDigest,
    policies: Vec<Policy>,
    bytes: usize,
}

impl SessionDocuments {
    /// Compiles the documents of one session, apart from everything else. A text that is there twice counts once.
    ///
    /// # Errors
    /// Every problem found, by document and line: what keeps a file from being used, what only an operator may write,
    /// and documents that exceed a bound.
    pub fn compile(sources: &[PolicySource]) -> Result<Self, Vec<Problem>> {
        let sources = distinct(sources);
        check_bounds(&sources)?;
        let mut entries = 0;
        let (compiled, mut problems) =
            compile_all(&sources, |document, reporter| report_operator_only(document, &mut entries, reporter));
        problems.extend(check_sizes(&compiled));
        if has_errors(&problems) {
            return Err(problems);
        }
        let digest =
            digest(compiled.iter().map(|(policy, source)| (policy.name.clone(), source.text.as_str())).collect());
        let bytes = sources.iter().map(|source| source.text.len()).sum();
        let policies = compiled.into_iter().map(|(policy, _)| own(policy)).collect();
        Ok(Self { digest, policies, bytes })
    }

    /// The digest of the names and texts of the documents; their order does not matter.
    pub fn digest(&self) -> &SnapshotDigest {
        &self.digest
    }

    /// The names of the policies as the documents have them, sorted.
    pub fn names(&self) -> Vec<PolicyName> {
        let bare = |name: &PolicyName| PolicyName::new(name.as_str().strip_prefix(PREFIX).unwrap_or(name.as_str()));
        let mut names: Vec<_> = self.policies.iter().map(|policy| bare(&policy.name)).collect();
        names.sort_unstable();
        names
    }

    /// The bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of rules.
    pub fn rules(&self) -> usize {
        self.policies.iter().map(|policy| policy.rules.len()).sum()
    }

    pub(crate) fn policies(&self) -> &[Policy] {
        &self.policies
    }
}

impl PolicySet {
    /// The same together with the documents that the session brought. Not kept: see [`crate::InForce`].
    ///
    /// # Errors
    /// As [`PolicySet::rules_for_session`].
    pub fn rules_with(&self, subject: &Subject<'_>, own: &SessionDocuments) -> Result<Rules, CombineError> {
        self.composed(subject, own.policies(), view_digest(self.digest(), own.digest()))
    }
}

/// The digest of what judges a session that brought documents: of the snapshot and of the documents.
fn view_digest(snapshot: &SnapshotDigest, own: &SnapshotDigest) -> SnapshotDigest {
    digest_of(["egret session view", snapshot.as_str(), own.as_str()])
}

/// The name under which rules, records and explanations show the policy of a session's own document.
pub fn name_in_session(name: &PolicyName) -> String {
    format!("{PREFIX}{name}")
}

/// The policy under the name that only a session's own document has.
fn own(mut policy: Policy) -> Policy {
    policy.name = PolicyName::new(name_in_session(&policy.name));
    for rule in &mut policy.rules {
        let rule = Arc::make_mut(rule);
        rule.policy = policy.name.clone();
        rule.of_session = true;
    }
    policy
}

fn distinct(sources: &[PolicySource]) -> Vec<PolicySource> {
    let mut distinct: Vec<PolicySource> = Vec::new();
    for source in sources {
        if distinct.iter().all(|other| other.text != source.text) {
            distinct.push(source.clone());
        }
    }
    distinct
}

/// Checks before anything is parsed.
fn check_bounds(sources: &[PolicySource]) -> Result<(), Vec<Problem>> {
    let problem = |file: &str, message: String, help: String| {
        let reporter = Reporter::new(file, "");
        Err(vec![reporter.problem(code::BUDGET, Place::default(), message, Some(help))])
    };
    if sources.len() > MAX_SESSION_DOCUMENTS {
        let message = format!("the session brings {} documents, more than {MAX_SESSION_DOCUMENTS}", sources.len());
        return problem("documents", message, "merge them, or configure them as files".to_owned());
    }
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    if bytes > MAX_SESSION_DOCUMENT_BYTES {
        let message = format!("the session's documents have {bytes} bytes, more than {MAX_SESSION_DOCUMENT_BYTES}");
        return problem("documents", message, "configure them as files".to_owned());
    }
    let printable =
        |name: &str| !name.is_empty() && name.len() <= MAX_FILE_NAME_BYTES && !name.chars().any(char::is_control);
    if sources.iter().any(|source| !printable(&source.name)) {
        let message = "a document's name is empty, too long, or contains a control character".to_owned();
        return problem("documents", message, format!("use 1 to {MAX_FILE_NAME_BYTES} printable bytes"));
    }
    Ok(())
}

/// Checks what the documents hold together.
fn check_sizes(compiled: &[(Policy, &PolicySource)]) -> Option<Problem> {
    let rules: usize = compiled.iter().map(|(policy, _)| policy.rules.len()).sum();
    let (last, _) = compiled.last()?;
    let reporter = Reporter::new(&last.file, "");
    (rules > MAX_SESSION_RULES).then(|| {
        let message = format!("the session's documents have {rules} rules, more than {MAX_SESSION_RULES}");
        reporter.problem(code::BUDGET, Place::default(), message, Some("configure them as files".to_owned()))
    })
}

/// Reports what a document of a session may not carry, because it would reach beyond the session or loosen what an
/// operator decides. The only place where this is judged; it runs before the document is compiled. Returns whether the
/// document may be compiled: one with which `entries`, the sum so far, exceeds its bound is not.
fn report_operator_only(document: &Document, entries: &mut usize, reporter: &mut Reporter<'_>) -> bool {
    let observe = document.mode.as_ref().filter(|mode| mode.value == Mode::Observe);
    let keys = [
        ("applies_to", document.applies_to.as_ref().map(place), "it governs its own session and no other"),
        ("ceiling", document.ceiling.as_ref().map(place), "it grants or denies for its own session only"),
        ("mode: observe", observe.map(place), "it always enforces"),
    ];
    for (key, at, instead) in keys.into_iter().filter_map(|(key, at, instead)| Some((key, at?, instead))) {
        let message = format!("a session's own document cannot have `{key}`");
        reporter.error(code::SESSION_DOCUMENT, at, message, format!("remove it: {instead}"));
    }
    for rule in &document.rules {
        report_addresses(rule, reporter);
        report_client_auth(rule, reporter);
    }
    *entries = entries.saturating_add(count_entries(document));
    if *entries > MAX_SESSION_ENTRIES {
        let message = format!(
            "the session's rules expand to {entries} combinations of host, path and port, more than {MAX_SESSION_ENTRIES}"
        );
        reporter.error(code::BUDGET, place(&document.policy), message, "name fewer hosts, paths or ports in a rule");
    }
    *entries <= MAX_SESSION_ENTRIES
}

/// Only an operator opens a way into private networks or to a metadata service.
fn report_addresses(rule: &RuleEntry, reporter: &mut Reporter<'_>) {
    for (item, at) in rule.addresses.iter().flat_map(OneOrMany::items) {
        let Scalar::Text(text) = item else { continue };
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        // Text that is not a range is reported by the compiler.
        if let Ok(net) = net
            && !AddressClass::is_global_range(net.network(), net.broadcast())
        {
            let message = format!("a session's own document cannot open {net}: not all of it is globally routable");
            let help = "remove it, or ask the operator for a policy file with this range";
            reporter.error(code::SESSION_DOCUMENT, at, message, help);
        }
    }
}

/// A session cannot let more of its own keys pass. (A stricter mode is fine, and `Rule::of_session`
/// keeps the mode that the host has without it.)
fn report_client_auth(rule: &RuleEntry, reporter: &mut Reporter<'_>) {
    let Some(entry) = &rule.client_auth else { return };
    let allows = entry.value.default.as_ref().filter(|mode| mode.value.0 == AuthMode::Allow);
    let keys = [("client_auth: allow", allows.map(place)), ("client_auth.pass", entry.value.pass.as_ref().map(place))];
    for (key, at) in keys.into_iter().filter_map(|(key, at)| Some((key, at?))) {
        let message = format!("a session's own document cannot have `{key}`");
        reporter.error(code::SESSION_DOCUMENT, at, message, "write `strip` or `refuse`, or remove it");
    }
}

/// Counts what the rules expand to before they are expanded: a set of hosts multiplies with each rule that names it.
fn count_entries(document: &Document) -> usize {
    let set_sizes: HashMap<&str, usize> =
        document.hosts.0.iter().map(|(name, hosts)| (name.value.as_str(), length(hosts))).collect();
    let size = |item: &Scalar| match item {
        Scalar::Text(text) => text.strip_prefix('@').map_or(1, |set| set_sizes.get(set).copied().unwrap_or_default()),
        Scalar::Number(_) | Scalar::Other(_) => 1,
    };
    let hosts = |list| OneOrMany::items(list).into_iter().map(|(item, _)| size(item)).fold(0, usize::saturating_add);
    let times = |list: &Option<Spanned<OneOrMany>>| list.as_ref().map_or(1, length).max(1);
    let matches = document.rules.iter().flat_map(|rule| [&rule.allow, &rule.ask, &rule.deny]).flatten();
    let entries = matches.map(|matched| {
        let Match { host, path, port, .. } = &matched.value;
        hosts(host).saturating_mul(times(path)).saturating_mul(times(port))
    });
    entries.fold(0, usize::saturating_add)
}

fn length(list: &Spanned<OneOrMany>) -> usize {
    match &list.value {
        OneOrMany::One(_) => 1,
        OneOrMany::Many(items) => items.len(),
    }
}
