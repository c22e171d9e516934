//! The documents of one session: what they may hold, how large they may be, and how they are judged beside files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use egret_policies::{
    CombineError, InForce, MAX_SESSION_DOCUMENT_BYTES, MAX_SESSION_DOCUMENTS, MAX_SESSION_ENTRIES, MAX_SESSION_RULES,
    Own, PublishError, Rules, SessionDocuments, Subject,
};
use model::{PolicyName, SessionId, TenantId};

use crate::support::{answer, set, sources};

const FILE: &str = "policy: agent\nrules:\n  - {id: read, allow: {host: a.example, methods: [GET]}}\n";

fn codes(texts: &[&str]) -> Vec<String> {
    match SessionDocuments::compile(&sources(texts)) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            problems.iter().map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.code)).collect()
        }
    }
}

struct Asker {
    tenant: TenantId,
    labels: BTreeMap<String, String>,
    policies: Vec<PolicyName>,
}

impl Asker {
    fn of(tenant: &str, policies: &[&str]) -> Self {
        let policies = policies.iter().map(|name| (*name).into()).collect();
        Self { tenant: TenantId::new(tenant), labels: BTreeMap::new(), policies }
    }

    fn subject(&self) -> Subject<'_> {
        Subject { tenant: &self.tenant, agent: None, labels: &self.labels, policies: &self.policies }
    }

    fn begin(&self, in_force: &InForce, id: &str, texts: &[&str]) -> Result<Arc<Rules>, PublishError> {
        let documents = in_force.compile(&sources(texts)).unwrap();
        let id = SessionId::new(id);
        in_force.publish(&id, &self.subject(), documents.clone())?;
        Ok(in_force.rules_for_session(&self.subject(), Some(Own { session: &id, digest: documents.digest() })).unwrap())
    }
}

#[test]
fn t200_a_session_cannot_govern_others() {
    let rule = "rules:\n  - {id: r, allow: {host: a.example}}\n";
    for (top, at) in [
        ("applies_to: {tenants: \"*\"}\n", "2:13 EG0048"),
        ("ceiling: true\n", "2:10 EG0048"),
        ("ceiling: false\n", "2:10 EG0048"),
        ("mode: observe\nuntil: 2040-01-01\n", "2:7 EG0048"),
    ] {
        assert_eq!(codes(&[&format!("policy: p\n{top}{rule}")]), [at], "{top}");
    }
    assert!(codes(&[&format!("policy: p\nmode: enforce\n{rule}")]).is_empty());
}

#[test]
fn t200_a_session_opens_no_private_address() {
    for addresses in [
        "10.0.0.0/8",
        "127.0.0.1",
        "[8.8.8.8, 169.254.169.254]",
        "0.0.0.0/0",
        "\"::/0\"",
        "\"::ffff:8.8.8.8\"",
        "8.0.0.0/6",
    ] {
        let text = format!("policy: p\nrules:\n  - {{id: r, allow: {{host: a.example}}, addresses: {addresses}}}\n");
        assert!(codes(&[&text]).iter().any(|code| code.ends_with("EG0048")), "{addresses}");
    }
    let text =
        "policy: p\nrules:\n  - {id: r, allow: {host: a.example}, addresses: [8.8.8.0/24, \"2606:4700::/32\"]}\n";
    assert!(codes(&[text]).is_empty());
    let literal = "policy: p\nrules:\n  - {id: r, allow: {host: 10.0.0.1}, addresses: 10.0.0.1}\n";
    assert_eq!(codes(&[literal]), ["3:49 EG0048"]);
}

#[test]
fn t200_a_session_lets_no_more_of_its_own_keys_pass() {
    for (client_auth, is_refused) in [
        ("allow", true),
        ("{default: allow}", true),
        ("{default: strip, pass: [Cookie]}", true),
        ("{pass: [Cookie]}", true),
        ("strip", false),
        ("refuse", false),
        ("{default: refuse, also: [X-Acme-Key]}", false),
    ] {
        let text =
            format!("policy: p\nrules:\n  - {{id: r, allow: {{host: a.example}}, client_auth: {client_auth}}}\n");
        let refused = codes(&[&text]);
        assert_eq!(refused.iter().any(|code| code.ends_with("EG0048")), is_refused, "{client_auth}: {refused:?}");
    }
}

