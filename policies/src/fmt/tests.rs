//! What is laid out, what is left, and that nothing else changes.

use super::fmt;
use crate::compile::PolicySource;

fn of(text: &str) -> String {
    let source = PolicySource { name: "p.yaml".into(), text: text.into() };
    let list = |problems: Vec<crate::Problem>| problems.iter().map(ToString::to_string).collect::<String>();
    let once = fmt(&source).unwrap_or_else(|problems| panic!("{}\n{text}", list(problems)));
    let again = fmt(&PolicySource { text: once.clone(), ..source });
    assert_eq!(again.unwrap_or_else(|problems| panic!("{}", list(problems))), once, "again");
    once
}

#[test]
fn what_is_laid_out_stays() {
    for text in [
        "policy: p\n",
        "# head\n\npolicy: p # name\ndescription: >-\n  Long\n   text\n\n  here.\n\nhosts:\n  a: [a.example.com, b.example.com]\n",
        "policy: p\nrules:\n  # above\n  - id: a # beside\n    # inside\n    allow: {host: a.example.com, methods: [GET, HEAD]}\n    # below a\n\n  # above b\n  - {id: b, deny: {host: \"*.example.com\"}}\n  # the end of the list\n# the end\n",
        "policy: p\nhosts:\n  a: [ # why\n    a.example.com, # one\n    # before two\n    \"*.example.com\",\n\n    c.example.com\n  ]\n",
        "policy: p\ndescription: one\n  two\nrules:\n  - id: a\n    allow:\n      host:\n        - a.example.com\n        - b.example.com # two\n      path: /a/**\n    use:   [x]\n",
        "{\n  \"policy\": \"p\",\n  \"rules\": [\n    {\"id\": \"a\", \"allow\": {\"host\": a.example.com}}\n  ]\n}\n",
        "---\npolicy: p\nrules: []\nchecks:\n  - {request: GET https://a.example.com/, expect: deny} # 1\n",
        "policy: p\ndescription:\n  below\n",
        "policy: p\ndescription: |2-\n   one blank more\n  less\n",
    ] {
        assert_eq!(of(text), text);
    }
}

#[test]
fn indentation_blanks_and_blank_lines_are_one_way() {
    let text = "\n\npolicy:   p  \n\n\n\nrules:\n-   id: a   # beside\n    # inside\n    allow: { host:   a.example.com , methods : [ GET,HEAD ] }\n    # tail\n\n\n\n# free\n-\n    # within\n    id: b\n    deny:\n       host: b.example.com\n\n\n";
    let new = "policy:   p\n\nrules:\n  - id: a   # beside\n    # inside\n    allow: {host: a.example.com, methods: [GET, HEAD]}\n    # tail\n\n  # free\n  # within\n  - id: b\n    deny:\n      host: b.example.com\n";
    assert_eq!(of(text), new);
}

#[test]
fn line_ends_and_the_mark_of_encoding_go() {
    assert_eq!(of("\u{feff}policy: p\r\nrules: []"), "policy: p\nrules: []\n");
}

#[test]
fn keys_of_a_rule_are_put_in_order_with_their_comments() {
    let text = "policy: p\nrules:\n  - # what it uses\n    use: [x] # x\n\n    # the match\n    allow: {path: /a, methods: [GET], host: a.example.com}\n    id: a\n  - {deny: {host: b.example.com}, reason: No., id: b}\n";
    let new = "policy: p\nrules:\n  # what it uses\n  - id: a\n\n    # the match\n    allow: {host: a.example.com, methods: [GET], path: /a}\n    use: [x] # x\n  - {id: b, deny: {host: b.example.com}, reason: No.}\n";
    assert_eq!(of(text), new);
}

#[test]
fn hosts_have_the_quotes_they_need() {
    let text = "policy: p\nhosts:\n  a: ['a.example.com', \"b.example.com\", '*.example.com', \"10.0.0.1\"]\nrules:\n  - {id: a, allow: {host: '@a', path: '/x'}}\n  - {id: b, deny: {host: *.example.org}}\n";
    let new = "policy: p\nhosts:\n  a: [a.example.com, b.example.com, \"*.example.com\", \"10.0.0.1\"]\nrules:\n  - {id: a, allow: {host: \"@a\", path: '/x'}}\n  - {id: b, deny: {host: \"*.example.org\"}}\n";
    assert_eq!(of(text), new);
}

#[test]
fn what_cannot_be_read_is_told() {
    let source = PolicySource { name: "p.yaml".into(), text: "policy: [p\n".into() };
    let problems = fmt(&source).expect_err("it is not closed");
    assert_eq!((problems[0].code, problems[0].file.as_str()), ("EG0002", "p.yaml"));
}
