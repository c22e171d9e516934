//! Policies, and the paths that each of them allows, decided without the code under test.

use std::sync::Arc;

use egret_policies::{PolicySource, Question, Rules, compile};
use model::{Destination, Host, RequestPath, Scheme, Timestamp};

use crate::models::Reached;

/// One policy.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    rules: Arc<Rules>,
    /// Of each rule that allows, the paths that it opens.
    opens: fn(&[u8]) -> bool,
    /// The paths that it keeps closed, in lower case.
    closes: fn(&[u8]) -> bool,
}

/// The text of the policy.
pub(crate) enum Answer {
    BadTarget,
    Allowed { readings: usize },
    Refused { ambiguous: bool },
}

/// In a path that was not decoded yet, an encoded slash.
const KEPT: u8 = 1;

fn within(path: &[u8], folder: &[u8]) -> bool {
    path.starts_with(folder)
}

fn one_segment(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| !rest.contains(&b'/'))
}

fn nothing(_: &[u8]) -> bool {
    false
}

fn admin(path: &[u8]) -> bool {
    path == b"/admin" || within(path, b"/admin/")
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, text: &str, opens, closes| {
        let text = format!("policy: p\nrules:\n{text}");
        let set = compile(&[PolicySource { name: "p.yaml".to_owned(), text }]).unwrap();
        Case { name, rules: set.rules_for_policies(&["p".into()]).unwrap(), opens, closes }
    };
    vec![
        case(
            "a folder",
            "  - {id: a, allow: {host: a.example, path: /repos/acme/**}}\n",
            |path| within(path, b"/repos/acme/"),
            nothing,
        ),
        case(
            "one segment",
            "  - {id: a, allow: {host: a.example, path: /v1/*}}\n",
            |path| one_segment(path, b"/v1/"),
            nothing,
        ),
        case(
            "an encoded slash",
            "  - {id: a, allow: {host: a.example, path: \"/@acme%2f*\"}}\n",
            |path| one_segment(path, b"/@acme/") || one_segment(path, b"/@acme\x01"),
            nothing,
        ),
        case(
            "names with their readings",
            "  - {id: a, allow: {host: a.example, path: [/files, \"/files*\", /files/**]}}\n",
            |path| one_segment(path, b"/files") || within(path, b"/files/"),
            nothing,
        ),
        case(
            "every path but one",
            "  - {id: a, allow: {host: a.example, path: /**}}\n  - {id: d, deny: {host: a.example, path: [/admin, /admin/**]}}\n",
            |path| within(path, b"/"),
            admin,
        ),
        case(
            "the host but one path",
            "  - {id: a, allow: {host: a.example}}\n  - {id: d, deny: {host: a.example, path: [/admin, /admin/**]}}\n",
            |_| true,
            admin,
        ),
        case(
            "a segment within folders",
            "  - {id: a, allow: {host: a.example, path: \"/repos/*/**\"}}\n  - {id: d, deny: {host: a.example, path: [/repos/evil/**, /repos/evil]}}\n",
            |path| path.strip_prefix(b"/repos/").is_some_and(|rest| rest.contains(&b'/')),
            |path| path == b"/repos/evil" || within(path, b"/repos/evil/"),
        ),
    ]
}

impl Case {
    pub(crate) fn judge(&self, target: &str) -> Answer {
        let Ok(path) = RequestPath::parse(target) else { return Answer::BadTarget };
        let destination = Destination::new(Scheme::Https, Host::parse("a.example").unwrap(), 443);
        let question = Question {
            destination: &destination,
            method: "GET",
            path: &path,
            websocket: false,
            tool: None,
            now: Timestamp::UNIX_EPOCH,
        };
        match self.rules.authorize(&question) {
            Ok(_) => Answer::Allowed { readings: path.readings().len() },
            Err(denied) => Answer::Refused { ambiguous: denied.class == Some("ambiguous") },
        }
    }

    /// Whether the rules let a server go there.
    pub(crate) fn permits(&self, reached: &Reached) -> bool {
        let path = if reached.decoded { reached.path.clone() } else { plain(&reached.path) };
        (self.opens)(&path) && !(self.closes)(&path.to_ascii_lowercase())
    }

    /// Whether a reader that changes nothing sees a path that is open.
    pub(crate) fn seems_fine(&self, target: &str) -> bool {
        let path = target.split('?').next().unwrap().as_bytes().to_vec();
        self.permits(&Reached { path, decoded: false })
    }
}

/// A path that was not decoded, with one spelling of each character; an encoded slash stays one.
fn plain(path: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(path).into_owned();
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let value = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value.filter(|_| byte == b'%') {
            Some(value) => {
                out.push(if value == b'/' { KEPT } else { value });
                rest = &tail[2..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}
