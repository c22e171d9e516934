//! Explanations of the codes about what is probably not meant.

use super::Story;
use crate::problem::Severity;

pub(super) const STORIES: &[Story] = &[
    Story {
        code: "EG0039",
        severity: Severity::Warning,
        title: "Ended",
        meaning: "The `until` of a rule or policy has passed.",
        why: "Requests that it allowed are refused now, but the file still reads as if they passed.",
        broken: &[r"policy: shop
rules:
  - id: trial
    allow: {host: a.example.com}
    until: 2020-01-31
"],
        mended: &[r"policy: shop
rules:
  - id: trial
    allow: {host: a.example.com}
    until: 2099-01-31
"],
    },
    Story {
        code: "EG0040",
        severity: Severity::Warning,
        title: "A rule that never decides",
        meaning: "Another rule always goes before this one, or matches exactly the same.",
        why: "The author of the rule meant it to have an effect.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: /reports/*}}
  - {id: never, deny: {host: a.example.com}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: /reports/*}}
  - {id: never, deny: {host: a.example.com, methods: [DELETE]}}
"],
    },
    Story {
        code: "EG0041",
        severity: Severity::Warning,
        title: "A wildcard over a service's customers",
        meaning: "A wildcard is below a name under which a service gives names to its customers, such as `github.io`.",
        why: "Anyone can become a customer, so the rule trusts strangers.",
        broken: &[r#"policy: shop
rules:
  - {id: pages, allow: {host: "*.github.io", methods: [GET]}}
"#],
        mended: &[r"policy: shop
rules:
  - {id: pages, allow: {host: acme.github.io, methods: [GET]}}
"],
    },
    Story {
        code: "EG0042",
        severity: Severity::Warning,
        title: "Bodies without a bound",
        meaning: "A rule allows methods that carry a body, without a limit on it, on a host that another rule only reads.",
        why: "The host is there to read from. An upload of any size is a way out for data.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET, HEAD]}}
  - {id: search, allow: {host: a.example.com, methods: [POST], path: /search}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET, HEAD]}}
  - id: search
    allow: {host: a.example.com, methods: [POST], path: /search}
    limits: {request_body: 64KiB}
"],
    },
    Story {
        code: "EG0043",
        severity: Severity::Warning,
        title: "A rule that can never match",
        meaning: "What the rule asks for contradicts HTTP, or a ceiling lets nothing of it pass.",
        why: "The rule is not what its author believes it to be.",
        broken: &[r"policy: shop
rules:
  - {id: live, allow: {host: a.example.com, upgrade: websocket, methods: [POST]}}
"],
        mended: &[r"policy: shop
rules:
  - {id: live, allow: {host: a.example.com, methods: [POST]}}
"],
    },
    Story {
        code: "EG0044",
        severity: Severity::Warning,
        title: "A check that tests nothing",
        meaning: "A check is there twice, or expects a refusal for a host that no rule names.",
        why: "It passes whatever the rules say, and counts as a proof.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET]}}
checks:
  - {request: GET https://elsewhere.test/, expect: deny}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET]}}
checks:
  - {request: POST https://a.example.com/, expect: deny}
"],
    },
    Story {
        code: "EG0045",
        severity: Severity::Warning,
        title: "A credential outside its audience",
        meaning: "A rule uses a credential at a host that its audience does not hold.",
        why: "The credential is never added there, so requests go without it and fail in ways that are hard to explain.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}, use: [github]}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: api.github.com}, use: [github]}
"],
    },
    Story {
        code: "EG0046",
        severity: Severity::Error,
        title: "A selector that selects nothing",
        meaning: "`applies_to` has neither `tenants` nor `agents` nor `labels`, or `labels` names none.",
        why: r#"It could be read as every session or as none. To select every session, write `tenants: "*"`."#,
        broken: &[r"policy: shop
applies_to: {}
rules:
  - {id: read, allow: {host: a.example.com}}
"],
        mended: &[r"policy: shop
applies_to: {tenants: [acme]}
rules:
  - {id: read, allow: {host: a.example.com}}
"],
    },
    Story {
        code: "EG0047",
        severity: Severity::Warning,
        title: "A private name without addresses",
        meaning: "A rule allows a name of a private network, such as one below `internal`, and has no `addresses`.",
        why: "Names of private networks lead to addresses that are not globally routable, which are dialed only where a rule lists them.",
        broken: &[r"policy: shop
rules:
  - {id: wiki, allow: {host: wiki.corp.internal}}
"],
        mended: &[r"policy: shop
rules:
  - id: wiki
    allow: {host: wiki.corp.internal}
    addresses: [10.20.0.0/16]
"],
    },
    Story {
        code: "EG0048",
        severity: Severity::Error,
        title: "What only an operator may write",
        meaning: "A document that a session brings has `applies_to`, `ceiling`, `mode: observe`, a `client_auth` that lets more pass, or `addresses` that are not all globally routable. Only there it is an error: `egret policy check` judges files as those of an operator.",
        why: "A session's own document governs that session alone. It must not reach other sessions, let requests pass that no rule allows, or open a way into private networks.",
        broken: &[r"policy: shop
applies_to: {tenants: [acme]}
rules:
  - {id: read, allow: {host: a.example.com}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
"],
    },
];
