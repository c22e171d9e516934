//! Recorded requests, judged by the rules of a candidate.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::{CredentialId, Destination, RequestPath, Timestamp};
use serde_json::{Value, json};

use crate::decide::{ConnectQuery, Passage};
use crate::denied::Denied;
use crate::observation::Observation;
use crate::permit::Permit;
use crate::question::Question;
use crate::rules::Rules;
use crate::verdict::Verdict;

/// The answers of a candidate to recorded requests.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// How many were judged.
    pub judged: usize,
    /// How many records name no request, such as those of refused CONNECTs.
    pub skipped: usize,
    /// How many were refused by something else than policies: a limit, a quota, a placeholder, a failure.
    pub refused_otherwise: usize,
    /// What would be otherwise, most frequent first.
    pub changed: Vec<ChangedVerdict>,
}

/// Recorded requests that the candidate answers otherwise, all in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedVerdict {
    /// What was decided.
    pub before: Verdict,
    /// The code of what was decided, where it has one.
    pub code: Option<String>,
    /// The answer of the candidate.
    pub after: Verdict,
    /// The request, with the names of query parameters.
    pub request: String,
    /// The rule or code of the candidate's answer.
    pub why: String,
    /// The credentials that went with it.
    pub credentials_before: Vec<CredentialId>,
    /// Those that the candidate would add; empty where it refuses.
    pub credentials_after: Vec<CredentialId>,
    /// Whether values of the query, which no record keeps, could change the answer.
    pub depends_on_query: bool,
    /// How many requests.
    pub count: usize,
    /// The id of one record.
    pub record: String,
}

/// Judges what was recorded by a candidate, as if it were asked now.
pub fn replay(observations: &[Observation], candidate: &Arc<Rules>, now: Timestamp) -> Replay {
    let mut found = Replay::default();
    let mut changed: BTreeMap<String, ChangedVerdict> = BTreeMap::new();
    for one in observations {
        if one.is_refused_otherwise() {
            found.refused_otherwise += 1;
            continue;
        }
        let Some((answer, depends_on_query)) =
            Some(one).filter(|one| one.is_whole()).and_then(|one| judge(one, candidate, now))
        else {
            found.skipped += 1;
            continue;
        };
        found.judged += 1;
        let after = Verdict::of(&answer);
        let credentials_after = credentials(&answer);
        // Where a credential was swapped in or the session had none, the rule's own are no change.
        let lost = one.credentials.iter().any(|own| !credentials_after.contains(own));
        if after == one.verdict && !(after == Verdict::Allow && lost) {
            continue;
        }
        let change = ChangedVerdict {
            before: one.verdict,
            code: one.code.clone(),
            after,
            request: request_of(one),
            why: why(&answer),
            credentials_before: one.credentials.clone(),
            credentials_after,
            depends_on_query,
            count: 0,
            record: one.record.clone(),
        };
        let key = format!("{:?}", (change.before, &change.code, change.after, &change.request, &change.why));
        let group = changed.entry(key).or_insert(change);
        group.count += 1;
        let new = one.credentials.iter().filter(|own| !group.credentials_before.contains(own));
        let new: Vec<_> = new.cloned().collect();
        group.credentials_before.extend(new);
    }
    found.changed = changed.into_values().collect();
    found.changed.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.request.cmp(&b.request)));
    found
}

pub(crate) fn judge(one: &Observation, rules: &Arc<Rules>, now: Timestamp) -> Option<(Result<Permit, Denied>, bool)> {
    let passage = match rules.decide_over(one.scheme, &ConnectQuery { host: &one.host, port: one.port, now }) {
        Err(denied) => return Some((Err(denied), false)),
        Ok(Passage::Tunnel(permit)) => return Some((Ok(permit), false)),
        Ok(passage) => passage,
    };
    let (Some(method), Some(recorded)) = (&one.method, &one.path) else {
        // What was not read must be read now: it is not known which requests were in it.
        drop(passage);
        return Some((Err(Denied::unmatched(model::Reason::ProtocolNotAllowed)), false));
    };
    let path = match recorded.as_str() {
        "*" => RequestPath::asterisk(),
        _ => RequestPath::parse(recorded).ok()?,
    };
    let destination = Destination::new(one.scheme, one.host.clone(), one.port);
    let question =
        Question { destination: &destination, method, path: &path, websocket: false, tool: one.tool.as_deref(), now };
    // Records keep the names of a query and leave its values out: the methods that it asked for are not known either.
    let asks_for_method = || path.query().is_some_and(|query| !model::method_overrides(query).is_empty());
    let depends = recorded.contains('?') && (rules.judges_query_at(&one.host) || asks_for_method());
    Some((rules.authorize(&question), depends))
}

