//! Each kind of credential and what it refuses.

use super::*;

fn secret(text: impl AsRef<[u8]>) -> Secret {
    Secret::new(text.as_ref().to_vec())
}

fn header(name: &str, prefix: Option<&str>) -> Kind {
    Kind::Header { name: name.to_owned(), prefix: prefix.map(str::to_owned) }
}

fn query(name: &str) -> Kind {
    Kind::Query { name: name.to_owned() }
}

fn placed(kind: &Kind, value: &str) -> (String, Vec<u8>) {
    match kind.placement(&secret(value)) {
        Placement::Header { name, value } => (name, value.to_vec()),
        Placement::Query { name, value } => (format!("?{name}"), value.as_bytes().to_vec()),
    }
}

fn patterns(kind: &Kind, value: &str) -> Vec<Vec<u8>> {
    kind.patterns(&secret(value)).iter().map(|pattern| pattern.to_vec()).collect()
}

fn new(kind: Kind) -> NewCredential {
    NewCredential::new("name".into(), kind, vec!["api.example.com".to_owned()])
}

#[test]
fn t087_values_that_break_a_header_are_refused() {
    for kind in [Kind::Bearer, Kind::Basic, header("x-key", None), query("key")] {
        for bad in ["u:a\rb", "u:a\nb", "u:a\0b", "u:token\r\nX-Evil: 1", "u:a\x1bb", "u:a\x7f", "\nu:p", "u:p\n"] {
            assert_eq!(kind.check_value(&secret(bad)), Err(ValueError::Control), "{} {bad:?}", kind.as_str());
        }
        assert_eq!(kind.check_value(&secret("")), Err(ValueError::Empty));
        assert_eq!(kind.check_value(&secret(vec![b':'; MAX_VALUE_BYTES + 1])), Err(ValueError::Length));
    }
}

#[test]
fn t087_each_kind_has_its_own_grammar() {
    for (kind, value, want) in [
        (Kind::Bearer, "ghp_0123456789", Ok(())),
        (Kind::Bearer, "two words", Err(ValueError::Space)),
        (Kind::Bearer, "tab\there", Err(ValueError::Space)),
        (Kind::Bearer, "caf\u{e9}", Err(ValueError::Ascii)),
        (Kind::Basic, "user:pass:word with caf\u{e9}", Ok(())),
        (Kind::Basic, ":password", Ok(())),
        (Kind::Basic, "user:", Err(ValueError::Empty)),
        (Kind::Basic, "nocolon", Err(ValueError::Colon)),
        (Kind::Basic, "user:a\tb", Err(ValueError::Control)),
        (header("x", None), "inner space\tand tab", Ok(())),
        (header("x", None), " leading", Err(ValueError::Space)),
        (header("x", None), "trailing\t", Err(ValueError::Space)),
        (query("k"), "any &=# thing", Ok(())),
        (query("k"), "a\tb", Err(ValueError::Control)),
    ] {
        assert_eq!(kind.check_value(&secret(value)), want, "{} {value:?}", kind.as_str());
    }
}

#[test]
fn each_kind_goes_to_its_place() {
    let authorization = |value: &str| ("authorization".to_owned(), value.as_bytes().to_vec());
    assert_eq!(placed(&Kind::Bearer, "tok"), authorization("Bearer tok"));
    assert_eq!(placed(&Kind::Basic, "user:pass"), authorization("Basic dXNlcjpwYXNz"));
    assert_eq!(placed(&header("X-Api-Key", None), "k"), ("x-api-key".to_owned(), b"k".to_vec()));
    assert_eq!(placed(&header("Authorization", Some("token ")), "k"), authorization("token k"));
    assert_eq!(placed(&query("api key"), "a+b/c \u{e9}"), ("?api%20key".to_owned(), b"a%2Bb%2Fc%20%C3%A9".to_vec()));
}

#[test]
fn a_placeholder_in_a_basic_pair_stands_for_the_password() {
    assert_eq!(Kind::Basic.swap_value(&secret("user:pass:word")), b"pass:word");
    assert_eq!(Kind::Bearer.swap_value(&secret("a:b")), b"a:b");
}

#[test]
fn patterns_cover_every_plain_form() {
    assert_eq!(patterns(&Kind::Bearer, "token"), [b"token".to_vec()]);
    let all = patterns(&Kind::Basic, "user:password");
    assert_eq!(all, [b"user:password".to_vec(), b"dXNlcjpwYXNzd29yZA==".to_vec(), b"password".to_vec()]);
    let short = patterns(&Kind::Basic, "user:1234567");
    assert_eq!(short.len(), 2, "a short password stands in ordinary text too");
}

#[test]
fn header_names_that_steer_a_message_are_refused() {
    for name in ["Host", "content-length", "Transfer-Encoding", "connection", "Proxy-Authorization", "TE", "upgrade"] {
        assert_eq!(new(header(name, None)).shape(1, String::new()).unwrap_err(), CredentialError::Header, "{name}");
    }
    for name in ["", "a b", "a:b", "x\r\n", "caf\u{e9}", ":path"] {
        assert_eq!(new(header(name, None)).shape(1, String::new()).unwrap_err(), CredentialError::Header, "{name:?}");
    }
    for prefix in ["\r\n", " x", "caf\u{e9}"] {
        assert_eq!(
            new(header("x", Some(prefix))).shape(1, String::new()).unwrap_err(),
            CredentialError::HeaderPrefix,
            "{prefix:?}"
        );
    }
    assert_eq!(new(query("")).shape(1, String::new()).unwrap_err(), CredentialError::Query);
    assert_eq!(new(query("a\nb")).shape(1, String::new()).unwrap_err(), CredentialError::Query);
}

#[test]
fn names_are_plain() {
    let named = |tenant: &str, id: &str| NewCredential { tenant: tenant.into(), id: id.into(), ..new(Kind::Bearer) };
    assert!(named("acme-2", "github.token_1").shape(1, String::new()).is_ok());
    for name in ["", ".", "-x", "a/b", "a b", "a\n", "egret:internal", &"x".repeat(MAX_NAME_BYTES + 1)] {
        assert_eq!(named("default", name).shape(1, String::new()).unwrap_err(), CredentialError::Name, "{name:?}");
        assert_eq!(named(name, "name").shape(1, String::new()).unwrap_err(), CredentialError::Name, "{name:?}");
    }
    for env in ["", "1A", "A-B", "A B", "A=B"] {
        let with = NewCredential { env: Some(env.to_owned()), ..new(Kind::Bearer) };
        assert_eq!(with.shape(1, String::new()).unwrap_err(), CredentialError::Env, "{env:?}");
    }
    for prefix in ["", "a b", "a\"", &"x".repeat(MAX_PREFIX_BYTES + 1)] {
        let with = NewCredential { prefix: Some(prefix.to_owned()), ..new(Kind::Bearer) };
        assert_eq!(with.shape(1, String::new()).unwrap_err(), CredentialError::Prefix, "{prefix:?}");
    }
}

#[test]
fn placements_are_not_shown() {
    let text =
        format!("{:?} {:?}", Kind::Bearer.placement(&secret("hunter2")), query("key").placement(&secret("hunter2")));
    assert_eq!(text, "Header(authorization: [REDACTED]) Query(key=[REDACTED])");
}
