//! Many credentials at once: the document, and the resulting single change of the vault.
//!
//! The document is JSON: a list of credentials, or an object of them by name. The fields of each are those of `PUT
//! /v1/vaults/default/credentials/{name}`, with `name` and `value`. Values are decoded into memory that is wiped. Errors
//! contain only names of fields and credentials, and positions in the text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api::{CredentialDocument, CredentialRequest, ImportQuery, ImportedView, List};
use audit::{Kind as RecordKind, Record};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use http::StatusCode;
use model::Timestamp;
use model::text_file::without_mark;
use serde::de::{self, Deserialize, MapAccess, Visitor};
use serde_json::value::RawValue;
use vault::{NewCredential, Secret, ValueError, VaultError, Weakness};
use zeroize::Zeroizing;

use crate::credential::{about, kind, read, refused};
use crate::problem::{Problem, Query, chain};
use crate::{Control, blocking};

/// The largest document; escaped values grow to at most six times their size.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 32 << 20;

/// A position in a text, both numbers from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// A value, with the position of each of its bytes. No `Clone`; `Debug` does not show it.
pub struct Value {
    bytes: Zeroizing<Vec<u8>>,
    places: Vec<Place>,
    start: Place,
}

/// One credential to be put.
#[derive(Debug)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Its properties besides its value.
    pub request: CredentialRequest,
    /// Its value.
    pub value: Value,
}

/// A problem of a document or of one of its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The position.
    pub place: Option<Place>,
    /// The credential.
    pub name: Option<String>,
    /// The problem; never contains a value.
    pub what: String,
}

impl Value {
    /// An empty value with this capacity, so that it never moves while it is filled.
    pub fn with_room(bytes: usize, start: Place) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(bytes)), places: Vec::with_capacity(bytes), start }
    }

    /// Adds the characters of one position.
    pub fn push(&mut self, bytes: &[u8], place: Place) {
        debug_assert!(self.bytes.len() + bytes.len() <= self.bytes.capacity(), "it would move");
        self.bytes.extend_from_slice(bytes);
        self.places.extend(std::iter::repeat_n(place, bytes.len()));
    }

    /// Removes white space from the end.
    pub fn trim_end(&mut self) {
        while self.bytes.last().is_some_and(u8::is_ascii_whitespace) {
            self.bytes.pop();
            self.places.pop();
        }
    }

    /// The position of its start.
    pub fn start(&self) -> Place {
        self.start
    }

    /// As text, for a document that is to be sent; `None` with the position of bytes that are not UTF-8.
    ///
    /// # Errors
    /// The position of the first invalid byte.
    pub fn text(&self) -> Result<&str, Place> {
        std::str::from_utf8(&self.bytes).map_err(|error| self.place(error.valid_up_to()))
    }

    fn secret(&self) -> Secret {
        Secret::new(self.bytes.to_vec())
    }

    fn place(&self, at: usize) -> Place {
        self.places.get(at).copied().unwrap_or(self.start)
    }

    /// The position of the first byte that a kind of credential does not accept.
    fn place_of(&self, error: ValueError) -> Place {
        let wrong: fn(&u8) -> bool = match error {
            ValueError::Control => |byte| byte.is_ascii_control() && *byte != b'\t',
            ValueError::Space => u8::is_ascii_whitespace,
            ValueError::Ascii => |byte| !byte.is_ascii(),
            ValueError::Text => return self.text().err().unwrap_or(self.start),
            ValueError::Empty | ValueError::Length | ValueError::Colon | ValueError::Cookie => return self.start,
        };
        self.bytes.iter().position(wrong).map_or(self.start, |at| self.place(at))
    }
}

impl Item {
    /// The risk of the value; `None` if the credential cannot be put anyway.
    pub fn weaknesses(&self) -> Vec<Weakness> {
        let read = read(&self.name, self.request.clone());
        read.map_or_else(|_| Vec::new(), |new| new.spec.kind.weaknesses(&self.value.secret()))
    }