fn credentials(answer: &Result<Permit, Denied>) -> Vec<CredentialId> {
    answer.as_ref().map(|permit| permit.credentials().to_vec()).unwrap_or_default()
}

fn request_of(one: &Observation) -> String {
    match (&one.method, &one.path) {
        (Some(method), Some(path)) => format!("{method} {}://{}:{}{path}", one.scheme.as_str(), one.host, one.port),
        (_, _) => format!("CONNECT {}:{}", one.host, one.port),
    }
}

fn why(answer: &Result<Permit, Denied>) -> String {
    match answer {
        Ok(permit) => {
            permit.rule().map_or_else(|| "no rule; a policy observes".to_owned(), |rule| format!("rule {rule}"))
        }
        Err(Denied { reason, rule: Some(rule), .. }) => format!("rule {rule} ({reason})"),
        Err(denied) => format!("no rule allows it ({})", denied.reason),
    }
}

impl Replay {
    /// Whether something that passed would be refused, or would lose a credential.
    pub fn narrows(&self) -> bool {
        let passes = |verdict: Verdict| matches!(verdict, Verdict::Allow | Verdict::Observe);
        self.changed.iter().filter(|change| passes(change.before)).any(|change| {
            let lost = change.credentials_before.iter().any(|own| !change.credentials_after.contains(own));
            !passes(change.after) || lost
        })
    }

    /// The same as JSON: `judged`, `skipped`, and `flips` with the fields of [`ChangedVerdict`].
    pub fn to_json(&self) -> Value {
        let names = |all: &[CredentialId]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let change = |change: &ChangedVerdict| {
            json!({
                "before": change.before.as_str(),
                "code": change.code,
                "after": change.after.as_str(),
                "request": change.request,
                "why": change.why,
                "credentials_before": names(&change.credentials_before),
                "credentials_after": names(&change.credentials_after),
                "depends_on_query": change.depends_on_query,
                "count": change.count,
                "record": change.record,
            })
        };
        json!({
            "judged": self.judged,
            "skipped": self.skipped,
            "refused_otherwise": self.refused_otherwise,
            "flips": self.changed.iter().map(change).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What would be taken away first, then what would be opened.
        let mut changed: Vec<&ChangedVerdict> = self.changed.iter().collect();
        changed.sort_by_key(|change| match change.after {
            Verdict::Deny => 0,
            Verdict::Ask => 1,
            Verdict::Observe => 2,
            Verdict::Allow => 3,
        });
        for change in changed {
            let ChangedVerdict { before, after, request, why, count, record, .. } = change;
            let code = change.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            writeln!(f, "{}{code} -> {}  {count} x {request}", before.as_str(), after.as_str())?;
            writeln!(f, "    now {why}; such as record {record}")?;
            let lost: Vec<String> = change
                .credentials_before
                .iter()
                .filter(|own| !change.credentials_after.contains(own))
                .map(ToString::to_string)
                .collect();
            if !lost.is_empty() {
                writeln!(f, "    without the credentials {}", lost.join(", "))?;
            }
            if change.depends_on_query {
                writeln!(f, "    a rule limits the query, whose values no record keeps: the answer may differ")?;
            }
        }
        let changed: usize = self.changed.iter().map(|change| change.count).sum();
        write!(f, "{changed} of {} recorded requests would be answered otherwise", self.judged)?;
        if self.skipped > 0 {
            write!(f, "; {} records name no request and were left out", self.skipped)?;
        }
        if self.refused_otherwise > 0 {
            let count = self.refused_otherwise;
            write!(
                f,
                "; {count} were refused by something other than policies (limits, quotas, ..) and were left out"
            )?;
        }
        Ok(())
    }
}
