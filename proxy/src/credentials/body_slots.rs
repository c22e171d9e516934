//! Declared slots in the bodies of requests: found in JSON and in forms, and filled. After filling, a server reads the
//! original text of the slot with the value in place of the placeholder. No other part of the body changes.

use model::Fields;
use std::fmt;
use std::ops::Range;

use http::{HeaderValue, header};
use model::escape::form_decoded;
use model::query::pairs;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use vault::{BodySlot, percent_encode};
use zeroize::Zeroizing;

/// The format of a body that can have a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// `application/json`, or anything `+json` (RFC 8259).
    Json,
    /// `application/x-www-form-urlencoded` (the URL standard).
    Fields,
}

/// A body in which a slot is ambiguous or unreadable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

impl BodyFormat {
    /// The format that the head declares; `None` for any other, and for a body in a coding.
    pub(crate) fn of(fields: &Fields) -> Option<Self> {
        let mut types = fields.get_all(header::CONTENT_TYPE);
        let kind = types.next().filter(|_| types.next().is_none()).map(HeaderValue::as_bytes)?;
        let coded = fields.get_all(header::CONTENT_ENCODING).any(|value| {
            let value = value.as_bytes().trim_ascii();
            !value.is_empty() && !value.eq_ignore_ascii_case(b"identity")
        });
        let media = kind.split(|byte| *byte == b';').next()?.trim_ascii().to_ascii_lowercase();
        match media.as_slice() {
            _ if coded => None,
            b"application/x-www-form-urlencoded" => Some(Self::Fields),
            b"application/json" => Some(Self::Json),
            other if other.starts_with(b"application/") && other.ends_with(b"+json") => Some(Self::Json),
            _ => None,
        }
    }

    /// The locations of the texts of a slot in a body of this format, in their written form.
    ///
    /// # Errors
    /// [`Ambiguous`] for invalid JSON, for an object with a duplicate member on the path, and for a form with a duplicate
    /// field: servers differ in which of them they read.
    pub(crate) fn places(self, body: &str, slot: &BodySlot) -> Result<Vec<Range<usize>>, Ambiguous> {
        match (self, slot) {
            (Self::Json, BodySlot::Json(pointer)) => Ok(at_pointer(body, pointer)?.into_iter().collect()),
            (Self::Fields, BodySlot::Form(name)) => match fields_named(body, name) {
                several if several.len() > 1 => Err(Ambiguous),
                places => Ok(places),
            },
            (Self::Json, BodySlot::Form(_)) | (Self::Fields, BodySlot::Json(_)) => Ok(Vec::new()),
        }
    }

    /// The bytes of a slot's text between its quotes, if it has quotes.
    pub(crate) fn whole(self, text: &[u8]) -> Range<usize> {
        let quoted = self == Self::Json && text.len() >= 2 && text.starts_with(b"\"") && text.ends_with(b"\"");
        if quoted { 1..text.len() - 1 } else { 0..text.len() }
    }

    /// A value in the written form of a body of this format; `None` if it is not text.
    pub(crate) fn encode(self, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Fields => Some(Zeroizing::new(percent_encode(value).as_bytes().to_vec())),
            Self::Json => {
                let text = std::str::from_utf8(value).ok()?;
                // Room for the longest escape of each byte, so that growing buffers leave no copies behind.
                let mut quoted = Zeroizing::new(Vec::with_capacity(6 * value.len() + 2));
                serde_json::to_writer(&mut *quoted, text).ok()?;
                let inner = quoted.get(1..quoted.len().saturating_sub(1))?;
                Some(Zeroizing::new(inner.to_vec()))
            }
        }
    }

    /// The text of a slot with `placeholder` substituted by the value; `None` if a server would read any other text there.
    pub(crate) fn fill(self, text: &[u8], placeholder: &Range<usize>, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (front, name, back) =
            (text.get(..placeholder.start)?, text.get(placeholder.clone())?, text.get(placeholder.end..)?);
        let filled = Zeroizing::new([front, &self.encode(value)?, back].concat());
        // The placeholder itself consists of letters, digits and underscores, so it is read literally, or as part of an
        // escape.
        let before = self.decode(text)?;
        let at = memchr::memmem::find(&before, name)?;
        let wanted = Zeroizing::new([before.get(..at)?, value, before.get(at + name.len()..)?].concat());
        (*self.decode(&filled)? == *wanted).then_some(filled)
    }

    fn decode(self, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Fields => Some(Zeroizing::new(form_decoded(text))),
            Self::Json => serde_json::from_slice::<String>(text).ok().map(|text| Zeroizing::new(text.into_bytes())),
        }
    }
}