    fn prepare(&self, now: Timestamp) -> Result<(NewCredential, Secret), Vec<Fault>> {
        let fault = |place, what| Fault { place: Some(place), name: Some(self.name.clone()), what };
        let start = self.value.start;
        let secret = self.value.secret();
        let weak = || {
            let kind = kind(&self.request).ok().filter(|_| !self.request.allow_weak);
            let weak = kind.map(|kind| kind.weaknesses(&secret)).into_iter().flatten();
            weak.map(|weakness| fault(start, VaultError::Weak(weakness).to_string()))
        };
        let new = read(&self.name, self.request.clone());
        let new = new.map_err(|problem| {
            std::iter::once(fault(start, problem.detail().to_owned())).chain(weak()).collect::<Vec<_>>()
        })?;
        match new.check(&secret, now) {
            Ok(()) => Ok((new, secret)),
            Err(VaultError::Value(error)) => Err(vec![fault(self.value.place_of(error), error.to_string())]),
            Err(VaultError::Weak(_)) => Err(weak().collect()),
            Err(error) => Err(std::iter::once(fault(start, chain(&error))).chain(weak()).collect()),
        }
    }
}

/// Judges all of them without a vault. Returns the input for the vault, or all faults, including those from reading the
/// document.
///
/// # Errors
/// Every fault that was found, in the order of the document.
pub fn prepare(
    items: &[Item],
    mut faults: Vec<Fault>,
    now: Timestamp,
) -> Result<Vec<(NewCredential, Secret)>, Vec<Fault>> {
    if items.is_empty() && faults.is_empty() {
        faults.push(Fault { place: None, name: None, what: "the document has no credentials".to_owned() });
    }
    let mut prepared = Vec::with_capacity(items.len());
    let mut seen = BTreeMap::new();
    for item in items {
        match item.prepare(now) {
            Ok(one) => prepared.push(one),
            Err(found) => faults.extend(found),
        }
        let key = (item.request.tenant.as_deref().unwrap_or_default(), item.name.as_str());
        if let Some(Place { line, .. }) = seen.insert(key, item.value.start) {
            let what = format!("duplicate credential name; the other one is in line {line}");
            faults.push(Fault { place: Some(item.value.start), name: Some(item.name.clone()), what });
        }
    }
    faults.sort_by_key(|fault| fault.place);
    if faults.is_empty() { Ok(prepared) } else { Err(faults) }
}

/// Reads a document: the credentials of the correct form, and all faults.
pub fn read_document(text: &[u8]) -> (Vec<Item>, Vec<Fault>) {
    let (mut items, mut faults) = (Vec::new(), Vec::new());
    match entries(text) {
        Err(fault) => faults.push(fault),
        Ok((text, entries)) => {
            for (name, raw) in entries {
                match read_item(text, name, raw) {
                    Ok(item) => items.push(item),
                    Err(found) => faults.extend(found),
                }
            }
        }
    }
    (items, faults)
}

/// One credential of the document: its name if that is the key, and the rest.
type Entry<'a> = (Option<String>, &'a RawValue);

fn entries(text: &[u8]) -> Result<(&str, Vec<Entry<'_>>), Fault> {
    let text = std::str::from_utf8(without_mark(text)).map_err(|error| {
        let before =
            std::str::from_utf8(without_mark(text).get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default();
        Fault { place: Some(place_in(before, before.len())), name: None, what: "not UTF-8".to_owned() }
    })?;
    let at = |error: &serde_json::Error| Place { line: number(error.line()), column: number(error.column()) };
    // The message of the JSON reader can contain a part of the document, which may be a value.
    let broken = |error: serde_json::Error| {
        let what = match error.classify() {
            serde_json::error::Category::Syntax | serde_json::error::Category::Eof => "not JSON",
            serde_json::error::Category::Data | serde_json::error::Category::Io => {
                "neither a list of credentials nor an object of them by name"
            }
        };
        Fault { place: Some(at(&error)), name: None, what: what.to_owned() }
    };
    if text.trim_start().starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(text).map_err(broken)?;
        return Ok((text, list.into_iter().map(|raw| (None, raw)).collect()));
    }
    let Named(all) = serde_json::from_str(text).map_err(broken)?;
    Ok((text, all.into_iter().map(|(name, raw)| (Some(name), raw)).collect()))
}