#[test]
fn t223_documents_are_bounded_in_number_bytes_rules_and_what_they_expand_to() {
    let many: Vec<String> = (0..=MAX_SESSION_DOCUMENTS).map(|n| format!("policy: p{n}\nrules: []\n")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(codes(&many), ["0:0 EG0001"]);
    assert!(codes(&many[1..]).is_empty());
    let large = format!("policy: p\nrules: []\n#{}\n", "x".repeat(MAX_SESSION_DOCUMENT_BYTES));
    assert_eq!(codes(&[&large]), ["0:0 EG0001"]);
    let rules = |count: usize| {
        let mut text = "policy: p\nrules:\n".to_owned();
        (0..count).for_each(|n| writeln!(text, "  - {{id: r{n}, allow: {{host: h{n}.example.com}}}}").unwrap());
        text
    };
    assert_eq!(codes(&[&rules(MAX_SESSION_RULES + 1)]), ["0:0 EG0001"]);
    assert!(codes(&[&rules(MAX_SESSION_RULES)]).is_empty());
    // A set that each rule names, and lists that multiply.
    let hosts: Vec<String> = (0..1000).map(|n| format!("h{n}.example.com")).collect();
    let mut text = format!("policy: p\nhosts: {{all: [{}]}}\nrules:\n", hosts.join(", "));
    (0..=MAX_SESSION_ENTRIES / 1000)
        .for_each(|n| writeln!(text, "  - {{id: r{n}, allow: {{host: \"@all\"}}}}").unwrap());
    assert_eq!(codes(&[&text]), ["1:9 EG0001"]);
    let paths: Vec<String> = (0..=MAX_SESSION_ENTRIES / 1000).map(|n| format!("/p{n}")).collect();
    let text = format!(
        "policy: p\nrules: [{{id: r, allow: {{host: [{}], path: [{}]}}}}]\n",
        hosts.join(", "),
        paths.join(", ")
    );
    assert_eq!(codes(&[&text]), ["1:9 EG0001"]);
}

#[test]
fn the_name_of_a_document_cannot_steer_a_terminal() {
    let mut named = sources(&[FILE]);
    for name in ["", "a\u{1b}[2J.yaml", "a\nb", &"x".repeat(257)] {
        name.clone_into(&mut named[0].name);
        let problems = SessionDocuments::compile(&named).unwrap_err();
        assert_eq!((problems.len(), problems[0].file.as_str()), (1, "documents"), "{name:?}");
    }
}

#[test]
fn t200_names_are_the_sessions_own() {
    let in_force = InForce::new(set(&[FILE]));
    let own = FILE.replace("a.example", "b.example");
    let first = Asker::of("one", &["agent"]).begin(&in_force, "ses_1", &[&own]).unwrap();
    let second = Asker::of("two", &[]).begin(&in_force, "ses_2", &[&own]).unwrap();
    // The file and the document of one name are judged together, and reported under different names.
    assert_eq!(answer(&first, "GET https://a.example/"), "allow read");
    assert_eq!(answer(&first, "GET https://b.example/"), "allow read");
    let policies: Vec<String> = first.reach().iter().map(|line| line.policy.to_string()).collect();
    assert_eq!(policies, ["agent", "session:agent"]);
    assert_eq!(answer(&second, "GET https://a.example/"), "deny denied_host");
    assert_eq!(answer(&second, "GET https://b.example/"), "allow read");
    let names: Vec<String> = in_force.snapshot().names().map(ToString::to_string).collect();
    assert_eq!(names, ["agent"]);
    // Nobody can name it, not by any spelling.
    for name in ["session:agent", "own"] {
        let asker = Asker::of("three", &[name]);
        assert_eq!(
            in_force.rules_for_session(&asker.subject(), None).unwrap_err(),
            CombineError::UnknownPolicy(name.into()),
        );
    }
    let own = Own { session: &SessionId::new("ses_3"), digest: first.snapshot() };
    let error = in_force.rules_for_session(&Asker::of("three", &[]).subject(), Some(own)).unwrap_err();
    assert_eq!(error, CombineError::DocumentsUnavailable);
}

#[test]
fn t222_a_document_does_not_pass_for_a_file() {
    // The same name, the same rule, and what an operator would not have allowed.
    let in_force = InForce::new(set(&[FILE]));
    let own = FILE.replace("a.example", "b.example").replace("[GET]", "[GET, DELETE]");
    let rules = Asker::of("one", &["agent"]).begin(&in_force, "ses_1", &[&own]).unwrap();
    let policy = |request: &str| crate::support::ask(&rules, request).unwrap().policy().to_string();
    assert_eq!(policy("GET https://a.example/"), "agent");
    assert_eq!(policy("DELETE https://b.example/"), "session:agent");
    let forged = FILE.replace("policy: agent", "policy: \"session:agent\"");
    assert_eq!(crate::support::codes(&forged), ["EG0010"]);
    assert_eq!(codes(&[&forged]), ["1:9 EG0010"]);
}

#[test]
fn t201_documents_are_judged_with_what_the_session_names_before_they_are_published() {
    let in_force = InForce::new(set(&[FILE]));
    let asker = Asker::of("one", &["agent"]);
    let tie = "policy: mine\nrules:\n  - {id: same, allow: {host: a.example, methods: [GET]}, use: [github]}\n";
    let error = asker.begin(&in_force, "ses_1", &[tie]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rule `read` of policy `agent` and rule `same` of policy `session:mine` can match one request, rank equal and differ \
         in what they give"
    );
    let digest = in_force.compile(&sources(&[tie])).unwrap().digest().clone();
    let own = Own { session: &SessionId::new("ses_1"), digest: &digest };
    assert_eq!(
        in_force.rules_for_session(&asker.subject(), Some(own)).unwrap_err(),
        CombineError::DocumentsUnavailable
    );
    assert!(Asker::of("one", &[]).begin(&in_force, "ses_1", &[tie]).is_ok());
}

#[test]
fn t202_a_file_with_the_name_of_a_document_is_taken_and_the_session_keeps_its_own() {
    let in_force = InForce::new(set(&[]));
    let asker = Asker::of("one", &[]);
    let before = asker.begin(&in_force, "ses_1", &[FILE]).unwrap();
    in_force.replace(set(&["policy: agent\nrules:\n  - {id: other, allow: {host: b.example}}\n"]));
    let digest = in_force.compile(&sources(&[FILE])).unwrap().digest().clone();
    let id = SessionId::new("ses_1");
    let after = in_force.rules_for_session(&asker.subject(), Some(Own { session: &id, digest: &digest })).unwrap();
    assert_eq!(answer(&after, "GET https://a.example/"), "allow read");
    assert_eq!(answer(&after, "GET https://b.example/"), "deny denied_host");
    assert_ne!(before.snapshot(), after.snapshot());
    // The same question under the same snapshot is not judged again.
    assert!(Arc::ptr_eq(
        &after,
        &in_force.rules_for_session(&asker.subject(), Some(Own { session: &id, digest: &digest })).unwrap()
    ));
}

#[test]
fn files_win_over_the_documents_of_a_session_and_only_that_session_is_left_without_rules() {
    let in_force = InForce::new(set(&[]));
    let (one, two) = (Asker::of("one", &[]), Asker::of("two", &[]));
    one.begin(&in_force, "ses_1", &[FILE]).unwrap();
    let documents = in_force.compile(&sources(&[FILE])).unwrap();
    let applying = FILE.replace("policy: agent", "policy: all\napplies_to: {tenants: \"*\"}");
    in_force.replace(set(&[&applying.replace("[GET]}}", "[GET]}, use: [github]}")]));
    let id = SessionId::new("ses_1");
    let own = Own { session: &id, digest: documents.digest() };
    assert!(in_force.rules_for_session(&one.subject(), Some(own)).unwrap_err().is_conflict());
    assert_eq!(
        answer(&in_force.rules_for_session(&two.subject(), None).unwrap(), "GET https://a.example/"),
        "allow read"
    );
    in_force.replace(set(&[]));
    assert!(in_force.rules_for_session(&one.subject(), Some(own)).is_ok());
}

#[test]
fn one_tenant_leaves_room_for_others() {
    let in_force = InForce::new(set(&[]));
    let full = format!("{FILE}#{}\n", "x".repeat(MAX_SESSION_DOCUMENT_BYTES - FILE.len() - 2));
    let (one, two) = (Asker::of("one", &[]), Asker::of("two", &[]));
    let documents = in_force.compile(&sources(&[&full])).unwrap();
    let begin = |asker: &Asker, n: usize| {
        in_force.publish(&SessionId::new(format!("ses_{}{n}", asker.tenant)), &asker.subject(), documents.clone())
    };
    let taken = (0..).find(|n| begin(&one, *n).is_err()).unwrap();
    assert_eq!(begin(&one, taken), Err(PublishError::Full));
    assert_eq!((0..).find(|n| begin(&two, *n).is_err()).unwrap(), taken);
    in_force.withdraw(&SessionId::new("ses_one0"));
    assert_eq!(begin(&one, taken), Ok(()));
}

#[test]
fn t203_policies_that_apply_to_one_session_must_go_together() {
    let policy = |name: &str, tenants: &str, more: &str| {
        format!(
            "policy: {name}\napplies_to: {{tenants: {tenants}}}\nrules:\n  - {{id: r, allow: {{host: a.example}}{more}}}\n"
        )
    };
    let codes = |texts: &[&str]| match egret_policies::compile(&sources(texts)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|problem| (problem.file.clone(), problem.line, problem.code)).collect(),
    };
    let all = policy("all", "\"*\"", "");
    let tie = ("1.yaml".to_owned(), 4, "EG0027");
    assert_eq!(codes(&[&all, &policy("some", "acme-*", ", use: [github]")]), [tie]);
    let passing = ("1.yaml".to_owned(), 4, "EG0036");
    let deny = "policy: over\nceiling: true\nrules:\n  - {id: all, allow: {host: \"**\"}}\n  - {id: d, deny: {host: a.example, path: /admin}}\n";
    assert_eq!(codes(&[deny, &policy("some", "acme-*", ", tls: pass-through")]), [passing]);
    // No session is of both tenants.
    assert!(codes(&[&policy("one", "one", ""), &policy("two", "two", ", use: [github]")]).is_empty());
    assert!(codes(&[&all, &policy("same", "acme-*", "")]).is_empty());
}
