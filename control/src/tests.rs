//! Every call of the control API, in process.

use super::*;

mod documents;
mod explained;
mod misfits;

use std::path::Path;

use ::policies::{PolicySource, compile};
use api::{BodySlotDocument, CredentialDocument, CredentialRequest, CredentialView};
use audit::Durability;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Method, Request};
use serde_json::{Value, json};
use vault::KeyFile;

const POLICY: &str = "policy: mine\nrules:\n  - id: one\n    allow: {host: api.github.com, methods: [GET]}\n";

struct Api {
    dir: tempfile::TempDir,
    control: Arc<Control>,
}

/// A store in memory whose writes fail on demand.
#[derive(Clone, Default)]
struct Memory {
    bytes: Arc<std::sync::Mutex<Option<Vec<u8>>>>,
    full: Arc<std::sync::atomic::AtomicBool>,
}

impl vault::Store for Memory {
    fn read(&self) -> Result<Option<Vec<u8>>, vault::StoreError> {
        Ok(self.bytes.lock().unwrap().clone())
    }

    fn replace(&self, expected: vault::Stored, bytes: &[u8]) -> Result<(), vault::StoreError> {
        let mut held = self.bytes.lock().unwrap();
        vault::Stored::of(held.as_deref()).check(expected)?;
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(vault::StoreError::Io { path: "memory".into(), action: vault::StoreAction::Write, source });
        }
        *held = Some(bytes.to_vec());
        Ok(())
    }
}

impl Api {
    fn open() -> Self {
        Self::open_with(|path, key| Vault::create(path, key).unwrap())
    }

    fn open_with(vault: impl FnOnce(&Path, &KeyFile) -> Vault) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("policies")).unwrap();
        std::fs::write(at("policies/mine.yaml"), POLICY).unwrap();
        let key = KeyFile(at("vault.key"));
        key.create().unwrap();
        let (journal, _) = Journal::open(&at("journal"), Durability::Process).unwrap();
        let loader = Loader::open(vec![at("policies")], &at("session-policies")).unwrap();
        let files = TrustFiles::in_dir(dir.path());
        let control = Control {
            sessions: Arc::new(Registry::open(&at("sessions"), Timestamp::now()).unwrap()),
            vault: Arc::new(vault(&at("vault.egret"), &key)),
            policies: Arc::new(loader),
            index: Arc::new(Index::open(&at("journal"), &at("index.db")).unwrap()),
            journal,
            resolve: [("wiki.test".to_owned(), IpAddr::from([10, 1, 2, 3]))].into(),
            ca: CaFacts { pem: "pem".into(), fingerprint: "00".into(), files },
            proxy: vec![SocketAddr::from(([127, 0, 0, 1], 3128))],
            requests: RequestBounds { max_target_bytes: 100, is_listener: Box::new(|endpoint| endpoint.port == 3128) },
            start: Start::default(),
            data_dir: dir.path().to_owned(),
            version: "1",
            started: Timestamp::now(),
        };
        Self { dir, control: Arc::new(control) }
    }

    async fn send(&self, request: Request<Body>, trusted: bool) -> (u16, Value) {
        use tower_service::Service as _;
        let mut request = request;
        request.extensions_mut().insert(ConnectInfo(Peer::for_test(trusted)));
        let response = router(self.control.clone()).call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", "application/json").body(Body::from(body.to_string()));
        self.send(request.unwrap(), true).await
    }

    async fn put(&self, name: &str, query: &str, value: &str) -> (u16, Value) {
        let path = format!("/v1/vaults/default/credentials/{name}?{query}");
        let request = Request::builder().method(Method::PUT).uri(path).header("host", "localhost");
        self.send(request.body(Body::from(value.to_owned())).unwrap(), true).await
    }

    fn journal(&self) -> String {
        self.control.journal.close();
        let mut text = String::new();
        for entry in std::fs::read_dir(self.dir.path().join("journal")).unwrap() {
            text.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
        }
        text
    }
}