fn read_item(text: &str, key: Option<String>, raw: &RawValue) -> Result<Item, Vec<Fault>> {
    let place = place_of(text, raw);
    let Ok(Fields { name, value, rest, repeated }) = serde_json::from_str::<Fields<'_>>(raw.get()) else {
        let what = "not an object with the fields of a credential".to_owned();
        return Err(vec![Fault { place: Some(place), name: key, what }]);
    };
    let (given, mut wrong) = name_of(key, name);
    wrong.extend(repeated.into_iter().map(|field| format!("duplicate field {field}")));
    for field in ["kind", "audience"].into_iter().filter(|field| !rest.contains_key(*field)) {
        wrong.push(format!("the field {field} is missing"));
    }
    wrong.extend(rest.iter().filter(|(field, value)| !is_acceptable(field, value)).map(wrong_form));
    let mut faults: Vec<Fault> =
        wrong.into_iter().map(|what| Fault { place: Some(place), name: given.clone(), what }).collect();
    let value = match value {
        None => Err((place, "the field value is missing".to_owned())),
        Some(value) => {
            let start = place_of(text, value);
            decode(value.get(), start).map_err(|(place, what)| (place, what.to_owned()))
        }
    };
    let value = value.map_err(|(place, what)| Fault { place: Some(place), name: given.clone(), what });
    match (given, value, CredentialRequest::deserialize(serde_json::Value::Object(rest))) {
        (Some(name), Ok(value), Ok(request)) if faults.is_empty() => Ok(Item { name, request, value }),
        (_, value, _) => {
            faults.extend(value.err());
            Err(faults)
        }
    }
}

/// The name of a credential, from its key or its field, and its fault.
fn name_of(key: Option<String>, field: Option<serde_json::Value>) -> (Option<String>, Vec<String>) {
    match (key, field) {
        (Some(key), None) => (Some(key), Vec::new()),
        (Some(key), Some(_)) => {
            (Some(key), vec!["the name is given twice: as the key and as the field name".to_owned()])
        }
        (None, Some(serde_json::Value::String(name))) => (Some(name), Vec::new()),
        (None, Some(other)) => (None, vec![format!("the field name is {}; it must be text", json_type(&other))]),
        (None, None) => (None, vec!["the field name is missing".to_owned()]),
    }
}

/// Whether a credential can have this field with this value, regardless of its other fields.
fn is_acceptable(field: &str, value: &serde_json::Value) -> bool {
    let mut one = serde_json::Map::from_iter(["kind", "audience"].map(|field| (field.to_owned(), "".into())));
    one.insert(field.to_owned(), value.clone());
    CredentialRequest::deserialize(serde_json::Value::Object(one)).is_ok()
}

fn wrong_form((field, value): (&String, &serde_json::Value)) -> String {
    let form = match field.as_str() {
        "audience" => "text (hosts separated by commas) or a list of texts",
        "also" => "text (locations separated by commas) or a list of texts",
        "body" => "a list of {\"json\": POINTER} and {\"form\": FIELD}",
        "body_swaps" => "a number from 1 to 16",
        "expires" => "an instant such as \"2030-01-31T18:00:00Z\"",
        "allow_weak" => "true or false",
        _ => "text",
    };
    format!("the field {field} is {}; it must be {form}", json_type(value))
}

/// The JSON type of a value; never the value.
fn json_type(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "text of another form",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "an object",
    }
}

