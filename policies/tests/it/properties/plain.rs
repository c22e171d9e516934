//! The language read plainly: rule by rule, without an index, with matchers that try every way.

use std::cmp::Reverse;

use model::{AddressClass, Host, PathReading, RequestPath, Scheme};

use super::spec::{Asked, Effect, File, Kind, SETS, Spec};

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow(String),
    Observe,
    Ask(String),
    Deny,
}

impl Verdict {
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Allow(_) | Self::Observe)
    }
}

/// What all these policies together say, the ceilings over all the others.
pub(super) fn verdict(files: &[File], asked: &Asked) -> Verdict {
    let (ceilings, own): (Vec<&File>, Vec<&File>) = files.iter().partition(|file| file.kind == Kind::Ceiling);
    let enforcing = own.iter().any(|file| file.kind == Kind::Enforce);
    let speaking: Vec<&File> = own.into_iter().filter(|file| !enforcing || file.kind == Kind::Enforce).collect();
    let in_force = speaking.iter().chain(&ceilings).flat_map(|file| &file.specs);
    let path = RequestPath::parse(asked.path).unwrap();
    let readings: Vec<&str> = path.readings().map(PathReading::text).collect();
    let denies =
        |spec: &Spec| spec.effect == Effect::Deny && readings.iter().any(|path| covers(spec, None, asked, path));
    if in_force.into_iter().any(denies) {
        return Verdict::Deny;
    }
    let about_paths = |spec: &Spec, ends: Option<i64>| {
        !spec.paths.is_empty() && in_force_at(spec, ends, asked) && names_host(spec, asked)
    };
    let denied_paths = speaking.iter().chain(&ceilings).flat_map(|file| &file.specs);
    let denied_paths = path.is_ambiguous()
        && denied_paths.into_iter().any(|spec| spec.effect == Effect::Deny && about_paths(spec, None));
    // A path that parsers read in more ways than can be listed is covered by no layer with a path.
    let granted = |files: &[&File]| {
        let own = files.iter().any(|file| {
            let grants = |spec: &&Spec| spec.effect != Effect::Deny;
            file.specs.iter().filter(grants).any(|spec| about_paths(spec, file.until))
        });
        if denied_paths || (path.is_ambiguous() && own) { Verdict::Deny } else { granted(files, asked, &readings) }
    };
    let observes = !enforcing && speaking.iter().any(|file| file.until.is_some_and(|until| asked.now < until));
    let address = Host::parse(asked.host).unwrap().address();
    let special = address.is_some_and(|address| AddressClass::of(address) != AddressClass::Global);
    let own = match granted(&speaking) {
        Verdict::Ask(_) | Verdict::Deny if observes && !special && !denied_paths => Verdict::Observe,
        verdict @ (Verdict::Allow(_) | Verdict::Observe | Verdict::Ask(_) | Verdict::Deny) => verdict,
    };
    if own == Verdict::Deny {
        return own;
    }
    // A ceiling that refuses counts before one that asks, and that before nothing but what the session's own rule asks.
    let mut over: Vec<_> = ceilings.iter().map(|file| (&file.name, granted(&[file]))).collect();
    over.sort_by_key(|(name, _)| *name);
    let over: Vec<Verdict> = over.into_iter().map(|(_, verdict)| verdict).collect();
    if over.contains(&Verdict::Deny) {
        return Verdict::Deny;
    }
    let asks = |verdict: &Verdict| matches!(verdict, Verdict::Ask(_));
    if asks(&own) { own } else { over.into_iter().find(asks).unwrap_or(own) }
}

