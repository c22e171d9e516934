//! The documents of sessions, through the API: each is a namespace of its session, before and after a restart.

use proptest::prelude::*;

use super::*;

const TIE: &str =
    "policy: tie\nrules:\n  - id: other\n    allow: {host: api.github.com, methods: [GET]}\n    use: [github]\n";

fn own(name: &str, text: &str) -> Value {
    json!([{"name": name, "text": text}])
}

/// `mine` under another name, host or file.
fn renamed(policy: &str, host: &str) -> String {
    POLICY.replace("policy: mine", &format!("policy: {policy}")).replace("api.github.com", host)
}

impl Api {
    async fn session(&self, body: Value) -> String {
        let (status, made) = self.call(Method::POST, "/v1/sessions", body).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// The answer to a request of the session: `true`, `false`, or why it has no rules.
    async fn passes(&self, session: &str, url: &str) -> Value {
        let asked = json!({"method": "GET", "url": url});
        let (status, explained) = self.call(Method::POST, &format!("/v1/sessions/{session}/explain"), asked).await;
        if status == 200 { explained["passes"].clone() } else { explained["detail"].clone() }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join("policies").join(name), text).unwrap();
    }

    async fn reload(&self) -> (u16, Value) {
        self.call(Method::POST, "/v1/policies/reload", Value::Null).await
    }

    async fn records(&self, query: &str) -> Vec<Value> {
        let (_, list) = self.call(Method::GET, &format!("/v1/records?{query}"), Value::Null).await;
        list["items"].as_array().unwrap().clone()
    }

    /// The sessions and policies as another process loads them.
    fn restart(&self) -> (Registry, Loader) {
        let at = |name: &str| self.dir.path().join(name);
        let sessions = Registry::open(&at("sessions"), Timestamp::now()).unwrap();
        let loader = Loader::open(vec![at("policies")], &at("session-policies")).unwrap();
        loader.restore(&sessions, Some(&self.control.journal));
        (sessions, loader)
    }
}

#[tokio::test]
async fn t200_two_sessions_bring_the_same_name_and_nobody_else_can_use_it() {
    let api = Api::open();
    let body = |tenant: &str, host: &str| json!({"tenant": tenant, "policies": [], "documents": own("agent.yaml", &renamed("agent", host))});
    let one = api.session(body("one", "a.example")).await;
    let two = api.session(body("two", "b.example")).await;
    let third = api.session(json!({"policies": ["mine"]})).await;
    for (session, open, closed) in [
        (&one, "https://a.example/", "https://b.example/"),
        (&two, "https://b.example/", "https://a.example/"),
        (&third, "https://api.github.com/", "https://a.example/"),
    ] {
        assert_eq!(api.passes(session, open).await, true);
        assert_eq!(api.passes(session, closed).await, false);
    }
    for name in ["agent", "session:agent", &one] {
        let (status, problem) = api.call(Method::POST, "/v1/sessions", json!({"policies": [name]})).await;
        let detail = problem["detail"].as_str().unwrap();
        let (said, listed) = detail.split_once("; loaded are: ").unwrap();
        assert_eq!((status, said), (422, format!("policy `{name}` is not loaded").as_str()));
        assert!(!listed.contains("agent") && listed.contains("mine"), "{listed}");
    }
    let (_, policies) = api.call(Method::GET, "/v1/policies", Value::Null).await;
    assert!(!policies.to_string().contains("agent"), "{policies}");
    let (_, shown) = api.call(Method::GET, &format!("/v1/sessions/{one}"), Value::Null).await;
    assert_eq!((&shown["policies"], &shown["documents"]), (&json!(["session:agent"]), &json!(["session:agent"])));
    // The digest of its rules is in the record of its beginning, and no other session has the same.
    let snapshots: Vec<Value> =
        api.records("kind=session.created").await.iter().map(|record| record["snapshot"].clone()).collect();
    assert!(snapshots.contains(&shown["view"]["snapshot"]), "{snapshots:?}");
    assert_eq!(std::collections::BTreeSet::from_iter(snapshots.iter().map(ToString::to_string)).len(), 3);
}