/// The fields of one credential: name and value, and all others of the API.
struct Fields<'a> {
    name: Option<serde_json::Value>,
    value: Option<&'a RawValue>,
    rest: serde_json::Map<String, serde_json::Value>,
    repeated: Vec<String>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a credential")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields { name: None, value: None, rest: serde_json::Map::new(), repeated: Vec::new() };
                while let Some(key) = map.next_key::<String>()? {
                    let is_repeated = match key.as_str() {
                        "name" => fields.name.replace(map.next_value()?).is_some(),
                        "value" => fields.value.replace(map.next_value()?).is_some(),
                        _ => fields.rest.insert(key.clone(), map.next_value()?).is_some(),
                    };
                    if is_repeated {
                        fields.repeated.push(key);
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// Credentials by name, in their order, including duplicate names.
struct Named<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Named<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Named<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("credentials by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Named(all))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// Decodes a JSON string, whose grammar was already checked, into wiped memory.
fn decode(raw: &str, start: Place) -> Result<Value, (Place, &'static str)> {
    let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Err((start, "the field value is not text"));
    };
    let mut value = Value::with_room(inner.len(), start);
    let mut signs = Signs { rest: inner.chars(), place: start };
    while let Some(sign) = signs.next() {
        let place = signs.place;
        let meant = if sign == '\\' { signs.escaped() } else { Some(sign) };
        let meant = Zeroizing::new(meant.ok_or((place, "half of a surrogate pair"))?);
        let mut buffer = Zeroizing::new([0; 4]);
        value.push(meant.encode_utf8(&mut *buffer).as_bytes(), place);
    }
    Ok(value)
}

/// The characters of a JSON string, and the position of the last one.
struct Signs<'a> {
    rest: std::str::Chars<'a>,
    place: Place,
}

impl Signs<'_> {
    fn next(&mut self) -> Option<char> {
        self.place.column += 1;
        self.rest.next()
    }

    /// The meaning of an escape, after its backslash; `None` for half of a pair.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => return self.unicode(),
            itself => itself,
        })
    }

    /// One UTF-16 unit, or two escapes that together make one character.
    fn unicode(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        if (self.next()?, self.next()?) != ('\\', 'u') {
            return None;
        }
        let low = self.unit()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)
    }

    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | self.next()?.to_digit(16)?))
    }
}

fn place_of(text: &str, part: &RawValue) -> Place {
    place_in(text, part.get().as_ptr().addr().saturating_sub(text.as_ptr().addr()))
}

fn place_in(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { line: number(line), column: number(column) }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        if let Some(name) = &self.name {
            write!(f, "{}: ", name.escape_debug())?;
        }
        f.write_str(&self.what)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({}, [REDACTED])", self.start)
    }
}

/// `POST /v1/vaults/default/credentials`: all of them or none, in one change of the vault.
pub(crate) async fn import(
    State(control): State<Arc<Control>>,
    Query(ImportQuery { dry_run }): Query<ImportQuery>,
    document: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, axum::Json<List<ImportedView>>), Problem> {
    let document = Zeroizing::new(Vec::from(document?));
    let now = clock::now();
    let (items, faults) = read_document(&document);
    let prepared = prepare(&items, faults, now)
        .map(|prepared| items.into_iter().map(|item| item.request).zip(prepared).collect::<Vec<_>>());
    let all = prepared.map_err(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Problem::invalid(told.join("; "))
    })?;
    if !dry_run {
        control.recording()?;
    }
    blocking(move || {
        let mut items: Vec<_> = all.iter().map(|(request, (new, _))| view(request, new)).collect();
        let named: Vec<_> = all.iter().map(|(_, (new, _))| (new.tenant.clone(), new.id.clone())).collect();
        let all: Vec<_> = all.into_iter().map(|(_, prepared)| prepared).collect();
        let done = if dry_run {
            control.vault.versions_if_put(all, now).map_err(refused)?
        } else {
            let versions = control.change(|vault| vault.put_all(all, now)).map_err(refused)?;
            let generation = Some(control.vault.generation());
            for ((tenant, id), version) in named.iter().zip(&versions) {
                let record = about(RecordKind::CredentialPut, tenant, id, *version);
                control.journal.append(Record { generation, ..record });
            }
            control.journal.flush();
            versions
        };
        for (item, version) in items.iter_mut().zip(done) {
            item.version = version;
        }
        let status = if dry_run { StatusCode::OK } else { StatusCode::CREATED };
        Ok((status, axum::Json(List { items })))
    })
    .await?
}

/// Its kind is shown by name alone, as in the document.
fn view(request: &CredentialRequest, new: &NewCredential) -> ImportedView {
    let spec = CredentialDocument { kind: request.spec.kind.clone(), ..crate::credential::document(new.spec.clone()) };
    ImportedView { name: new.id.to_string(), tenant: new.tenant.to_string(), spec, version: 0 }
}

#[cfg(test)]
mod tests;