/// What some policies grant, whatever they deny.
fn granted(files: &[&File], asked: &Asked, readings: &[&str]) -> Verdict {
    let best = |effect: Effect, path: &str| {
        let all = files.iter().flat_map(|file| file.specs.iter().map(move |spec| (spec, file)));
        all.filter(|(spec, file)| spec.effect == effect && covers(spec, file.until, asked, path))
            .max_by_key(|(spec, file)| (rank(spec, asked, path), Reverse((&file.name, &spec.id))))
            .map(|(spec, _)| spec.id.clone())
    };
    let effects = [Effect::Ask, Effect::Allow];
    let winner = |path: &&str| effects.iter().find_map(|effect| best(*effect, path).map(|id| (*effect, id)));
    let winners: Vec<_> = readings.iter().map(winner).collect();
    match &winners[0] {
        Some(first) if winners.iter().all(|winner| winner.as_ref() == Some(first)) => match first {
            (Effect::Ask, id) => Verdict::Ask(id.clone()),
            (Effect::Allow | Effect::Deny, id) => Verdict::Allow(id.clone()),
        },
        _ => Verdict::Deny,
    }
}

/// Whether the rule is about the request, in one reading of its path.
fn covers(spec: &Spec, policy_ends: Option<i64>, asked: &Asked, path: &str) -> bool {
    let deny = spec.effect == Effect::Deny;
    let allow = spec.effect == Effect::Allow;
    let granted_scheme = spec.scheme.unwrap_or(Scheme::Https);
    let scheme = deny && spec.scheme.is_none() || granted_scheme == asked.scheme;
    let port = match spec.ports.as_slice() {
        [] => deny || asked.port == granted_scheme.default_port(),
        ports => ports.contains(&asked.port),
    };
    let method = match spec.methods.as_slice() {
        [] => deny || asked.method != "TRACE",
        methods => methods.contains(&asked.method),
    };
    let tool = match (spec.tools.as_slice(), asked.tool) {
        ([], _) => true,
        (_, None) => !allow,
        (tools, Some(tool)) => tools.iter().any(|pattern| text_matches(pattern, tool)),
    };
    let upgrade = spec.websocket == asked.websocket || deny && !spec.websocket;
    let in_force = in_force_at(spec, policy_ends, asked);
    scheme
        && port
        && method
        && tool
        && upgrade
        && in_force
        && names_host(spec, asked)
        && (spec.paths.is_empty() || spec.paths.iter().any(|pattern| names_path(deny, pattern, path)))
        && spec.query.iter().all(|(name, values)| query_matches(asked.query, name, values, allow))
}

fn in_force_at(spec: &Spec, policy_ends: Option<i64>, asked: &Asked) -> bool {
    [spec.until, policy_ends].into_iter().flatten().all(|until| asked.now < until)
}

fn names_host(spec: &Spec, asked: &Asked) -> bool {
    patterns(spec).iter().any(|pattern| host_matches(pattern, asked.host))
}

/// How exactly the rule names the request; greater wins.
fn rank(spec: &Spec, asked: &Asked, path: &str) -> impl Ord + use<> {
    let exactness = |pattern: &str| (!pattern.contains('*'), pattern.split('.').count(), !pattern.starts_with("**"));
    let patterns = patterns(spec);
    let hosts = patterns.iter().filter(|pattern| host_matches(pattern, asked.host));
    let host = hosts.map(|pattern| exactness(pattern)).max();
    let exactness = |pattern: &str| {
        let literals = pattern.chars().filter(|c| *c != '*').count();
        (!pattern.contains('*'), pattern.find('*').unwrap_or(pattern.len()), literals)
    };
    let paths = spec.paths.iter().filter(|pattern| path_matches(pattern, path));
    let path = paths.map(|pattern| exactness(pattern)).max();
    let methods = if spec.methods.is_empty() { usize::MAX } else { spec.methods.len() };
    let tail = (Reverse(methods), Reverse(spec.ports.len().max(1)));
    (host, path, !spec.tools.is_empty(), spec.websocket, spec.query.len(), tail)
}