#[tokio::test]
async fn t201_a_refused_document_changes_nothing_and_is_recorded() {
    let api = Api::open();
    let session = api.session(json!({"policies": ["mine"]})).await;
    let before = api.control.policies.snapshot();
    for (policies, text, words) in [
        (json!([]), "policy: [", "x.yaml:1:"),
        (json!([]), "policy: p\napplies_to: {tenants: \"*\"}\nrules: [{id: d, deny: {host: \"**\"}}]\n", "(EG0048)"),
        (json!([]), "policy: p\nceiling: true\nrules: [{id: d, deny: {host: \"**\"}}]\n", "(EG0048)"),
        (json!(["mine"]), TIE, "rule `other` of policy `session:tie`"),
    ] {
        let body = json!({"tenant": "t", "policies": policies, "documents": own("x.yaml", text)});
        let (status, problem) = api.call(Method::POST, "/v1/sessions", body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("policy_rejected")), "{problem}");
        assert!(Arc::ptr_eq(&before, &api.control.policies.snapshot()));
        assert_eq!(api.passes(&session, "https://api.github.com/").await, true);
        let records = api.records("kind=policy.rejected").await;
        let newest = records.iter().max_by_key(|record| record["seq"].as_u64()).unwrap();
        assert_eq!((&newest["tenant"], &newest["code"]), (&json!("t"), &json!("policy_rejected")));
        assert!(newest["detail"].as_str().unwrap().contains(words), "{newest}");
    }
    assert_eq!(api.control.sessions.list().len(), 1);
    assert_eq!(std::fs::read_dir(api.dir.path().join("session-policies")).unwrap().count(), 0);
    assert_eq!(api.control.policies.rejected(), None);
}

#[tokio::test]
async fn t202_a_file_takes_the_name_of_a_sessions_document_on_reload_and_on_restart() {
    let api = Api::open();
    let session = api.session(json!({"documents": own("agent.yaml", &renamed("agent", "a.example"))})).await;
    api.write("agent.yaml", &renamed("agent", "b.example"));
    let (status, view) = api.reload().await;
    assert_eq!((status, &view["rejected"]), (200, &Value::Null));
    assert_eq!(api.passes(&session, "https://a.example/").await, true);
    assert_eq!(api.passes(&session, "https://b.example/").await, false);
    let other = api.session(json!({"policies": ["agent"]})).await;
    assert_eq!(api.passes(&other, "https://b.example/").await, true);

    let (sessions, loader) = api.restart();
    let again = sessions.get(&session.as_str().into()).unwrap();
    let before = api.control.policies.rules_for_session(&again).unwrap();
    assert_eq!(loader.rules_for_session(&again).unwrap().snapshot(), before.snapshot());
    assert!(api.records("kind=policy.rejected").await.is_empty());
}

#[tokio::test]
async fn t224_documents_that_are_lost_changed_or_in_conflict_after_a_restart_leave_their_session_alone_without_rules() {
    let api = Api::open();
    let body = |name: &str| json!({"tenant": "t", "documents": own("own.yaml", &renamed(name, "a.example"))});
    let mut sessions = Vec::new();
    for name in ["whole", "lost", "changed", "broken", "tie"] {
        sessions.push(api.session(body(name)).await);
    }
    let at = |session: &str| api.dir.path().join("session-policies").join(format!("{session}.json"));
    std::fs::remove_file(at(&sessions[1])).unwrap();
    let text = std::fs::read_to_string(at(&sessions[2])).unwrap();
    std::fs::write(at(&sessions[2]), text.replace("a.example", "b.example")).unwrap();
    std::fs::write(at(&sessions[3]), "{").unwrap();
    std::fs::write(at("ses_past"), "{}").unwrap();
    let applying = renamed("all", "a.example").replace("rules:", "applies_to: {labels: {tie: \"yes\"}}\nrules:");
    api.write("all.yaml", &applying.replace("[GET]}", "[GET]}\n    use: [github]"));
    let tied = json!({"labels": {"tie": "yes"}, "documents": own("own.yaml", &renamed("tie", "a.example"))});
    sessions[4] = api.session(tied).await;

    let (registry, loader) = api.restart();
    let usable: Vec<bool> = sessions
        .iter()
        .map(|id| loader.rules_for_session(&registry.get(&id.as_str().into()).unwrap()).is_ok())
        .collect();
    assert_eq!(usable, [true, false, false, false, false]);
    assert!(!at("ses_past").exists());
    let records = api.records("code=policy_unavailable").await;
    assert_eq!(records.len(), 4, "{records:?}");
    for id in &sessions[1..] {
        let own: Vec<_> = records.iter().filter(|record| record["session"] == json!(id)).collect();
        assert_eq!((own.len(), &own[0]["kind"]), (1, &json!("policy.rejected")), "{records:?}");
    }
}

