//! Stories of hosts, ports, methods, paths and addresses.

use super::Story;
use crate::problem::Severity;

pub(super) const STORIES: &[Story] = &[
    Story {
        code: "EG0016",
        severity: Severity::Error,
        title: "Not a host pattern",
        meaning: "A host is a name, an IPv4 address or an IPv6 address in brackets. `*.example.com` matches one more label, `**.example.com` for one or more; a wildcard is always the whole first label. URLs, ports and paths do not belong here.",
        why: "Patterns that cut through labels match names of strangers: `*example.com` would match `evilexample.com`.",
        broken: &[r#"policy: shop
rules:
  - {id: read, allow: {host: "api-*.example.com"}}
"#],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: [api-1.example.com, api-2.example.com]}}
"],
    },
    Story {
        code: "EG0017",
        severity: Severity::Error,
        title: "A wildcard that is too wide",
        meaning: "An allow has a wildcard below a public suffix such as `com` or `co.uk`, or `**` alone.",
        why: "Anyone can register a name there, so the rule trusts everybody with what the agent sends. A deny or a ceiling may say it.",
        broken: &[r#"policy: shop
rules:
  - {id: read, allow: {host: "*.com"}}
"#],
        mended: &[r#"policy: shop
rules:
  - {id: read, allow: {host: "*.example.com"}}
"#],
    },
    Story {
        code: "EG0018",
        severity: Severity::Error,
        title: "No such set of hosts",
        meaning: r#"A rule names a set as "@name" that `hosts` of the same file does not define."#,
        why: "A rule whose hosts are unknown cannot be judged. Sets belong to one file, so that a file means the same wherever it is loaded.",
        broken: &[r#"policy: shop
rules:
  - {id: read, allow: {host: "@index"}}
"#],
        mended: &[r#"policy: shop
hosts: {index: [pypi.org]}
rules:
  - {id: read, allow: {host: "@index"}}
"#],
    },
    Story {
        code: "EG0019",
        severity: Severity::Warning,
        title: "A set of hosts that no rule uses",
        meaning: "`hosts` defines a set to which no rule refers.",
        why: "Often a rule was meant to use it and names its hosts otherwise.",
        broken: &[r"policy: shop
hosts: {index: [pypi.org]}
rules:
  - {id: read, allow: {host: pypi.org}}
"],
        mended: &[r#"policy: shop
hosts: {index: [pypi.org]}
rules:
  - {id: read, allow: {host: "@index"}}
"#],
    },
    Story {
        code: "EG0020",
        severity: Severity::Error,
        title: "Not a port",
        meaning: "A port is a number from 1 to 65535, without quotes.",
        why: "Port 0 is not a port. A text instead of a number may have been meant as a service or a range, which the language does not have.",
        broken: &[r#"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, port: "https"}}
"#],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, port: 443}}
"],
    },
    Story {
        code: "EG0021",
        severity: Severity::Error,
        title: "Not a method",
        meaning: "Methods are written as they are sent, in upper case. CONNECT cannot be named: it opens the way to a host and port, which rules name by `host` and `port`.",
        why: "Methods are compared letter by letter (RFC 9110), so a rule with `get` would never match.",
        broken: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [get]}}
"],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, methods: [GET]}}
"],
    },
    Story {
        code: "EG0022",
        severity: Severity::Error,
        title: "Not a path pattern",
        meaning: "A path begins with `/`. `*` matches a run of characters within a segment, `**` whole segments; other glob characters, dot segments, empty segments and queries are not allowed.",
        why: "A pattern that servers and the proxy could read differently protects nothing.",
        broken: &[r#"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: "/v1?user=me"}}
"#],
        mended: &[r"policy: shop
rules:
  - {id: read, allow: {host: a.example.com, path: /v1, query: {user: me}}}
"],
    },
    Story {
        code: "EG0023",
        severity: Severity::Error,
        title: "Not an address range",
        meaning: "`addresses` takes addresses and ranges such as `10.1.0.0/16`, whose bits behind the prefix are zero.",
        why: "`10.1.2.3/8` may be meant as one address or as sixteen million.",
        broken: &[r"policy: shop
rules:
  - id: read
    allow: {host: db.example.com}
    addresses: [10.1.2.3/8]
"],
        mended: &[r"policy: shop
rules:
  - id: read
    allow: {host: db.example.com}
    addresses: [10.1.2.3]
"],
    },
    Story {
        code: "EG0024",
        severity: Severity::Error,
        title: "An address that may not be dialed",
        meaning: "A rule allows an address literal that is not globally routable, or that its `addresses` leave out, so the request would be refused all the same.",
        why: "Addresses of one's own network are dialed only where a rule lists them in `addresses`. This is what keeps an agent from reaching what happens to answer inside.",
        broken: &[r"policy: shop
rules:
  - {id: metrics, allow: {host: 10.0.0.1}}
"],
        mended: &[r"policy: shop
rules:
  - id: metrics
    allow: {host: 10.0.0.1}
    addresses: [10.0.0.1]
"],
    },
    Story {
        code: "EG0025",
        severity: Severity::Warning,
        title: "A range that holds a metadata service",
        meaning: "`addresses` has a range in which the metadata service of a cloud lives. The range does not let it be dialed.",
        why: "Metadata services hand out the credentials of the machine. One is dialed only where a rule lists its very address.",
        broken: &[r"policy: shop
rules:
  - id: local
    allow: {host: a.example.com}
    addresses: [169.254.0.0/16]
"],
        mended: &[r"policy: shop
rules:
  - id: local
    allow: {host: a.example.com}
    addresses: [169.254.7.0/24]
"],
    },
];
