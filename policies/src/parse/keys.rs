//! The keys of the language, in one table: what the decoder accepts, what it reports for other
//! values, and what editors show (`schema`).

use crate::document::{AuthModeName, Expect, Mode, SchemeName, TlsName, UpgradeName, Word};

/// The keys of one kind of mapping.
#[derive(Debug)]
pub(crate) struct Table {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    /// Where its keys belong, for messages.
    pub(crate) home: &'static str,
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    pub(crate) about: &'static str,
    /// A value as it may be written, in JSON, which is YAML too.
    pub(crate) example: &'static str,
}

/// The value of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Text(Form),
    Flag,
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// One of these words, or a mapping.
    WordOr(fn() -> Vec<&'static str>, &'static Table),
    /// A text or a number.
    Amount(Form),
    /// One value, or a list of them.
    Several(Form),
    /// Names that the author chooses, each with one value or a list of them.
    Named(Form, Form),
    Mapping(&'static Table),
    Entries(&'static Table),
}

/// How a single value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Free,
    PolicyName,
    Name,
    SetName,
    /// An instant or a day.
    End,
    Host,
    HostOrSet,
    Port,
    Method,
    Path,
    Parameter,
    /// The name of a header field.
    Header,
    /// What a header field holds.
    HeaderValue,
    Pattern,
    Address,
    Rate,
    Count,
    Size,
    Span,
    Request,
    Reason,
}

fn words<W: Word>() -> Vec<&'static str> {
    W::WORDS.iter().map(|(word, _)| *word).collect()
}

const fn key(name: &'static str, shape: Shape, example: &'static str, about: &'static str) -> Key {
    Key { name, required: false, shape, about, example }
}

const fn required(name: &'static str, shape: Shape, example: &'static str, about: &'static str) -> Key {
    Key { name, required: true, shape, about, example }
}

/// The whole file.
pub(crate) const POLICY: Table = Table {
    what: "a policy",
    home: "at the top of the file",
    about: "What agents may reach, with which credentials, and what they may never do.",
    keys: &[
        required(
            "policy",
            Shape::Text(Form::PolicyName),
            r#""team/coding-agent""#,
            "The unique name of the policy, by which sessions ask for it. Letters, digits, `-`, `_`, `.`; parts are separated by `/`.",
        ),
        key(
            "description",
            Shape::Text(Form::Free),
            r#""What a coding agent may reach.""#,
            "What the policy is for, for people.",
        ),
        key(
            "mode",
            Shape::Word(words::<Mode>),
            r#""observe""#,
            "`enforce` (default), or `observe`: what no rule allows is recorded and passes without credentials. `observe` needs `until`.",
        ),
        key(
            "until",
            Shape::Text(Form::End),
            r#""2027-01-31""#,
            "When the policy ends what it grants: a day (its end, UTC) or an RFC 3339 instant. Its denies go on.",
        ),
        key(
            "ceiling",
            Shape::Flag,
            "true",
            "Makes the policy a guardrail: every request must also be allowed by it. It never grants credentials.",
        ),
        key(
            "applies_to",
            Shape::Mapping(&SELECTOR),
            r#"{"tenants": ["acme"]}"#,
            "The sessions to which the policy applies without being named.",
        ),
        key(
            "hosts",
            Shape::Named(Form::SetName, Form::Host),
            r#"{"python-index": ["pypi.org", "files.pythonhosted.org"]}"#,
            "Named sets of hosts, which rules refer to as \"@name\".",
        ),
        key(
            "rules",
            Shape::Entries(&RULE),
            r#"[{"id": "packages", "allow": {"host": "pypi.org", "methods": ["GET", "HEAD"]}}]"#,
            "The rules. Their order does not matter: deny goes before ask, ask before allow, and the more exact before the less exact.",
        ),
        key(
            "checks",
            Shape::Entries(&CHECK),
            r#"[{"request": "GET https://pypi.org/simple/", "expect": "allow", "rule": "packages"}]"#,
            "Requests with the answer that this policy must give.",
        ),
    ],
};