/// The members of an object in their written form, duplicates included.
struct Members<'b>(Vec<(String, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Members<'b> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        source.deserialize_map(Object).map(Self)
    }
}

/// The range of the text, with its quotes, that a pointer selects (RFC 6901); `None` if it selects no text.
fn at_pointer(body: &str, pointer: &str) -> Result<Option<Range<usize>>, Ambiguous> {
    let mut value: &RawValue = serde_json::from_str(body).map_err(|_| Ambiguous)?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let next = match value.get().as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(value.get()).map_err(|_| Ambiguous)?;
                let mut named = members.into_iter().filter(|(name, _)| *name == token).map(|(_, value)| value);
                let first = named.next();
                if named.next().is_some() {
                    return Err(Ambiguous);
                }
                first
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| Ambiguous)?;
                let plain = token == "0" || !token.starts_with(['0', '+']);
                token.parse().ok().filter(|_| plain).and_then(|at: usize| items.get(at).copied())
            }
            Some(_) | None => None,
        };
        match next {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    let text = value.get();
    // A text that was read without copying is a part of the body.
    let start = text.as_ptr().addr() - body.as_ptr().addr();
    Ok(text.starts_with('"').then(|| start..start + text.len()))
}

/// The ranges of the values of every field of this name.
fn fields_named(body: &str, name: &str) -> Vec<Range<usize>> {
    let named =
        pairs(body).filter(|pair| pair.value.is_some() && form_decoded(pair.name.as_bytes()) == name.as_bytes());
    named.map(|pair| pair.range.start + pair.name.len() + 1..pair.range.end).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACEHOLDER: &str = "egret_ph_0123456789abcdefghijABCDEFGHIJ01";

    fn json(pointer: &str) -> BodySlot {
        BodySlot::Json(pointer.to_owned())
    }

    fn form(name: &str) -> BodySlot {
        BodySlot::Form(name.to_owned())
    }

    fn texts<'b>(of: BodyFormat, body: &'b str, slot: &BodySlot) -> Result<Vec<&'b str>, Ambiguous> {
        of.places(body, slot).map(|places| places.into_iter().map(|place| body.get(place).unwrap()).collect())
    }

    #[test]
    fn the_form_is_what_the_head_says() {
        let of = |kind: &'static str, coding: Option<&'static str>| {
            let mut fields = Fields::new();
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            coding.map(|coding| fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding)));
            BodyFormat::of(&fields)
        };
        assert_eq!(of("Application/JSON; charset=utf-8", Some("identity")), Some(BodyFormat::Json));
        assert_eq!(of("application/vnd.x+json", None), Some(BodyFormat::Json));
        assert_eq!(of("application/x-www-form-urlencoded", None), Some(BodyFormat::Fields));
        assert_eq!(of("application/json", Some("gzip")), None);
        for kind in ["multipart/form-data; boundary=x", "text/plain", "application/jsonp", "x+json", ""] {
            assert_eq!(of(kind, None), None, "{kind}");
        }
        let mut fields = Fields::new();
        fields.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.append(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(BodyFormat::of(&fields), None, "two types are none");
    }

    #[test]
    fn a_pointer_leads_to_one_text() {
        let body = r#" {"a": {"b/c": ["x", {"~": "y"}], "": "z"}, "n": 1, "t": "q\"\u0061"} "#;
        for (pointer, want) in [
            ("/a/b~1c/0", Some("\"x\"")),
            ("/a/b~1c/1/~0", Some("\"y\"")),
            ("/a/", Some("\"z\"")),
            ("/t", Some("\"q\\\"\\u0061\"")),
            ("/n", None),
            ("/a", None),
            ("/a/b~1c/2", None),
            ("/a/b~1c/00", None),
            ("/a/b~1c/-", None),
            ("/t/0", None),
            ("/none", None),
        ] {
            assert_eq!(texts(BodyFormat::Json, body, &json(pointer)), Ok(want.into_iter().collect()), "{pointer}");
        }
        for body in ["", "{", "{\"a\": \"x\"} {}", r#"{"a": "x", "a": "y"}"#, r#"{"a": "x", "\u0061": "y"}"#] {
            assert_eq!(texts(BodyFormat::Json, body, &json("/a")), Err(Ambiguous), "{body}");
        }
        assert_eq!(texts(BodyFormat::Json, body, &form("a")), Ok(vec![]));
    }

    #[test]
    fn fields_are_found_by_their_name() {
        let body = "a=1&client%5Fsecret=x&b&=e&client_secretx=w";
        assert_eq!(texts(BodyFormat::Fields, body, &form("client_secret")), Ok(vec!["x"]));
        let twice = format!("{body}&client_secret=y%20z");
        assert_eq!(texts(BodyFormat::Fields, &twice, &form("client_secret")), Err(Ambiguous));
        assert_eq!(texts(BodyFormat::Fields, body, &form("b")), Ok(vec![]));
        assert_eq!(texts(BodyFormat::Fields, "a+b=1", &form("a b")), Ok(vec!["1"]));
        assert_eq!(texts(BodyFormat::Fields, body, &json("/a")), Ok(vec![]));
    }

    #[test]
    fn what_a_server_reads_is_the_value() {
        let fill = |of: BodyFormat, text: &str, value: &str| {
            let at = text.find(PLACEHOLDER).unwrap();
            let filled = of.fill(text.as_bytes(), &(at..at + PLACEHOLDER.len()), value.as_bytes());
            filled.map(|filled| String::from_utf8(filled.to_vec()).unwrap())
        };
        let quoted = format!("\"Bearer {PLACEHOLDER}!\"");
        assert_eq!(fill(BodyFormat::Json, &quoted, "a\"b\\c\u{e9}").unwrap(), "\"Bearer a\\\"b\\\\c\u{e9}!\"");
        assert_eq!(fill(BodyFormat::Fields, PLACEHOLDER, "a&b=c d+\u{e9}").unwrap(), "a%26b%3Dc%20d%2B%C3%A9");
        // The first character of the mark belongs to an escape: no server reads a placeholder there.
        assert_eq!(fill(BodyFormat::Json, &format!("\"\\u000{PLACEHOLDER}\""), "v"), None);
        assert_eq!(fill(BodyFormat::Fields, &format!("%0{PLACEHOLDER}"), "v"), None);
        let at = 1..1 + PLACEHOLDER.len();
        assert!(BodyFormat::Json.fill(format!("\"{PLACEHOLDER}\"").as_bytes(), &at, b"\xff").is_none(), "no text");
    }

    proptest! {
        #[test]
        fn any_text_around_a_placeholder_stays(front in ".{0,40}", back in ".{0,40}", value in "[^\\x00-\\x1f]{1,40}") {
            let text = serde_json::to_string(&format!("{front}{PLACEHOLDER}{back}")).unwrap();
            let at = text.find(PLACEHOLDER).unwrap();
            let filled = BodyFormat::Json.fill(text.as_bytes(), &(at..at + PLACEHOLDER.len()), value.as_bytes()).unwrap();
            let read: String = serde_json::from_slice(&filled).unwrap();
            prop_assert_eq!(read, format!("{front}{value}{back}"));
        }

        #[test]
        fn any_body_is_read_without_harm(body in ".{0,200}", pointer in "(/[a-z0-9~]{0,3}){1,3}") {
            let _unclear = BodyFormat::Json.places(&body, &json(&pointer));
            for place in BodyFormat::Fields.places(&body, &form("a")).unwrap_or_default() {
                prop_assert!(body.get(place).is_some());
            }
        }
    }
}
