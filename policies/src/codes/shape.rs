//! Stories of the file, its keys and its names.

use super::Story;
use crate::problem::Severity;

pub(super) const STORIES: &[Story] = &[
    Story {
        code: "EG0001",
        severity: Severity::Error,
        title: "The file exceeds a bound",
        meaning: "A policy file has at most 1 MiB, 200,000 values, 12 levels of nesting, and one document.",
        why: "A person who can propose a file must not be able to stop the reader with it. No policy that people can review comes near these bounds.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
---
policy: other
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
"],
    },
    Story {
        code: "EG0002",
        severity: Severity::Error,
        title: "Not YAML",
        meaning: "The text cannot be read as YAML from the marked place on, so the text behind it may not have been checked. The usual causes are a bracket or quote that is not closed, a tab where spaces are required, and a value that begins with a character that YAML reserves, such as `@`.",
        why: "A reader that guesses what was meant would guess differently from the next one.",
        broken: &[r"policy: shop
hosts: {index: [pypi.org]}
rules:
  - {id: read, allow: {host: @index}}
"],
        mended: &[r#"policy: shop
hosts: {index: [pypi.org]}
rules:
  - {id: read, allow: {host: "@index"}}
"#],
    },
    Story {
        code: "EG0003",
        severity: Severity::Error,
        title: "An anchor, alias, merge key or tag",
        meaning: "The file uses a part of YAML by which a value is in another place than it looks, or of another type. A host pattern such as `*.example.com` without quotes is an alias to YAML.",
        why: "A policy is read by people who approve it. Each line must mean what it says at its own place, and YAML readers differ in how they read these.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: *.example.com}}
"],
        mended: &[r#"policy: shop
rules:
  - {id: read, allow: {host: "*.example.com"}}
"#],
    },
    Story {
        code: "EG0004",
        severity: Severity::Error,
        title: "A key twice",
        meaning: "One mapping has the same key twice.",
        why: "Some readers take the first, some the last. What a reviewer sees must be what is in force.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: /a, path: /b}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: [/a, /b]}}
"],
    },
    Story {
        code: "EG0005",
        severity: Severity::Error,
        title: "An empty value, or a text that needs quotes",
        meaning: "A key has no value, or a text without quotes reads as a boolean, a number or nothing.",
        why: "`no` is a text to one reader of YAML and false to another, and `1.10` is a number that loses its last digit. An empty value could mean nothing or everything.",
        broken: &[r"policy: shop
rules:
  - id: never
    deny: {host: a.example.com}
    reason: no
"],
        mended: &[r#"policy: shop
rules:
  - id: never
    deny: {host: a.example.com}
    reason: "no"
"#],
    },
    Story {
        code: "EG0006",
        severity: Severity::Error,
        title: "No such key",
        meaning: "Unknown key at this place. It may be misspelled, or indented too far or too little: `methods` belongs in `allow`, `use` beside it.",
        why: "A key that is ignored is a limit that its author believes in and that does not hold.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, method: [GET]}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET]}}
"],
    },
    Story {
        code: "EG0007",
        severity: Severity::Error,
        title: "A key is missing",
        meaning: "A key that must be there is not: `policy` in a file, `id` in a rule, `host` in what a rule matches, `request` and `expect` in a check.",
        why: "There is no safe default for these: a rule without `host` would be about every host or about none.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {methods: [GET]}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET]}}
"],
    },
    Story {
        code: "EG0008",
        severity: Severity::Error,
        title: "A value of the wrong kind",
        meaning: "The key has a list, a mapping or a word where it takes something else.",
        why: "A value of the wrong type is not converted, because no reviewer would see the result.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, scheme: ftp}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, scheme: http}}
"],
    },
    Story {
        code: "EG0010",
        severity: Severity::Error,
        title: "Not a name",
        meaning: "Names of policies, rules, sets and credentials are letters, digits, `-`, `_` and `.`, begin with a letter or digit, and have at most 64 characters. The name of a policy may have several parts with `/` between them.",
        why: "Names occur in audit records, in answers to clients and in commands, where other characters would need escaping that someone forgets.",
        broken: &[r"policy: my shop
rules:
  - {id: read, allow: {host: a.example.com}}
"],
        mended: &[r"policy: my-shop
rules:
  - {id: read, allow: {host: a.example.com}}
"],
    },
    Story {
        code: "EG0011",
        severity: Severity::Error,
        title: "A policy name twice",
        meaning: "Two files that are loaded together define policies of one name.",
        why: "A session asks for policies by name. Which of two it gets must not depend on the order in which files were found.",
        broken: &[
            r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
",
            r"policy: shop
rules:
  - {id: read, allow: {host: b.example.com}}
",
        ],
        mended: &[
            r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
",
            r"policy: depot
rules:
  - {id: read, allow: {host: b.example.com}}
",
        ],
    },
    Story {
        code: "EG0012",
        severity: Severity::Error,
        title: "A rule id twice",
        meaning: "Two rules of one policy have the same `id`.",
        why: "Records and refusals name the rule that decided. A reader must find the rule that decided.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com}}
  - {id: read, allow: {host: b.example.com}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read-a, allow: {host: a.example.com}}
  - {id: read-b, allow: {host: b.example.com}}
"],
    },
    Story {
        code: "EG0013",
        severity: Severity::Error,
        title: "A rule without effect, or with several",
        meaning: "A rule has exactly one of `allow`, `ask` and `deny`.",
        why: "A rule with two would need a rank between them that no reader could see, and one with none does nothing.",
        broken: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
    deny: {host: a.example.com, path: /admin}
"],
        mended: &[r"policy: shop
rules:
  - id: read
    allow: {host: a.example.com}
  - id: no-admin
    deny: {host: a.example.com, path: /admin}
"],
    },
    Story {
        code: "EG0014",
        severity: Severity::Error,
        title: "A key that means nothing here",
        meaning: "A key is beside an effect for which it has no meaning: a deny with `use`, `addresses`, `limits`, `timeouts`, `tls` or `within`, an allow with `within`. An allow with `reason` is only warned of.",
        why: "It shows that the rule was meant otherwise: perhaps it should allow, or the key belongs to another rule.",
        broken: &[r"policy: shop
rules:
  - id: never
    deny: {host: a.example.com}
    use: [token]
"],
        mended: &[r"policy: shop
rules:
  - id: never
    deny: {host: a.example.com}
"],
    },
    Story {
        code: "EG0015",
        severity: Severity::Error,
        title: "An empty list",
        meaning: "A key that limits a rule has a list without entries.",
        why: "Read strictly, the rule could never match; many would read it as no limit at all.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: []}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET, HEAD]}}
"],
    },
];