/// `applies_to`.
pub(crate) const SELECTOR: Table = Table {
    what: "`applies_to`",
    home: "in `applies_to`",
    about: "To which sessions a policy applies without being named. All keys that are there must match.",
    keys: &[
        key("tenants", Shape::Several(Form::Pattern), r#"["acme"]"#, "Sessions of these tenants."),
        key("agents", Shape::Several(Form::Pattern), r#"["build-bot"]"#, "Sessions of these agents."),
        key(
            "labels",
            Shape::Named(Form::Free, Form::Pattern),
            r#"{"team": ["payments"]}"#,
            "Sessions with each of these labels, and one of its values.",
        ),
    ],
};

/// One entry of `rules`.
pub(crate) const RULE: Table = Table {
    what: "a rule",
    home: "in a rule, beside `allow`",
    about: "One rule: exactly one of `allow`, `ask` and `deny`, and what it gives.",
    keys: &[
        required(
            "id",
            Shape::Text(Form::Name),
            r#""read-code""#,
            "The name of the rule, unique in the file. Records and refusals name it.",
        ),
        key(
            "allow",
            Shape::Mapping(&MATCH),
            r#"{"host": "api.github.com", "methods": ["GET", "HEAD"], "path": "/repos/acme/**"}"#,
            "Requests that may go.",
        ),
        key(
            "ask",
            Shape::Mapping(&MATCH),
            r#"{"host": "deploy.example.com", "methods": ["POST"], "path": "/v1/deploys"}"#,
            "Requests for which a person is asked first.",
        ),
        key(
            "deny",
            Shape::Mapping(&MATCH),
            r#"{"host": "**.github.com", "methods": ["DELETE"]}"#,
            "Requests that never go, whatever other rules say.",
        ),
        key(
            "hold",
            Shape::Amount(Form::Span),
            r#""25s""#,
            "With `ask`: how long the request waits for an answer. No effect yet: there are no approvals.",
        ),
        key(
            "within",
            Shape::Amount(Form::Span),
            r#""10m""#,
            "With `ask`: how long the approval stays open. No effect yet: there are no approvals.",
        ),
        key(
            "until",
            Shape::Text(Form::End),
            r#""2027-01-31""#,
            "When the rule ends: a day (its end, UTC) or an RFC 3339 instant.",
        ),
        key(
            "tls",
            Shape::Word(words::<TlsName>),
            r#""pass-through""#,
            "`intercept` (default), or `pass-through`: the bytes are passed on unread, so method, path and credentials are impossible.",
        ),
        key(
            "limits",
            Shape::Mapping(&LIMITS),
            r#"{"requests": "600/m", "request_body": "1MiB"}"#,
            "How much may pass under the rule.",
        ),
        key(
            "timeouts",
            Shape::Mapping(&TIMEOUTS),
            r#"{"connect": "10s", "first_byte": "60s", "idle": "5m"}"#,
            "How long a request may wait.",
        ),
        key(
            "addresses",
            Shape::Several(Form::Address),
            r#"["10.20.0.0/16"]"#,
            "The addresses that may be dialed, as ranges. Needed for every address that is not globally routable.",
        ),
        key("use", Shape::Several(Form::Name), r#"["github"]"#, "The credentials that may be added here."),
        key(
            "set",
            Shape::Named(Form::Header, Form::HeaderValue),
            r#"{"X-Slack-Allowed-Workspaces-Requester": "T0123"}"#,
            "Fixed headers, not secret, that each request gets in place of the client's own, such as tenant restrictions.",
        ),
        key(
            "client_auth",
            Shape::WordOr(words::<AuthModeName>, &CLIENT_AUTH),
            r#"{"default": "strip", "pass": ["Cookie"], "also": ["X-Acme-Key"]}"#,
            "What happens to authentication that the client itself sends: `strip`, `refuse` or `allow`, or a mapping.",
        ),
        key(
            "reason",
            Shape::Text(Form::Free),
            r#""Deleting is not allowed; ask a maintainer.""#,
            "The text that a refused client, or the person who is asked, gets.",
        ),
    ],
};

/// The value of `allow`, `ask` and `deny`.
pub(crate) const MATCH: Table = Table {
    what: "what a rule matches",
    home: "in `allow`, `ask` or `deny`",
    about: "Which requests a rule matches. All keys that are there must match.",
    keys: &[
        required(
            "host",
            Shape::Several(Form::HostOrSet),
            r#"["api.example.com", "*.cdn.example.com", "@python-index"]"#,
            "`a.b` is that name; `*.b` one more label; `**.b` one or more; `@name` a set of `hosts`. Patterns and sets are in quotes.",
        ),
        key(
            "port",
            Shape::Several(Form::Port),
            "[443, 8443]",
            "Ports. Without it, an allow covers the port of its scheme, a deny every port.",
        ),
        key("scheme", Shape::Word(words::<SchemeName>), r#""https""#, "`https` (the default of an allow) or `http`."),
        key(
            "methods",
            Shape::Several(Form::Method),
            r#"["GET", "HEAD"]"#,
            "Methods in upper case. GET does not include HEAD.",
        ),
        key(
            "path",
            Shape::Several(Form::Path),
            r#""/repos/acme/**""#,
            "Paths: `*` within a segment, `**` across segments; `/x/**` does not match `/x`.",
        ),
        key(
            "query",
            Shape::Named(Form::Parameter, Form::Pattern),
            r#"{"acl": ["private"]}"#,
            "Parameters of the query with the values that they may have; `*` matches any run of characters.",
        ),
        key("tool", Shape::Several(Form::Pattern), r#"["web_search"]"#, "The tool call that the session is in."),
        key(
            "upgrade",
            Shape::Word(words::<UpgradeName>),
            r#""websocket""#,
            "Makes the rule one about WebSocket handshakes.",
        ),
    ],
};

/// `client_auth`.
pub(crate) const CLIENT_AUTH: Table = Table {
    what: "`client_auth`",
    home: "in `client_auth`",
    about: "What happens to authentication that the client itself sends. The strictest of all matching rules applies.",
    keys: &[
        key(
            "default",
            Shape::Word(words::<AuthModeName>),
            r#""strip""#,
            "`strip` (removed and recorded), `refuse` (403) or `allow`. Without it: `strip` with a credential, `refuse` at hosts of the session's credentials, else `allow`.",
        ),
        key(
            "pass",
            Shape::Several(Form::Header),
            r#"["Cookie", "Stripe-Account"]"#,
            "Headers and query parameters that pass although they carry authentication.",
        ),
        key(
            "also",
            Shape::Several(Form::Header),
            r#"["X-Acme-Key"]"#,
            "Headers and query parameters that count as authentication besides those that Egret lists.",
        ),
    ],
};

/// `limits`.
pub(crate) const LIMITS: Table = Table {
    what: "`limits`",
    home: "in `limits`",
    about: "How much may pass under a rule, in each session.",
    keys: &[
        key("requests", Shape::Amount(Form::Rate), r#""600/m""#, "How many requests in a second, minute, hour or day."),
        key("concurrent", Shape::Amount(Form::Count), "8", "How many exchanges at once."),
        key("request_body", Shape::Amount(Form::Size), r#""1MiB""#, "Bytes of one request's body."),
        key("response_body", Shape::Amount(Form::Size), r#""100MiB""#, "Bytes of one response's body."),
        key("bytes_out", Shape::Amount(Form::Size), r#""1GiB""#, "Bytes of all requests together."),
    ],
};

/// `timeouts`.
pub(crate) const TIMEOUTS: Table = Table {
    what: "`timeouts`",
    home: "in `timeouts`",
    about: "How long a request may wait under a rule.",
    keys: &[
        key("connect", Shape::Amount(Form::Span), r#""10s""#, "For the connection to the upstream, TLS included."),
        key(
            "first_byte",
            Shape::Amount(Form::Span),
            r#""60s""#,
            "From the end of the request to the head of the response.",
        ),
        key("idle", Shape::Amount(Form::Span), r#""5m""#, "Between two pieces of a body."),
    ],
};

/// One entry of `checks`.
pub(crate) const CHECK: Table = Table {
    what: "a check",
    home: "in an entry of `checks`",
    about: "One request and the answer that this policy, judged alone, must give.",
    keys: &[
        required(
            "request",
            Shape::Text(Form::Request),
            r#""GET https://api.github.com/repos/acme/site""#,
            "A method, a space and a URL.",
        ),
        required("expect", Shape::Word(words::<Expect>), r#""allow""#, "The answer."),
        key("rule", Shape::Text(Form::Name), r#""read-code""#, "The id of the rule that must give it."),
        key("code", Shape::Text(Form::Reason), r#""denied_path""#, "The code of the refusal."),
        key("tool", Shape::Text(Form::Free), r#""web_search""#, "The tool call in which the request is made."),
        key("upgrade", Shape::Word(words::<UpgradeName>), r#""websocket""#, "Makes the request a WebSocket handshake."),
        key(
            "at",
            Shape::Text(Form::End),
            r#""2027-01-31T18:00:00Z""#,
            "When the request is made: an instant or a day.",
        ),
    ],
};

/// A file of checks, which is not a policy.
pub(crate) const SUITE: Table = Table {
    what: "a file of checks",
    home: "at the top of the file",
    about: "Requests with the answers that policies must give together, to a session where one is described.",
    keys: &[
        key("policy", Shape::Text(Form::PolicyName), r#""coding-agent""#, "The policy that is checked."),
        key("policies", Shape::Several(Form::PolicyName), r#"["a", "b"]"#, "The policies that are checked together."),
        key(
            "session",
            Shape::Mapping(&SUITE_SESSION),
            r#"{"tenant": "acme", "labels": {"team": "blue"}}"#,
            "Whose requests they are: policies may apply to it, and ceilings.",
        ),
        required(
            "checks",
            Shape::Entries(&CHECK),
            r#"[{"request": "GET https://pypi.org/simple/", "expect": "allow"}]"#,
            "The requests.",
        ),
    ],
};

/// `session` of a file of checks.
pub(crate) const SUITE_SESSION: Table = Table {
    what: "a session",
    home: "in `session`",
    about: "Whose requests are checked.",
    keys: &[
        key("tenant", Shape::Text(Form::Free), r#""acme""#, "Its tenant; `default` where none is named."),
        key("agent", Shape::Text(Form::Free), r#""build-bot""#, "Its agent."),
        key(
            "labels",
            Shape::Named(Form::Parameter, Form::Free),
            r#"{"team": "blue"}"#,
            "Its labels, each with one value.",
        ),
    ],
};

/// Every table, the outer before the inner.
pub(crate) const TABLES: [&Table; 8] = [&POLICY, &RULE, &MATCH, &SELECTOR, &CLIENT_AUTH, &LIMITS, &TIMEOUTS, &CHECK];

impl Shape {
    /// What is expected, for messages.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Text(_) => "one text".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Word(words) => words().iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            Self::WordOr(words, table) => {
                let words: Vec<String> = words().iter().map(|word| format!("`{word}`")).collect();
                format!("{} or the keys of {}", words.join(", "), table.what)
            }
            Self::Amount(_) => "one value".to_owned(),
            Self::Several(_) => "one value or a list of values".to_owned(),
            Self::Named(..) => "names, each with one value or a list of values,".to_owned(),
            Self::Mapping(table) => format!("the keys of {}", table.what),
            Self::Entries(table) => format!("a list, each entry {},", table.what),
        }
    }
}