/// The host patterns of a rule, sets written out.
fn patterns(spec: &Spec) -> Vec<&'static str> {
    let resolved = spec.hosts.iter().map(|host| match host.strip_prefix('@') {
        Some(name) => SETS.iter().find(|(set, _)| *set == name).unwrap().1.to_vec(),
        None => vec![*host],
    });
    resolved.flatten().collect()
}

/// Label by label, from the right.
pub(super) fn host_matches(pattern: &str, host: &str) -> bool {
    if pattern == "**" || pattern == host {
        return true;
    }
    let is_address = host.starts_with('[') || host.split('.').all(|label| label.parse::<u8>().is_ok());
    let (first, fixed) = pattern.split_once('.').unwrap_or((pattern, ""));
    let (labels, fixed): (Vec<&str>, Vec<&str>) = (host.split('.').collect(), fixed.split('.').collect());
    let extra = labels.len().saturating_sub(fixed.len());
    !is_address
        && labels.ends_with(&fixed)
        && match first {
            "*" => extra == 1,
            "**" => extra >= 1,
            _ => false,
        }
}

/// A deny ignores case.
fn names_path(deny: bool, pattern: &str, path: &str) -> bool {
    if deny {
        path_matches(&pattern.to_ascii_lowercase(), &path.to_ascii_lowercase())
    } else {
        path_matches(pattern, path)
    }
}

pub(super) fn path_matches(pattern: &str, path: &str) -> bool {
    names(pattern.as_bytes(), path.as_bytes())
}

/// The wildcards read plainly, sign by sign: every way to place them is tried.
fn names(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        (b"/**", _) => path.starts_with(b"/"),
        ([b'/', b'*', b'*', rest @ ..], [b'/', ..]) => {
            (0..path.len()).any(|at| path[at] == b'/' && names(rest, &path[at..]))
        }
        ([b'*', rest @ ..], [] | [b'/', ..]) => names(rest, path),
        ([b'*', rest @ ..], [_, after @ ..]) => names(rest, path) || names(pattern, after),
        ([sign, rest @ ..], [byte, after @ ..]) => sign == byte && names(rest, after),
        ([], _) | (_, []) => pattern.len() == path.len(),
    }
}

/// A star matches any run of characters; every run is tried.
pub(super) fn text_matches(pattern: &str, text: &str) -> bool {
    fn any(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| any(rest, &text[at..])),
            ([sign, rest @ ..], [byte, after @ ..]) => sign == byte && any(rest, after),
            ([], _) | (_, []) => pattern.len() == text.len(),
        }
    }
    any(pattern.as_bytes(), text.as_bytes())
}

/// The form encoding as another crate reads it, with the name as written; and the reading of a server that decodes first,
/// again and again, splits at `;` too, and trims names or ignores their case.
pub(super) fn query_matches(query: Option<&str>, name: &str, values: &[&str], allow: bool) -> bool {
    let query = query.unwrap_or_default();
    let decode = |text: &str| {
        let pair = format!("x={}", text.replace('&', "%26").replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).next().unwrap()
    };
    let pair = |piece: &str| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        (name.to_owned(), value.to_owned())
    };
    let strict = query.split('&').map(pair).filter(|(own, _)| own == name);
    let strict: Vec<String> = strict.map(|(_, value)| decode(&value.replace('+', " "))).collect();
    let mut decoded = query.replace('+', " ");
    for _ in 0..query.len() {
        decoded = decode(&decoded);
    }
    let loose = decoded.split(['&', ';', '?']).map(pair);
    let loose = loose.filter(|(own, _)| own.trim().split(['[', '.']).next().unwrap().to_lowercase() == name);
    let loose: Vec<String> = loose.map(|(_, value)| value).collect();
    let fits = |value: &String| values.iter().any(|pattern| text_matches(pattern, value));
    match allow {
        true => [strict, loose].iter().all(|found| found.len() == 1 && found.iter().all(fits)),
        false => strict.iter().chain(&loose).any(fits),
    }
}