#[tokio::test]
async fn t149_browsers_strange_hosts_and_other_users_are_refused() {
    let api = Api::open();
    let get = |name: &str, value: &str| {
        let request = Request::builder().uri("/v1/sessions").header(name, value);
        request.body(Body::empty()).unwrap()
    };
    let mut browser = get("host", "localhost");
    browser.headers_mut().insert("origin", "http://localhost".parse().unwrap());
    let mut twice = get("host", "localhost");
    twice.headers_mut().append("host", "localhost".parse().unwrap());
    for (request, trusted) in [
        (browser, true),
        (twice, true),
        (get("host", "evil.example"), true),
        (get("host", "localhost:80"), true),
        (get("x-none", "1"), true),
        (get("host", "localhost"), false),
    ] {
        let shown = format!("{request:?}");
        let (status, problem) = api.send(request, trusted).await;
        assert_eq!((status, problem["code"].as_str()), (403, Some("control_denied")), "{shown}");
    }
    let (status, _) = api.send(get("host", "localhost"), true).await;
    assert_eq!(status, 200);
    assert_eq!(api.journal().matches("control.denied").count(), 6);
}

#[tokio::test]
async fn t149_a_form_cannot_create_a_session() {
    let api = Api::open();
    let request = Request::builder().method(Method::POST).uri("/v1/sessions").header("host", "localhost");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(Body::from("policies=mine"));
    let (status, _) = api.send(request.unwrap(), true).await;
    assert_eq!(status, 415);
    assert!(api.control.sessions.list().is_empty());
}

#[tokio::test]
async fn a_session_comes_with_everything_a_client_needs() {
    let api = Api::open();
    let (status, view) =
        api.put("github", "kind=bearer&audience=api.github.com&env=GITHUB_TOKEN", "sEcReT-value").await;
    assert_eq!((status, view["version"].as_u64()), (201, Some(1)));
    let body = json!({"policies": ["mine"], "credentials": ["github"], "ttl": "1h", "labels": {"a": "b"}});
    let (status, made) = api.call(Method::POST, "/v1/sessions", body).await;
    assert_eq!(status, 201, "{made}");
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert_eq!(made["proxy_url"], format!("http://{id}:{token}@127.0.0.1:3128"));
    assert_eq!(made["env"]["HTTPS_PROXY"], made["proxy_url"]);
    assert_eq!(made["env"]["GITHUB_TOKEN"], made["placeholders"]["github"]);
    let (_, shown) = api.call(Method::GET, &format!("/v1/sessions/{id}"), Value::Null).await;
    assert_eq!(shown["state"], "running");
    assert!(shown.get("token").is_none());

    let (status, _) = api.call(Method::POST, &format!("/v1/sessions/{id}/end"), Value::Null).await;
    assert_eq!(status, 200);
    let (_, shown) = api.call(Method::GET, &format!("/v1/sessions/{id}"), Value::Null).await;
    assert_eq!(shown["state"], "terminated");
    api.call(Method::DELETE, &format!("/v1/sessions/{id}"), Value::Null).await;
    let journal = api.journal();
    for (kind, count) in [("credential.put", 1), ("session.created", 1), ("session.ended", 1)] {
        assert_eq!(journal.matches(kind).count(), count, "{kind}");
    }
    for secret in ["sEcReT-value", token, "egret_ph_"] {
        assert!(!journal.contains(secret), "{secret} is in the journal");
    }
}

