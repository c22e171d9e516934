//! Each kind of credential and the values that it refuses.

use super::*;
use secret::Secret;

fn secret(text: impl AsRef<[u8]>) -> Secret {
    Secret::new(text.as_ref().to_vec())
}

fn kind(name: &str) -> Kind {
    Kind::new(name, []).unwrap()
}

fn try_header(name: &str, prefix: Option<&str>) -> Result<Kind, CredentialError> {
    let prefix = prefix.map(|prefix| ("prefix", prefix.to_owned()));
    Kind::new("header", [("name", name.to_owned())].into_iter().chain(prefix))
}

fn header(name: &str, prefix: Option<&str>) -> Kind {
    try_header(name, prefix).unwrap()
}

fn named(kind: &str, name: &str) -> Result<Kind, CredentialError> {
    Kind::new(kind, [("name", name.to_owned())])
}

fn query(name: &str) -> Kind {
    named("query", name).unwrap()
}

fn placed(kind: &Kind, value: &str) -> (String, Vec<u8>) {
    match kind.placement(&secret(value)).unwrap() {
        Placement::Header { name, value } => (name, value.to_vec()),
        Placement::Query { name, value } => (format!("?{name}"), value.as_bytes().to_vec()),
        Placement::Cookie { name, value } => (format!("cookie {name}"), value.to_vec()),
    }
}

fn patterns(kind: &Kind, value: &str) -> Vec<Vec<u8>> {
    kind.patterns(&secret(value)).iter().map(|pattern| pattern.to_vec()).collect()
}

fn spec(kind: Kind) -> CredentialSpec {
    CredentialSpec::new(kind, Audience::parse(&["api.example.com"]).unwrap())
}

/// The spec as it is sealed and opened again.
fn reopened(spec: CredentialSpec) -> CredentialSpec {
    let shape = Shape { spec, fingerprint: String::new(), version: 1 };
    crate::document::read(&crate::document::write(&shape), 1, None).unwrap().spec
}

#[test]
fn t087_values_that_break_a_header_are_refused() {
    let cookie = named("cookie", "sid").unwrap();
    for kind in [Kind::bearer(), kind("basic"), header("x-key", None), query("key"), cookie, kind("body")] {
        for bad in ["u:a\rb", "u:a\nb", "u:a\0b", "u:token\r\nX-Evil: 1", "u:a\x1bb", "u:a\x7f", "\nu:p", "u:p\n"] {
            assert_eq!(kind.check_value(&secret(bad)), Err(ValueError::Control), "{} {bad:?}", kind.name());
        }
        assert_eq!(kind.check_value(&secret("")), Err(ValueError::Empty));
        assert_eq!(kind.check_value(&secret(vec![b':'; MAX_VALUE_BYTES + 1])), Err(ValueError::Length));
    }
}

#[test]
fn t087_each_kind_has_its_own_grammar() {
    for (kind, value, want) in [
        (Kind::bearer(), "ghp_0123456789", Ok(())),
        (Kind::bearer(), "two words", Err(ValueError::Space)),
        (Kind::bearer(), "tab\there", Err(ValueError::Space)),
        (Kind::bearer(), "caf\u{e9}", Err(ValueError::Ascii)),
        (kind("basic"), "user:pass:word with caf\u{e9}", Ok(())),
        (kind("basic"), ":password", Ok(())),
        (kind("basic"), "user:", Err(ValueError::Empty)),
        (kind("basic"), "nocolon", Err(ValueError::Colon)),
        (kind("basic"), "user:a\tb", Err(ValueError::Control)),
        (header("x", None), "inner space\tand tab", Ok(())),
        (header("x", None), " leading", Err(ValueError::Space)),
        (header("x", None), "trailing\t", Err(ValueError::Space)),
        (query("k"), "any &=# thing", Ok(())),
        (query("k"), "a\tb", Err(ValueError::Control)),
        (named("cookie", "sid").unwrap(), "a=b%20c", Ok(())),
        (named("cookie", "sid").unwrap(), "a;b", Err(ValueError::Cookie)),
        (named("cookie", "sid").unwrap(), "\"a\"", Err(ValueError::Cookie)),
        (named("cookie", "sid").unwrap(), "a b", Err(ValueError::Space)),
        (kind("body"), "any \"text\" \u{e9}", Ok(())),
    ] {
        assert_eq!(kind.check_value(&secret(value)), want, "{} {value:?}", kind.name());
    }
}

#[test]
fn each_kind_goes_to_its_place() {
    let authorization = |value: &str| ("authorization".to_owned(), value.as_bytes().to_vec());
    assert_eq!(placed(&Kind::bearer(), "tok"), authorization("Bearer tok"));
    assert_eq!(placed(&kind("basic"), "user:pass"), authorization("Basic dXNlcjpwYXNz"));
    assert_eq!(placed(&header("X-Api-Key", None), "k"), ("x-api-key".to_owned(), b"k".to_vec()));
    assert_eq!(placed(&header("Authorization", Some("token ")), "k"), authorization("token k"));
    assert_eq!(placed(&named("cookie", "sid").unwrap(), "k"), ("cookie sid".to_owned(), b"k".to_vec()));
    assert!(kind("body").placement(&secret("k")).is_none());
    assert_eq!(placed(&query("api key"), "a+b/c \u{e9}"), ("?api%20key".to_owned(), b"a%2Bb%2Fc%20%C3%A9".to_vec()));
}

