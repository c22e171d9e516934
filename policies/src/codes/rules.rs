//! Explanations of the codes about rules, policies and checks together.

use super::Story;
use crate::problem::Severity;

pub(super) const STORIES: &[Story] = &[
    Story {
        code: "EG0026",
        severity: Severity::Error,
        title: "A credential over cleartext",
        meaning: "A rule with `scheme: http` has `use`.",
        why: "Credentials never travel in cleartext, where anyone on the way can read them.",
        broken: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com, scheme: http}
    use: [token]
"],
        mended: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
    use: [token]
"],
    },
    Story {
        code: "EG0027",
        severity: Severity::Error,
        title: "Two rules that no rank tells apart",
        meaning: "Two allows, or two asks, can match one request, are equally exact, and give different things: credentials, addresses, limits, timeouts, an end.",
        why: "The order of rules and files never decides, so no one could predict which of them applies.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}, use: [reader]}
  - {id: write, allow: {host: a.example.com}, use: [writer]}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: /reports/**}, use: [reader]}
  - {id: write, allow: {host: a.example.com, path: /orders/**}, use: [writer]}
"],
    },
    Story {
        code: "EG0028",
        severity: Severity::Error,
        title: "A check that cannot be read",
        meaning: "The request of a check is a method, a space and a URL that begins with `https://` or `http://`; `code` is the code of a refusal.",
        why: "A check that asks nothing proves nothing.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
checks:
  - {request: https://a.example.com/, expect: allow}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
checks:
  - {request: GET https://a.example.com/, expect: allow}
"],
    },
    Story {
        code: "EG0029",
        severity: Severity::Error,
        title: "A check that names no rule",
        meaning: "A check expects an answer by a `rule` that its policy does not have.",
        why: "Checks are judged with their own policy alone, so it could never pass.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
checks:
  - {request: GET https://a.example.com/, expect: allow, rule: raed}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
checks:
  - {request: GET https://a.example.com/, expect: allow, rule: read}
"],
    },
    Story {
        code: "EG0030",
        severity: Severity::Error,
        title: "A check that failed",
        meaning: "The policy does not answer the request of a check as the check expects.",
        why: "Either the policy does not say what was meant, or what was meant has changed and the check has not.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET]}}
checks:
  - {request: POST https://a.example.com/, expect: allow}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET]}}
checks:
  - {request: POST https://a.example.com/, expect: deny}
"],
    },
    Story {
        code: "EG0031",
        severity: Severity::Error,
        title: "Not a text pattern",
        meaning: "Values of `query`, `tool` and of the keys of `applies_to` are texts of at most 256 bytes, in which one `*` matches any run of characters; control characters are not allowed.",
        why: "`**` suggests a difference that does not exist, and a value that no request carries is useless as a pattern.",
        broken: &[r#"policy: shop
rules:
  - {id: search, allow: {host: a.example.com, query: {q: "a**b"}}}
"#],
        mended: &[r#"policy: shop
rules:
  - {id: search, allow: {host: a.example.com, query: {q: "a*b"}}}
"#],
    },
    Story {
        code: "EG0032",
        severity: Severity::Error,
        title: "Not an instant or a day",
        meaning: "An end is an RFC 3339 instant such as `2027-01-31T18:00:00Z`, or a day such as `2027-01-31`, whose end in UTC is meant.",
        why: "Two readers would take an ambiguous date for different days.",
        broken: &[r"policy: shop
rules:
  - id: trial
    allow: {host: a.example.com}
    until: 31.1.2099
"],
        mended: &[r"policy: shop
rules:
  - id: trial
    allow: {host: a.example.com}
    until: 2099-01-31
"],
    },
    Story {
        code: "EG0033",
        severity: Severity::Error,
        title: "Not a limit",
        meaning: "`requests` is a number by a unit of time, such as `600/m` (`s`, `m`, `h`, `d`); `concurrent` a number from 1; bodies and `bytes_out` are bytes as a number, or such as `512KiB`, `10MiB`, `2GiB`.",
        why: "A limit whose unit has to be guessed does not hold what its author believes.",
        broken: &[r"policy: shop
rules:
  - id: upload
    allow: {host: a.example.com}
    limits: {request_body: 10MB}
"],
        mended: &[r"policy: shop
rules:
  - id: upload
    allow: {host: a.example.com}
    limits: {request_body: 10MiB}
"],
    },
    Story {
        code: "EG0034",
        severity: Severity::Error,
        title: "Not a span of time",
        meaning: "A span is a number with a unit, such as `500ms`, `10s`, `5m`, `2h` or `1d`, and at most seven days.",
        why: "A number without a unit is seconds to one reader and milliseconds to the next.",
        broken: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
    timeouts: {idle: 30}
"],
        mended: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
    timeouts: {idle: 30s}
"],
    },
    Story {
        code: "EG0035",
        severity: Severity::Error,
        title: "A key that needs requests to be read",
        meaning: "A rule with `tls: pass-through` has `methods`, `path`, `query`, `tool`, `upgrade`, `use`, `set`, `client_auth`, or a limit that counts requests or bodies.",
        why: "With `pass-through` the bytes go by unread, so none of this could be kept.",
        broken: &[r"policy: shop
rules:
  - id: pinned
    allow: {host: a.example.com, methods: [GET]}
    tls: pass-through
"],
        mended: &[r"policy: shop
rules:
  - id: pinned
    allow: {host: a.example.com}
    tls: pass-through
"],
    },
    Story {
        code: "EG0036",
        severity: Severity::Error,
        title: "A host that is passed through and read",
        meaning: "One rule passes a host and port through unread, and another must read requests to the same host and port.",
        why: "The decision is made before anything of a request is known, so only one of them could be kept.",
        broken: &[r"policy: shop
rules:
  - id: pinned
    allow: {host: a.example.com}
    tls: pass-through
  - id: no-delete
    deny: {host: a.example.com, methods: [DELETE]}
"],
        mended: &[r"policy: shop
rules:
  - id: pinned
    allow: {host: a.example.com}
    tls: pass-through
  - id: no-delete
    deny: {host: b.example.com, methods: [DELETE]}
"],
    },
    Story {
        code: "EG0037",
        severity: Severity::Error,
        title: "Observing without end",
        meaning: "A policy has `mode: observe` and no `until`.",
        why: "While it observes, requests that no rule allows pass. That is for learning, and is easily forgotten unless it has an end.",
        broken: &[r"policy: shop
mode: observe
rules:
  - {id: read, allow: {host: a.example.com}}
"],
        mended: &[r"policy: shop
mode: observe
until: 2099-01-31
rules:
  - {id: read, allow: {host: a.example.com}}
"],
    },
    Story {
        code: "EG0038",
        severity: Severity::Error,
        title: "A ceiling that grants or only observes",
        meaning: "A policy with `ceiling: true` has a rule with `use`, or `mode: observe`.",
        why: "A ceiling bounds what other policies grant. It gives nothing by itself, and one that only observes holds nothing back.",
        broken: &[r#"policy: shop
ceiling: true
rules:
  - {id: read, allow: {host: "*.example.com"}, use: [token]}
"#],
        mended: &[r#"policy: shop
ceiling: true
rules:
  - {id: read, allow: {host: "*.example.com"}}
"#],
    },
];
