//! Rules that do not match the vault or the configuration are reported when they are loaded, used and explained.

use super::*;

const MISFITS: &str = r#"policy: misfits
rules:
  - {id: unknown, allow: {host: a.example.com}, use: [acmee]}
  - {id: port, allow: {host: b.example.com, port: 8443}, use: [acme]}
  - {id: both, allow: {host: c.example.com}, use: [acme, other]}
  - {id: wiki, allow: {host: wiki.test}, addresses: [10.9.0.0/16]}
  - {id: fine, allow: {host: b.example.com}, use: [acme]}
"#;

const UNKNOWN: &str = "policy `misfits`: rule `unknown` uses `acmee`, and the vault has no credential of this name: requests go out without it; put it with `egret vault put acmee`, or correct the name (`egret vault list` prints all)";
const PORT: &str = "policy `misfits`: rule `port` uses `acme` at `b.example.com:8443`, which is not in its audience (b.example.com, c.example.com): requests to it go out without the credential; name hosts and ports of the audience, or put `acme` again with `b.example.com:8443` in it";
const BOTH: &str = "policy `misfits`: rule `both` uses `acme` and `other`, which both go to header authorization: a session that has both must send the placeholder of one of them; write a rule for each credential, or grant a session only one of them";
const WIKI: &str = "policy `misfits`: rule `wiki` allows `wiki.test`, for which `upstream.resolve` gives 10.1.2.3, but the rule's `addresses` do not cover it: requests are refused as denied_address; write `addresses: [10.1.2.3]` beside `allow`, or correct `upstream.resolve`";

async fn api() -> Api {
    let api = Api::open();
    for (name, query) in [
        ("acme", "kind=bearer&audience=b.example.com,c.example.com"),
        ("other", "kind=header&header=Authorization&audience=c.example.com"),
        ("spare", "kind=bearer&audience=d.example.com"),
    ] {
        let (status, put) = api.put(name, query, &format!("sEcReT-value-of-{name}")).await;
        assert_eq!(status, 201, "{put}");
    }
    std::fs::write(api.dir.path().join("policies/misfits.yaml"), MISFITS).unwrap();
    api
}

#[tokio::test]
async fn a_load_reports_rules_that_do_not_fit() {
    let api = api().await;
    let (status, view) = api.call(Method::POST, "/v1/policies/reload", Value::Null).await;
    assert_eq!((status, &view["rejected"]), (200, &Value::Null));
    assert_eq!(view["warnings"], json!([UNKNOWN, PORT, BOTH, WIKI]));
}

#[tokio::test]
async fn a_new_session_reports_what_does_not_fit_and_what_it_never_uses() {
    let api = api().await;
    api.call(Method::POST, "/v1/policies/reload", Value::Null).await;
    let body = json!({"policies": ["misfits"], "credentials": ["acme", "spare"]});
    let (status, made) = api.call(Method::POST, "/v1/sessions", body).await;
    assert_eq!(status, 201, "{made}");
    let unused = "credential `spare` is granted, and no rule of the session's policies has `use: [spare]`";
    assert_eq!(made["warnings"], json!([BOTH, PORT, UNKNOWN, WIKI, unused]));
    let (_, made) = api.call(Method::POST, "/v1/sessions", json!({"policies": ["mine"]})).await;
    assert!(made.get("warnings").is_none(), "{made}");
}

#[tokio::test]
async fn an_explanation_reports_what_does_not_fit_of_its_rule() {
    let api = api().await;
    api.call(Method::POST, "/v1/policies/reload", Value::Null).await;
    let (_, made) = api.call(Method::POST, "/v1/sessions", json!({"policies": ["misfits"]})).await;
    let path = format!("/v1/sessions/{}/explain", made["id"].as_str().unwrap());
    for (url, warnings) in [
        ("https://a.example.com/", json!([UNKNOWN])),
        ("https://b.example.com:8443/", json!([PORT])),
        ("https://wiki.test/", json!([WIKI])),
        ("https://b.example.com/", json!([])),
        ("https://elsewhere.example.com/", json!([])),
    ] {
        let (_, explained) = api.call(Method::POST, &path, json!({"method": "GET", "url": url})).await;
        assert_eq!(explained["explanation"]["warnings"], warnings, "{url}");
        let text = explained["text"].as_str().unwrap();
        assert_eq!(text.matches("warning: ").count(), warnings.as_array().unwrap().len(), "{text}");
    }
}