#[test]
fn a_placeholder_in_a_basic_pair_stands_for_the_password() {
    assert_eq!(kind("basic").substitution_bytes(&secret("user:pass:word")), b"pass:word");
    assert_eq!(Kind::bearer().substitution_bytes(&secret("a:b")), b"a:b");
}

#[test]
fn patterns_cover_every_plain_form() {
    assert_eq!(patterns(&Kind::bearer(), "token"), [b"token".to_vec()]);
    let all = patterns(&kind("basic"), "user:password");
    assert_eq!(all, [b"user:password".to_vec(), b"dXNlcjpwYXNzd29yZA==".to_vec(), b"password".to_vec()]);
    let short = patterns(&kind("basic"), "user:1234567");
    assert_eq!(short.len(), 2, "a short password stands in ordinary text too");
}

#[test]
fn header_names_that_steer_a_message_are_refused() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "connection",
        "Proxy-Authorization",
        "TE",
        "upgrade",
        "Range",
        "Content-Type",
    ] {
        assert_eq!(try_header(name, None).unwrap_err(), CredentialError::Header, "{name}");
    }
    for name in ["", "a b", "a:b", "x\r\n", "caf\u{e9}", ":path"] {
        assert_eq!(try_header(name, None).unwrap_err(), CredentialError::Header, "{name:?}");
    }
    for prefix in ["\r\n", " x", "caf\u{e9}"] {
        assert_eq!(try_header("x", Some(prefix)).unwrap_err(), CredentialError::HeaderPrefix, "{prefix:?}");
    }
    for name in ["", "a\nb"] {
        assert_eq!(named("query", name).unwrap_err(), CredentialError::Query);
    }
    for name in ["", "a b", "a=b", "a;b"] {
        assert_eq!(named("cookie", name).unwrap_err(), CredentialError::Cookie);
    }
}

#[test]
fn a_kind_takes_its_own_options() {
    assert_eq!(Kind::new("token", []).unwrap_err(), CredentialError::UnknownKind("token".to_owned()));
    let missing = Kind::new("header", []).unwrap_err().to_string();
    assert_eq!(missing, "the kind header needs header: the header's name, such as X-Api-Key");
    assert_eq!(
        named("bearer", "x").unwrap_err(),
        CredentialError::UnknownOption { kind: "bearer", option: "name".to_owned() }
    );
    let told = Kind::new("token", []).unwrap_err().to_string();
    assert_eq!(told, "unknown kind \"token\"; expected one of bearer, basic, header, query, cookie, body");
    assert_eq!(header("X-Api-Key", Some("Token ")).to_string(), "header X-Api-Key");
}

#[test]
fn slots_in_bodies_are_pointers_or_fields() {
    let slots = |slot: BodySlot| BodySlots::new(vec![slot], 1);
    for pointer in ["/a", "/a/0/b", "/a~1b~0c", "/"] {
        assert!(slots(BodySlot::Json(pointer.to_owned())).is_ok(), "{pointer}");
    }
    for pointer in ["", "a", "/a~", "/a~2", "/a\n"] {
        assert_eq!(slots(BodySlot::Json(pointer.to_owned())), Err(CredentialError::BodySlot), "{pointer:?}");
    }
    assert_eq!(slots(BodySlot::Form(String::new())), Err(CredentialError::BodySlot));
    let form = || BodySlot::Form("client_secret".to_owned());
    for swaps in [0, MAX_BODY_SWAPS + 1] {
        assert_eq!(BodySlots::new(vec![form()], swaps), Err(CredentialError::BodySwaps));
    }
    assert_eq!(BodySlots::new(vec![form(); MAX_BODY_SLOTS + 1], 1), Err(CredentialError::BodySlot));
    assert_eq!(spec(kind("body")).check(), Err(CredentialError::NoSlot));
    let body = BodySlots::new(vec![form(), BodySlot::Json("/a".to_owned())], 2).unwrap();
    let spec = CredentialSpec { body, ..spec(kind("body")) };
    assert_eq!(spec.check(), Ok(()));
    assert_eq!(reopened(spec.clone()), spec);
}