#[tokio::test]
async fn what_a_session_cannot_have_is_named() {
    let api = Api::open();
    api.put("one", "kind=bearer&audience=a.example&env=KEY", "sEcReT-value").await;
    api.put("two", "kind=bearer&audience=a.example&env=KEY", "sEcReT-value").await;
    for (body, words) in [
        (json!({"policies": ["nope"]}), "policy `nope` is not loaded"),
        (json!({"credentials": ["nope"]}), "no credential \"nope\""),
        (
            json!({"credentials": ["one", "two"]}),
            "both offered under KEY; grant only one, or put one again with another --env",
        ),
        (json!({"ttl": "soon"}), "not a length of time"),
        (json!({"user": "a\nb"}), "user must be"),
        (json!({"documents": [{"name": "x.yaml", "text": "policy: ["}]}), "x.yaml:1:"),
        (
            json!({"documents": [{"name": "x.yaml", "text": "policy: p\nceiling: true\nrules: []\n"}]}),
            "a session's own document cannot have `ceiling`",
        ),
        (
            json!({"policies": ["own"], "documents": [{"name": "x.yaml", "text": "policy: own\nrules: []\n"}]}),
            "`own` is not",
        ),
        (json!({"polices": []}), "unknown field `polices`"),
    ] {
        let (status, problem) = api.call(Method::POST, "/v1/sessions", body.clone()).await;
        assert_eq!(status, 422, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{body}: {problem}");
    }
    assert!(api.control.sessions.list().is_empty());
    assert_eq!(std::fs::read_dir(api.dir.path().join("session-policies")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_sessions_own_policy_lives_as_long_as_it() {
    let api = Api::open();
    let text = POLICY.replace("policy: mine", "policy: own");
    let body = json!({"documents": [{"name": "own.yaml", "text": text}]});
    let (status, made) = api.call(Method::POST, "/v1/sessions", body.clone()).await;
    assert_eq!((status, &made["policies"]), (201, &json!(["session:own"])), "{made}");
    // The same document in another request belongs to the other session.
    let (status, again) = api.call(Method::POST, "/v1/sessions", body).await;
    assert_eq!(status, 201, "{again}");
    let folder = api.dir.path().join("session-policies");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    for session in [&made, &again] {
        let names: Vec<String> = api.control.policies.snapshot().names().map(ToString::to_string).collect();
        assert!(!names.contains(&"own".to_owned()), "{names:?}");
        let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
        let (_, shown) = api.call(Method::GET, &path, Value::Null).await;
        assert_eq!(shown["view"]["unusable"], Value::Null, "{shown}");
        let asked = json!({"method": "GET", "url": "https://api.github.com/"});
        let (_, explained) = api.call(Method::POST, &format!("{path}/explain"), asked.clone()).await;
        assert_eq!(explained["passes"], true, "{explained}");
        api.call(Method::POST, &format!("{path}/end"), Value::Null).await;
        let (status, _) = api.call(Method::POST, &format!("{path}/explain"), asked).await;
        assert_eq!(status, 422);
    }
    let names: Vec<String> = api.control.policies.snapshot().names().map(ToString::to_string).collect();
    assert!(!names.contains(&"own".to_owned()), "{names:?}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test]
async fn a_bad_policy_file_changes_nothing_and_says_so() {
    let api = Api::open();
    let before = api.control.policies.snapshot().digest().clone();
    let file = api.dir.path().join("policies/bad.yaml");
    std::fs::write(&file, "policy: [").unwrap();
    for _ in 0..2 {
        let (status, problem) = api.call(Method::POST, "/v1/policies/reload", Value::Null).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("policy_rejected")));
    }
    assert_eq!(*api.control.policies.snapshot().digest(), before);
    let (status, health) = api.call(Method::GET, "/healthz", Value::Null).await;
    assert_eq!(status, 200);
    assert!(health["policies_rejected"].as_str().unwrap().contains("bad.yaml:1"), "{health}");
    std::fs::remove_file(&file).unwrap();
    let (status, view) = api.call(Method::POST, "/v1/policies/reload", Value::Null).await;
    assert_eq!((status, &view["rejected"]), (200, &Value::Null));
    assert_eq!(api.journal().matches("policy.rejected").count(), 1);
}

#[tokio::test]
async fn values_go_in_and_never_out() {
    let api = Api::open();
    let (status, _) = api.put("k", "kind=header&header=X-Api-Key&audience=a.example,*.b.example", "sEcReT-value").await;
    assert_eq!(status, 201);
    let (status, view) = api.put("k", "kind=query&query=key&audience=a.example", "sEcReT-other").await;
    assert_eq!((status, view["version"].as_u64()), (200, Some(2)));
    let (_, list) = api.call(Method::GET, "/v1/vaults/default/credentials", Value::Null).await;
    let (_, one) = api.call(Method::GET, "/v1/vaults/default/credentials/k", Value::Null).await;
    assert_eq!(list["items"][0], one);
    assert!(!format!("{list}{one}").contains("sEcReT"));
    assert_eq!(api.control.vault.reads(), 0);
    for (query, value, words) in [
        ("kind=magic&audience=a.example", "v-v-v-v-v", "unknown kind"),
        ("kind=header&audience=a.example", "v-v-v-v-v", "needs header: the header's name"),
        (
            "kind=bearer&header=X&audience=a.example",
            "v-v-v-v-v",
            "the kind bearer does not take header; --header is for --kind header",
        ),
        ("kind=body&audience=a.example", "v-v-v-v-v", "needs a slot"),
        ("kind=bearer&audience=a.example&body=%5B%7B%22json%22:%22x%22%7D%5D", "v-v-v-v-v", "JSON pointer"),
        ("kind=bearer&audience=a.example&body=%5B%7B%22xml%22:%22x%22%7D%5D", "v-v-v-v-v", "unknown variant"),
        ("kind=bearer&audience=a.example", "a\nb-long-enough", "value"),
        ("kind=bearer&audience=", "v-v-v-v-v", "audience"),
        ("kind=bearer&audience=a.example&extra=1", "v-v-v-v-v", "extra"),
    ] {
        let (status, problem) = api.put("bad", query, value).await;
        assert!(matches!(status, 400 | 422), "{query}: {status} {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words) && !detail.contains("a\nb"), "{query}: {problem}");
    }
    let (status, _) = api.call(Method::DELETE, "/v1/vaults/default/credentials/k", Value::Null).await;
    assert_eq!(status, 204);
    let (status, _) = api.call(Method::DELETE, "/v1/vaults/default/credentials/k", Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn records_are_found_as_soon_as_they_are_written() {
    let api = Api::open();
    let (_, made) = api.call(Method::POST, "/v1/sessions", json!({})).await;
    let (_, list) = api.call(Method::GET, "/v1/records?kind=session.created", Value::Null).await;
    assert_eq!(list["items"][0]["session"], made["id"]);
    for query in ["decision=maybe", "kind=nothing", "limit=many", "sql=1", "since=yesterday"] {
        let (status, _) = api.call(Method::GET, &format!("/v1/records?{query}"), Value::Null).await;
        assert!(matches!(status, 400 | 422), "{query}: {status}");
    }
}

#[tokio::test]
async fn the_end_of_a_sessions_time_is_recorded() {
    let api = Api::open();
    let (_, made) = api.call(Method::POST, "/v1/sessions", json!({"ttl": "1s"})).await;
    let session = api.control.sessions.get(&made["id"].as_str().unwrap().into()).unwrap();
    session.ended().await;
    // The watch runs on this runtime too.
    while !api.journal().contains("its time is over") {
        tokio::task::yield_now().await;
    }
    assert!(!session.is_live(Timestamp::now()));
}

#[tokio::test]
async fn unknown_calls_are_answered_in_kind() {
    let api = Api::open();
    let (status, problem) = api.call(Method::GET, "/v1/nothing", Value::Null).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("not_found")));
    let (status, problem) = api.call(Method::PATCH, "/v1/sessions", Value::Null).await;
    assert_eq!((status, problem["code"].as_str()), (405, Some("method_not_allowed")));
    let large = json!({"user": "x".repeat(2 << 20)});
    let (status, _) = api.call(Method::POST, "/v1/sessions", large).await;
    assert_eq!(status, 413);
}

#[test]
fn the_library_compiles() {
    let sources: Vec<PolicySource> = read_library();
    assert!(compile(&sources).is_ok());
    assert!(read_path(Path::new("/nonexistent/x.yaml")).is_err());
}

#[tokio::test]
async fn a_broken_configured_file_stops_no_session() {
    let api = Api::open();
    std::fs::write(api.dir.path().join("policies/mine.yaml"), "policy: [").unwrap();
    let own = POLICY.replace("policy: mine", "policy: own");
    for body in
        [json!({"policies": ["mine"]}), json!({"policies": ["mine"], "documents": [{"name": "own.yaml", "text": own}]})]
    {
        let (status, made) = api.call(Method::POST, "/v1/sessions", body.clone()).await;
        assert_eq!(status, 201, "{body}: {made}");
        let path = format!("/v1/sessions/{}", made["id"].as_str().unwrap());
        let (status, _) = api.call(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, 200);
    }
    let body = json!({"documents": [{"name": "x.yaml", "text": "policy: ["}]});
    let (status, _) = api.call(Method::POST, "/v1/sessions", body).await;
    assert_eq!(status, 422);
    assert_eq!(api.control.policies.rejected(), None);
    let names: Vec<String> = api.control.policies.snapshot().names().map(ToString::to_string).collect();
    assert!(names.contains(&"mine".to_owned()) && !names.contains(&"own".to_owned()), "{names:?}");
    // Of the session's document, not of the file.
    let journal = api.journal();
    assert_eq!(journal.matches("policy.rejected").count(), 1);
    assert!(journal.contains("documents of a session: x.yaml:1:"), "{journal}");
}

#[tokio::test]
async fn a_credential_is_not_offered_under_a_name_that_steers_commands() {
    let api = Api::open();
    for name in ["PATH", "LD_PRELOAD", "HTTPS_PROXY", "A%20B"] {
        let (status, problem) =
            api.put("k", &format!("kind=bearer&audience=a.example&env={name}"), "sEcReT-value").await;
        assert_eq!(status, 422, "{name}: {problem}");
    }
}

#[tokio::test]
async fn records_stand_in_the_order_of_the_calls_that_caused_them() {
    let api = Api::open();
    api.put("k", "kind=bearer&audience=a.example", "sEcReT-value").await;
    let own = POLICY.replace("policy: mine", "policy: own");
    let body = json!({"documents": [{"name": "own.yaml", "text": own}]});
    let (_, made) = api.call(Method::POST, "/v1/sessions", body).await;
    api.call(Method::DELETE, &format!("/v1/sessions/{}", made["id"].as_str().unwrap()), Value::Null).await;
    api.call(Method::DELETE, "/v1/vaults/default/credentials/k", Value::Null).await;
    let (_, list) = api.call(Method::GET, "/v1/records", Value::Null).await;
    let mut rows: Vec<_> = list["items"].as_array().unwrap().iter().collect();
    rows.sort_by_key(|row| row["seq"].as_u64());
    let kinds: Vec<_> = rows.iter().filter_map(|row| row["kind"].as_str()).collect();
    let expected = ["credential.put", "session.created", "session.ended", "credential.removed"];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn many_credentials_are_put_in_one_change_or_none_of_them() {
    let api = Api::open();
    let path = "/v1/vaults/default/credentials";
    let one =
        |name: &str, value: &str| json!({"name": name, "value": value, "kind": "bearer", "audience": "a.example"});
    let generation = api.control.vault.generation();
    let broken = json!([one("a", "sEcReT-value-of-a"), one("b", "sEcReT\nvalue")]);
    let (status, problem) = api.call(Method::POST, path, broken).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("b: the value holds a line end"), "{problem}");
    assert!(!problem.to_string().contains("sEcReT"), "{problem}");
    let good = json!([one("a", "sEcReT-value-of-a"), one("b", "sEcReT-value-of-b")]);
    let (status, told) = api.call(Method::POST, &format!("{path}?dry_run=true"), good.clone()).await;
    assert_eq!((status, &told["items"][1]["version"]), (200, &json!(1)), "{told}");
    assert_eq!(api.control.vault.generation(), generation);
    let (status, told) = api.call(Method::POST, path, good.clone()).await;
    assert_eq!((status, &told["items"][1]["name"]), (201, &json!("b")), "{told}");
    assert_eq!(api.control.vault.generation(), generation + 1);
    let (_, told) = api.call(Method::POST, path, good).await;
    assert_eq!(told["items"][0]["version"], 2, "{told}");
    let (_, records) = api.call(Method::GET, "/v1/records?kind=credential.put", Value::Null).await;
    let named: Vec<_> = records["items"].as_array().unwrap().iter().map(|row| row["credentials"].to_string()).collect();
    let wanted = [("a", 1), ("b", 1), ("a", 2), ("b", 2)];
    assert_eq!(named, wanted.map(|(name, version)| json!([{"name": name, "version": version}]).to_string()));
    assert!(!api.journal().contains("sEcReT"));
}

#[tokio::test]
async fn t164_a_change_that_cannot_be_written_is_recorded() {
    let store = Memory::default();
    let api = Api::open_with(|_, key| Vault::create_in(Box::new(store.clone()), key).unwrap());
    api.put("k", "kind=bearer&audience=a.example", "sEcReT-value").await;
    let generation = api.control.vault.generation();
    store.full.store(true, std::sync::atomic::Ordering::Relaxed);
    let credentials = "/v1/vaults/default/credentials";
    let one = json!([{"name": "n", "value": "sEcReT-value", "kind": "bearer", "audience": "a.example"}]);
    for (method, path, body) in [
        (Method::POST, credentials.to_owned(), one),
        (Method::DELETE, format!("{credentials}/k"), Value::Null),
        (Method::POST, "/v1/vaults/default/rotate".to_owned(), Value::Null),
    ] {
        let (status, problem) = api.call(method, &path, body).await;
        assert_eq!((status, &problem["code"]), (500, &json!("internal")), "{path}: {problem}");
    }
    let (status, _) = api.put("k", "kind=bearer&audience=a.example", "sEcReT-other").await;
    assert_eq!(status, 500);
    assert_eq!(api.control.vault.generation(), generation);
    let (_, records) = api.call(Method::GET, "/v1/records?code=vault_write_failed", Value::Null).await;
    let rows = records["items"].as_array().unwrap();
    assert_eq!(rows.len(), 4, "{records}");
    for row in rows {
        assert_eq!((&row["kind"], &row["generation"]), (&json!("vault.failed"), &json!(generation)), "{row}");
        assert!(row["detail"].as_str().unwrap().starts_with("not written: "), "{row}");
    }
    let (_, puts) = api.call(Method::GET, "/v1/records?kind=credential.put", Value::Null).await;
    assert_eq!(puts["items"].as_array().unwrap().len(), 1, "{puts}");
    assert!(!api.journal().contains("sEcReT"));
}

#[tokio::test]
async fn a_change_of_a_vault_that_another_process_replaced_is_a_conflict() {
    let store = Memory::default();
    let api = Api::open_with(|_, key| Vault::create_in(Box::new(store.clone()), key).unwrap());
    let older = store.bytes.lock().unwrap().clone();
    api.put("k", "kind=bearer&audience=a.example", "sEcReT-value").await;
    *store.bytes.lock().unwrap() = older.clone();
    let (status, problem) = api.call(Method::DELETE, "/v1/vaults/default/credentials/k", Value::Null).await;
    let why = "the stored vault is generation 1 and not generation 2: another process has replaced it; find that process, then restart Egret";
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")), "{problem}");
    assert_eq!(problem["detail"], format!("the vault's file cannot be used: {why}"));
    assert!(*store.bytes.lock().unwrap() == older, "nothing was written");
    let (_, records) = api.call(Method::GET, "/v1/records?code=vault_write_failed", Value::Null).await;
    assert_eq!(records["items"][0]["detail"], format!("not written: {why}"), "{records}");
}

#[tokio::test]
async fn a_query_that_a_client_writes_is_read_as_it_was_meant() {
    let api = Api::open();
    let spec = CredentialDocument {
        kind: "header".into(),
        also: vec!["bearer".into(), "query:key".into()],
        audience: vec!["a.example".into(), "*.b.example:8443".into()],
        body: vec![BodySlotDocument::Json("/a,b".into()), BodySlotDocument::Form("secret".into())],
        body_swaps: Some(2),
        env: Some("KEY".into()),
        prefix: Some("sk-".into()),
        expires: Some("2090-01-31T18:00:00Z".parse().unwrap()),
        description: Some("reads & writes, 100%".into()),
        owner: Some("platform".into()),
    };
    let options = BTreeMap::from([("header".into(), "X-Api-Key".into())]);
    let request = CredentialRequest { spec: spec.clone(), allow_weak: true, options, ..CredentialRequest::default() };
    let query = ::api::path_with("", &request).unwrap();
    let (status, shown) = api.put("k", query.trim_start_matches('?'), "weak").await;
    assert_eq!(status, 201, "{shown}");
    let shown: CredentialView = serde_json::from_value(shown).unwrap();
    // A list shows locations with a space.
    let also = vec!["bearer".into(), "query key".into()];
    assert_eq!(shown.spec, CredentialDocument { kind: "header X-Api-Key".into(), also, ..spec });
    assert_eq!((shown.name.as_str(), shown.location), ("k", None));
}