#[tokio::test]
async fn t203_files_that_leave_a_live_session_without_rules_are_not_taken() {
    let api = Api::open();
    api.write("web.yaml", &renamed("web", "a.example"));
    assert_eq!(api.reload().await.0, 200);
    let session = api.session(json!({"policies": ["mine", "web"]})).await;
    let before = api.control.policies.snapshot().digest().clone();
    api.write("web.yaml", &TIE.replace("policy: tie", "policy: web"));
    for _ in 0..2 {
        let (status, problem) = api.reload().await;
        assert_eq!((status, &problem["code"]), (422, &json!("policy_rejected")), "{problem}");
    }
    assert_eq!(*api.control.policies.snapshot().digest(), before);
    assert_eq!(api.passes(&session, "https://a.example/").await, true);
    let (_, health) = api.call(Method::GET, "/healthz", Value::Null).await;
    let rejected = health["policies_rejected"].as_str().unwrap();
    assert!(rejected.starts_with(&format!("the policies of session {session} contradict each other: ")), "{rejected}");
    let records = api.records("kind=policy.rejected").await;
    assert_eq!((records.len(), &records[0]["code"]), (1, &json!("policy_rejected")));
    assert_eq!(records[0]["detail"], json!(rejected));
    // Files that only later sessions could not combine are accepted; after the end of the session, so are these.
    api.call(Method::DELETE, &format!("/v1/sessions/{session}"), Value::Null).await;
    assert_eq!(api.reload().await.0, 200);
}

#[tokio::test]
async fn t203_files_that_leave_the_default_session_without_rules_are_not_taken() {
    let api = Api::open();
    let default = sessions::NewSession { policies: vec!["mine".into(), "web".into()], ..Default::default() };
    api.write("web.yaml", &renamed("web", "a.example"));
    assert_eq!(api.reload().await.0, 200);
    api.control.sessions.default_session(default, Timestamp::now()).unwrap();
    api.write("web.yaml", &TIE.replace("policy: tie", "policy: web"));
    let (status, problem) = api.reload().await;
    assert_eq!(status, 422);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("the policies of `sessions.default` contradict each other: "), "{detail}");
}

#[tokio::test]
async fn t203_a_sessions_document_keeps_no_file_from_being_taken() {
    let api = Api::open();
    let session =
        api.session(json!({"policies": ["mine"], "documents": own("own.yaml", &renamed("own", "a.example"))})).await;
    let deny = "\n  - id: urgent\n    deny: {host: api.github.com, path: /admin}\n";
    api.write("mine.yaml", &(TIE.replace("policy: tie", "policy: mine").replace("api.github.com", "a.example") + deny));
    let (status, view) = api.reload().await;
    assert_eq!((status, &view["rejected"]), (200, &Value::Null));
    let said = api.passes(&session, "https://a.example/").await;
    assert!(said.as_str().unwrap().contains("rule `one` of policy `session:own`"), "{said}");
    let records = api.records("code=policy_unavailable").await;
    assert_eq!((records.len(), &records[0]["session"]), (1, &json!(session)), "{records:?}");
    let (_, shown) = api.call(Method::GET, &format!("/v1/sessions/{session}"), Value::Null).await;
    assert_eq!(shown["view"]["unusable"], said);
}

/// A document with a generated name, host and effect, sometimes one that is refused.
fn document() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("mine"), Just("agent"), Just("library/pypi")];
    let host = prop_oneof![Just("api.github.com"), Just("a.example"), Just("\"**\"")];
    let effect = prop_oneof![Just("allow"), Just("deny")];
    let top = prop_oneof![6 => Just(""), 1 => Just("ceiling: true\n"), 1 => Just("applies_to: {tenants: \"*\"}\n")];
    let gives = prop_oneof![Just(""), Just(", use: [github]")];
    (name, top, effect, host, gives).prop_map(|(name, top, effect, host, gives)| {
        let gives = if effect == "deny" { "" } else { gives };
        format!("policy: {name}\n{top}rules:\n  - {{id: r, {effect}: {{host: {host}, methods: [GET]}}{gives}}}\n")
    })
}

fn request(tenant: &'static str) -> impl Strategy<Value = Value> {
    let documents = prop::collection::vec(document(), 0..3);
    let names = prop::sample::subsequence(vec!["mine", "library/pypi", "agent"], 0..3);
    (names, documents).prop_map(move |(names, texts)| {
        let documents: Vec<Value> = texts.iter().map(|text| json!({"name": "own.yaml", "text": text})).collect();
        json!({"tenant": tenant, "policies": names, "documents": documents, "ttl": "1h"})
    })
}

/// The answer without parts that differ from run to run: ids, tokens, times and numbers of records.
fn steady(mut value: Value, id: &str) -> String {
    fn clean(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in [
                    "id",
                    "seq",
                    "time",
                    "hash",
                    "previous",
                    "salt",
                    "content",
                    "created",
                    "expires",
                    "ended",
                    "token",
                    "env",
                    "proxy_url",
                ] {
                    fields.remove(name);
                }
                fields.values_mut().for_each(clean);
            }
            Value::Array(items) => items.iter_mut().for_each(clean),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    clean(&mut value);
    value.to_string().replace(id, "ID")
}

