//! Explanations of the codes about policies that do not match each other, the vault or the configuration.

use super::Story;
use crate::problem::Severity;

pub(super) const STORIES: &[Story] = &[
    Story {
        code: "EG0053",
        severity: Severity::Warning,
        title: "Policies that no session can have together",
        meaning: "Each file is valid alone, but a rule of one conflicts with a rule of the other. It is an error where `sessions.default` names both.",
        why: "A session that names both is refused when it is created, and a file that brings the conflict into a live session is rejected.",
        broken: &[
            r"policy: read
rules:
  - {id: api, allow: {host: a.example.com, methods: [GET]}}
",
            r"policy: write
rules:
  - {id: api, allow: {host: a.example.com, methods: [GET]}, use: [token]}
",
        ],
        mended: &[
            r"policy: read
rules:
  - {id: api, allow: {host: a.example.com, methods: [GET]}}
",
            r"policy: write
rules:
  - {id: api, allow: {host: a.example.com, path: /v1/**, methods: [GET]}, use: [token]}
",
        ],
    },
    Story {
        code: "EG0054",
        severity: Severity::Warning,
        title: "A credential that the vault does not have",
        meaning: "A rule uses a credential whose name is not in the vault.",
        why: "Requests go out without it and fail at the service, in ways that are hard to explain. Reported where the vault can be seen: by `policy check` with --config or --data-dir, when policies are loaded and when a session is created.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: api.github.com}, use: [gihtub]}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: api.github.com}, use: [github]}
"],
    },
    Story {
        code: "EG0055",
        severity: Severity::Warning,
        title: "Two credentials for one location",
        meaning: "A rule uses two credentials that go to the same header, query parameter or cookie of the same host.",
        why: "A request can carry only one of them. It is refused unless it has the placeholder of one, or the session is granted only one.",
        broken: &[r"policy: shop
rules:
  - {id: git, allow: {host: git.example.com}, use: [work, home]}
"],
        mended: &[r"policy: shop
rules:
  - {id: work, allow: {host: git.example.com, path: /acme/**}, use: [work]}
  - {id: home, allow: {host: git.example.com, path: /me/**}, use: [home]}
"],
    },
    Story {
        code: "EG0056",
        severity: Severity::Warning,
        title: "A fixed address that the rule may not dial",
        meaning: "`upstream.resolve` gives an address for a host of the rule, and the `addresses` of the rule do not cover it.",
        why: "Every request by the rule to that host is refused as `denied_address`.",
        broken: &[r"policy: shop
rules:
  - {id: wiki, allow: {host: wiki.fixed.example}}
"],
        mended: &[r"policy: shop
rules:
  - {id: wiki, allow: {host: wiki.fixed.example}, addresses: [10.1.2.3]}
"],
    },
    Story {
        code: "EG0057",
        severity: Severity::Warning,
        title: "A credential where requests must be signed",
        meaning: "A rule uses a credential at a host of AWS, which takes only requests that are signed (AWS SigV4). No kind of credential signs requests yet.",
        why: "The service refuses every request by the rule.",
        broken: &[r"policy: shop
rules:
  - id: reports
    allow: {host: acme.s3.eu-central-1.amazonaws.com, methods: [GET]}
    use: [aws]
"],
        mended: &[r"policy: shop
rules:
  - id: reports
    allow: {host: acme.s3.eu-central-1.amazonaws.com, methods: [GET]}
"],
    },
    Story {
        code: "EG0058",
        severity: Severity::Warning,
        title: "A path that means something else",
        meaning: "A path looks like a regular expression, or has a star glued to a name before `/**`.",
        why: "Only `*` and `**` are special, so `.*` is a dot and any text. And `/acme*/**` covers everything below `/acme-evil` too.",
        broken: &[r#"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: "/repos/acme/.*"}}
"#],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: /repos/acme/**}}
"],
    },
    Story {
        code: "EG0059",
        severity: Severity::Warning,
        title: "A secret in a policy",
        meaning: "A line contains what looks like a token of a well-known service, or a private key. The report does not show it.",
        why: "Policies are read by many people and quoted in logs. A secret belongs into the vault.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: /ghp_0123456789abcdefghij0123/**}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}, use: [token]}
"],
    },
    Story {
        code: "EG0060",
        severity: Severity::Warning,
        title: "A key without effect",
        meaning: "The key is valid, but this version ignores it. In an `ask`: `hold`, `within`, `use`, `set`, `client_auth`, `limits` and `timeouts`. In an allow or ask: `upgrade: websocket`. With `tls: pass-through`: `first_byte`. In `egret.yaml`: `audit.retention`, `control.peers`, `containment: auto`, and `listen.proxy_unix_mode` without a unix socket.",
        why: "The file reads as if the key worked. An `ask` rule refuses every request with 403 approval_required, and a rule for WebSockets allows none.",
        broken: &[r"policy: shop
rules:
  - {id: deploy, ask: {host: a.example.com, methods: [POST]}, within: 10m}
"],
        mended: &[r"policy: shop
rules:
  - {id: deploy, ask: {host: a.example.com, methods: [POST]}}
"],
    },
];
