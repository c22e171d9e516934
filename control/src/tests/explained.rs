//! What the proxy decides before it evaluates rules.

use super::*;

const POLICY: &str = "policy: all
rules:
  - {id: any, allow: {host: \"**.example.com\"}, use: [acme, other]}
  - {id: own, allow: {host: localhost, port: 3128}, addresses: [127.0.0.1]}
";

#[tokio::test]
async fn an_explanation_for_a_session_knows_what_is_decided_before_its_rules() {
    let api = Api::open();
    for name in ["acme", "other"] {
        let query = format!("kind=header&header=X-{name}&audience=**.example.com");
        let (status, put) = api.put(name, &query, &format!("sEcReT-value-of-{name}")).await;
        assert_eq!(status, 201, "{put}");
    }
    std::fs::write(api.dir.path().join("policies/all.yaml"), POLICY).unwrap();
    api.call(Method::POST, "/v1/policies/reload", Value::Null).await;
    let (_, made) = api.call(Method::POST, "/v1/sessions", json!({"policies": ["all"], "credentials": ["acme"]})).await;
    let path = format!("/v1/sessions/{}/explain", made["id"].as_str().unwrap());
    let long = format!("https://a.example.com/{}", "a".repeat(100));
    for (request, code) in [
        ("GET http://egret.internal/", None),
        ("HEAD https://egret.internal/", None),
        ("POST http://egret.internal/", Some("denied_method")),
        ("GET http://egret.internal/v1/sessions", Some("denied_self")),
        ("GET http://egret.internal/other", Some("denied_path")),
        ("GET http://x.egret.internal/", Some("denied_self")),
        ("GET https://localhost:3128/", Some("denied_self")),
        ("get https://a.example.com/", Some("malformed")),
        (&format!("GET {long}"), Some("uri_too_long")),
        (&format!("GET {}", long.strip_suffix('a').unwrap()), None),
        ("GET https://a.example.com/", None),
        ("GET https://other.example.org/", Some("denied_host")),
    ] {
        let (method, url) = request.split_once(' ').unwrap();
        let (status, explained) = api.call(Method::POST, &path, json!({"method": method, "url": url})).await;
        let explanation = &explained["explanation"];
        assert_eq!(status, 200, "{explained}");
        assert_eq!((&explanation["code"], &explained["passes"]), (&json!(code), &json!(code.is_none())), "{request}");
    }
    // Only what the session was granted is attached.
    let (_, explained) = api.call(Method::POST, &path, json!({"method": "GET", "url": "https://a.example.com/"})).await;
    assert_eq!(explained["explanation"]["permit"]["credentials"], json!(["acme"]));
    let reserved = json!({"method": "GET", "url": "http://egret.internal/"});
    let (_, explained) = api.call(Method::POST, &path, reserved).await;
    assert_eq!(explained["explanation"]["rule"], Value::Null);
    assert!(explained["text"].as_str().unwrap().contains("Egret itself answers"), "{explained}");
}