/// All answers that one session, and an operator who asks about it, can observe.
async fn observe(api: &Api, request: &Value, other: Option<&Value>) -> String {
    let begin = async |request: &Value| {
        let (_, made) = api.call(Method::POST, "/v1/sessions", request.clone()).await;
        (made["id"].as_str().unwrap_or("none").to_owned(), made)
    };
    let mut others = Vec::new();
    if let Some(other) = other {
        others.push(begin(other).await.0);
    }
    let (id, made) = begin(request).await;
    if let Some(other) = other {
        others.push(begin(other).await.0);
    }
    let mut seen = steady(made, &id);
    for path in ["https://api.github.com/", "https://a.example/", "https://pypi.org/simple/"] {
        seen += &steady(api.passes(&id, path).await, &id);
    }
    let shown = format!("/v1/sessions/{id}");
    for path in [&shown, &format!("{shown}/documents"), "/v1/policies", "/healthz"] {
        seen += &steady(api.call(Method::GET, path, Value::Null).await.1, &id);
    }
    seen += &steady(api.reload().await.1, &id);
    for other in others {
        api.call(Method::DELETE, &format!("/v1/sessions/{other}"), Value::Null).await;
    }
    seen += &steady(api.passes(&id, "https://a.example/").await, &id);
    api.call(Method::DELETE, &shown, Value::Null).await;
    seen += &steady(Value::Array(api.records(&format!("session={id}")).await), &id);
    seen
}

/// `PROPTEST_CASES` cases, or 32: each sends the API some forty requests.
fn cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    let few = ProptestConfig { cases: 32, ..config.clone() };
    if config.cases == 256 { few } else { config }
}

#[test]
fn t200_no_answer_and_no_record_of_one_session_depends_on_what_another_brings() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(async { Api::open() });
    proptest!(cases(), |(one in request("one"), other in request("two"))| {
        let (alone, beside) = runtime.block_on(async {
            (observe(&api, &one, None).await, observe(&api, &one, Some(&other)).await)
        });
        prop_assert_eq!(alone, beside);
    });
}

/// The files changed while no sidecar ran: there is no older snapshot to keep, so the sessions are reported.
#[tokio::test]
async fn a_session_whose_policies_conflict_since_the_start_is_reported() {
    let api = Api::open();
    api.write("web.yaml", &renamed("web", "a.example"));
    assert_eq!(api.reload().await.0, 200);
    let session = api.session(json!({"policies": ["mine", "web"]})).await;
    api.write("web.yaml", &TIE.replace("policy: tie", "policy: web"));
    let (sessions, loader) = api.restart();
    let journal = &api.control.journal;
    let cause = "rule `one` of policy `mine` and rule `other` of policy `web` can match one request, rank equal and differ in what they give";
    for _ in 0..2 {
        loader.reload(&sessions, journal).unwrap();
        let unusable: Vec<_> =
            loader.unusable(&sessions).iter().map(|(one, error)| (one.id.to_string(), error.to_string())).collect();
        assert_eq!(unusable, [(session.clone(), cause.to_owned())]);
    }
    let records = api.records("kind=policy.rejected").await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        (&records[0]["session"], &records[0]["code"], &records[0]["detail"]),
        (&json!(session), &json!("policy_unavailable"), &json!(cause))
    );
    api.write("web.yaml", &renamed("web", "a.example"));
    loader.reload(&sessions, journal).unwrap();
    assert!(loader.unusable(&sessions).is_empty());
}

#[tokio::test]
async fn health_lists_the_sessions_whose_policies_cannot_be_used() {
    let api = Api::open();
    api.write("web.yaml", &renamed("web", "a.example"));
    assert_eq!(api.reload().await.0, 200);
    let session = api.session(json!({"policies": ["web"]})).await;
    let (_, health) = api.call(Method::GET, "/healthz", Value::Null).await;
    assert!(health.get("sessions_unusable").is_none(), "{health}");
    std::fs::remove_file(api.dir.path().join("policies/web.yaml")).unwrap();
    assert_eq!(api.reload().await.0, 200);
    let (_, health) = api.call(Method::GET, "/healthz", Value::Null).await;
    let expected = json!([{"session": format!("session {session}"), "cause": "policy `web` is not loaded"}]);
    assert_eq!((&health["healthy"], &health["sessions_unusable"]), (&json!(true), &expected));
    let records = api.records("kind=policy.rejected").await;
    assert_eq!(
        (records.len(), &records[0]["session"], &records[0]["detail"]),
        (1, &json!(session), &json!("policy `web` is not loaded"))
    );
}