#[test]
fn names_are_plain() {
    let named = |tenant: &str, id: &str| {
        let new = NewCredential::new(id.into(), spec(Kind::bearer()));
        NewCredential { tenant: tenant.into(), ..new }.check_fields()
    };
    assert_eq!(named("acme-2", "github.token_1"), Ok(()));
    for name in ["", ".", "-x", "a/b", "a b", "a\n", "egret:internal", &"x".repeat(MAX_NAME_BYTES + 1)] {
        assert_eq!(named("default", name), Err(CredentialError::Name), "{name:?}");
        assert_eq!(named(name, "name"), Err(CredentialError::Name), "{name:?}");
    }
    for env in ["", "1A", "A-B", "A B", "A=B"] {
        let with = CredentialSpec { env: Some(env.to_owned()), ..spec(Kind::bearer()) };
        assert_eq!(with.check(), Err(CredentialError::Env), "{env:?}");
    }
    for prefix in ["", "a b", "a\"", &"x".repeat(MAX_PREFIX_BYTES + 1)] {
        let with = CredentialSpec { prefix: Some(prefix.to_owned()), ..spec(Kind::bearer()) };
        assert_eq!(with.check(), Err(CredentialError::Prefix), "{prefix:?}");
    }
    for text in ["two\nlines", &"x".repeat(MAX_DESCRIPTION_BYTES + 1)] {
        let (description, owner) = (Some(text.to_owned()), Some(text.to_owned()));
        let described = CredentialSpec { description, ..spec(Kind::bearer()) };
        let owned = CredentialSpec { owner, ..spec(Kind::bearer()) };
        assert_eq!(described.check(), Err(CredentialError::Description), "{text:?}");
        assert_eq!(owned.check(), Err(CredentialError::Description), "{text:?}");
    }
}

#[test]
fn placements_are_not_shown() {
    let placed = |kind: Kind| format!("{:?}", kind.placement(&secret("hunter2")).unwrap());
    let text = [Kind::bearer(), query("key"), named("cookie", "sid").unwrap()].map(placed).join(" ");
    assert_eq!(text, "Header(authorization: [REDACTED]) Query(key=[REDACTED]) Cookie(sid=[REDACTED])");
}

#[test]
fn a_placeholder_is_framed_by_what_the_credential_names_alone() {
    let with = |kind: &str, options: &[(&'static str, &str)]| {
        Kind::new(kind, options.iter().map(|(name, value)| (*name, (*value).to_owned()))).unwrap()
    };
    let bearer = Kind::bearer();
    for before in ["", "Bearer ", "bearer ", "token ", "Token "] {
        assert!(bearer.frames(before.as_bytes(), b""), "{before}");
    }
    for (before, after) in
        [("Bearer X ", ""), ("Bearer  ", ""), ("Bearer ", ","), ("X,", ""), ("Basic ", ""), ("", " "), ("Bearer", "")]
    {
        assert!(!bearer.frames(before.as_bytes(), after.as_bytes()), "{before}{{}}{after}");
    }
    let templated = with("bearer", &[("template", "Token token={}")]);
    assert!(templated.frames(b"Token token=", b"") && templated.frames(b"", b""));
    assert!(!templated.frames(b"Token token=x", b""));
    let quoted = with("header", &[("name", "Authorization"), ("template", "MediaBrowser Token=\"{}\"")]);
    assert!(quoted.frames(b"MediaBrowser Token=\"", b"\"") && !quoted.frames(b"MediaBrowser Token=\"", b""));
    let Some(Placement::Header { value, .. }) = quoted.placement(&secret("hunter2")) else { panic!("a header") };
    assert_eq!(value.as_slice(), b"MediaBrowser Token=\"hunter2\"");
    let prefixed = header("Authorization", Some("ApiKey "));
    assert!(prefixed.frames(b"ApiKey ", b"") && !prefixed.frames(b"apikey ", b""));
    for template in ["none", "{}{}", " {}", "{} ", "ü{}", "a\n{}", &"x".repeat(MAX_TEMPLATE_BYTES)] {
        let refused = Kind::new("bearer", [("template", (*template).to_owned())]).unwrap_err();
        assert_eq!(refused, CredentialError::Template, "{template:?}");
    }
    let both = ["template", "prefix"].map(|name| (name, "T {}".to_owned())).into_iter();
    let both = Kind::new("header", both.chain([("name", "X-A".to_owned())])).unwrap_err().to_string();
    assert_eq!(both, "use either --template or --header-prefix: a template contains the text before the secret itself");
    assert_eq!(reopened(spec(quoted.clone())).kind, quoted);
}

#[test]
fn a_credential_may_have_further_locations() {
    let also = |texts: &[&str]| texts.iter().map(|text| Kind::location(text)).collect::<Result<Vec<_>, _>>();
    let checked = |kind: Kind, texts: &[&str]| {
        let spec = CredentialSpec { also: also(texts)?, ..spec(kind) };
        spec.check().map(|()| spec)
    };
    let both = checked(header("x-api-key", None), &["bearer", "query:key"]).unwrap();
    let slots: Vec<_> = both.kinds().map(|kind| kind.to_string()).collect();
    assert_eq!(slots, ["header x-api-key", "bearer", "query key"]);
    for bad in ["header", "bearer:x", "basic", "body", "nothing", "header:", "cookie:a b"] {
        assert!(checked(kind("bearer"), &[bad]).is_err(), "{bad}");
    }
    for twice in [&["bearer"][..], &["query:a", "query:a"], &["query:a", "query:b", "query:c", "query:d", "query:e"]] {
        assert_eq!(checked(kind("bearer"), twice).err(), Some(CredentialError::Also), "{twice:?}");
    }
    assert_eq!(checked(kind("basic"), &["bearer"]).err(), Some(CredentialError::Also), "a pair is another value");
}
