//! Explanations of the codes about the identity in a request.

use super::Story;
use crate::problem::Severity;

pub(super) const STORIES: &[Story] = &[
    Story {
        code: "EG0049",
        severity: Severity::Error,
        title: "A header that no rule can set",
        meaning: "`set` names something that is not a header, a header that carries authentication, or one that decides where a request goes or ends; or its value is not one printable text.",
        why: "Policies are not secret and are read by many, and a header that renames the request would evade the rules that judge it.",
        broken: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
    set: {Authorization: Bearer abc}
"],
        mended: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
    use: [token]
    set: {X-Acme-Tenant: t-17}
"],
    },
    Story {
        code: "EG0050",
        severity: Severity::Error,
        title: "Two values for one header",
        meaning: "Two rules can match one request and `set` one header to different values.",
        why: "`set` of every matching rule applies, so no rank settles which of the values the header gets.",
        broken: &[r"policy: shop
rules:
  - {id: all, allow: {host: a.example.com}, set: {X-Team: blue}}
  - {id: orders, allow: {host: a.example.com, path: /o/**}, set: {X-Team: red}}
"],
        mended: &[r"policy: shop
rules:
  - {id: all, allow: {host: a.example.com}, set: {X-Team: blue}}
  - {id: orders, allow: {host: a.example.com, path: /o/**}}
"],
    },
    Story {
        code: "EG0051",
        severity: Severity::Error,
        title: "A `client_auth` that cannot be kept",
        meaning: "`client_auth` is empty, names something that is not a header or query parameter, lists one name in `pass` and in `also`, or passes a header that never passes.",
        why: "Headers that restrict the tenant, rename the request or speak for a proxy are removed whatever a rule says, so a rule that passes them promises what does not happen.",
        broken: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
    client_auth: {default: refuse, pass: [X-Forwarded-User]}
"],
        mended: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
    client_auth: {default: refuse, pass: [Cookie]}
"],
    },
    Story {
        code: "EG0052",
        severity: Severity::Warning,
        title: "A shared host that anyone's key opens",
        meaning: "A rule allows writing to a host that many customers share, and no rule for it has `use`, `set` or `client_auth`.",
        why: "An attacker who controls the sandbox can bring a key of their own, and send data to their own account there.",
        broken: &[r"policy: shop
rules:
  - id: models
    allow: {host: api.openai.com, methods: [POST]}
"],
        mended: &[r"policy: shop
rules:
  - id: models
    allow: {host: api.openai.com, methods: [POST]}
    use: [openai]
"],
    },
];
