//! The client's own authentication: found by one table, and removed, refused or passed as the policy requires.
//!
//! A request with a credential leaves with Egret's identity alone. Every other field that could authenticate it, or select its
//! account, is removed. Locations of Egret's own credentials are not judged here; they are overwritten.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use http::{HeaderName, HeaderValue, header};
use model::field::{fold_name, is_read_as, same_name};
use model::{Authority, Destination, FieldRole, Fields, Reason, field_role};
use policies::{AuthMode, Permit};
use vault::{CredentialShape, Slot};
use zeroize::Zeroizing;

use crate::credentials::access::CredentialRequest;
use crate::credentials::attach::Location;
use crate::refusal::Refusal;

mod cookies;
pub(crate) mod query;
mod trailers;

pub(crate) use cookies::note as note_cookies;
use query::{folded, without};
pub(crate) use trailers::TrailerFilter;

/// The locations of Egret's credentials on one request: the client's own values there are overwritten.
#[derive(Default)]
pub(crate) struct OwnLocations {
    fields: Vec<HeaderName>,
    /// Folded names.
    parameters: BTreeSet<String>,
    cookies: BTreeSet<String>,
}

impl OwnLocations {
    /// Where a placeholder of the client is.
    pub(crate) fn add_place(&mut self, place: &Location) {
        match place {
            Location::Plain(spot) | Location::Basic(spot) | Location::User(spot) => {
                self.fields.push(spot.field.clone());
            }
            Location::Query(name) => {
                self.parameters.insert(folded(name));
            }
            Location::Cookie(name) => {
                self.cookies.insert(name.clone());
            }
            Location::Target => {}
        }
    }

    /// Where a credential is added.
    pub(crate) fn add_slot(&mut self, slot: Option<Slot<'_>>) {
        match slot {
            Some(Slot::Header(name)) => {
                self.fields.extend(HeaderName::from_bytes(name.as_bytes()).ok());
            }
            Some(Slot::Query(name)) => {
                self.parameters.insert(folded(&vault::percent_encode(name.as_bytes())));
            }
            Some(Slot::Cookie(name)) => {
                self.cookies.insert(name.to_owned());
            }
            None => {}
        }
    }

    /// Refuses a request with a field that some servers read as one of ours, or whose Connection field lists one.
    ///
    /// # Errors
    /// `malformed`.
    pub(crate) fn check_collisions(&self, fields: &Fields, named_by_connection: &[HeaderName]) -> Result<(), Refusal> {
        let collides =
            |name: &HeaderName| self.fields.iter().any(|own| own != name && same_name(own.as_str(), name.as_str()));
        if fields.names().any(collides) {
            let detail =
                "a field has the name of an injected one with `_` for `-`, which some servers read as the same field";
            return Err(Refusal::of(Reason::Malformed, detail));
        }
        if named_by_connection.iter().any(|name| self.fields.iter().any(|own| same_name(own.as_str(), name.as_str()))) {
            return Err(Refusal::of(Reason::Malformed, "Connection lists the field in which a credential is sent"));
        }
        Ok(())
    }
}

/// One piece of authentication.
#[derive(Debug)]
enum Item {
    Field(HeaderName),
    Cookies,
    /// Tokens of the WebSocket subprotocol list.
    Protocol,
    Parameter(Range<usize>, String),
    /// Cannot be removed.
    Signed,
    /// Cannot be removed.
    Path,
}

/// The mode that applies to one request.
pub(crate) fn mode(wanted: CredentialRequest<'_>, gets_credential: bool) -> AuthMode {
    let default = match gets_credential {
        true => AuthMode::Strip,
        false if in_audience(wanted) => AuthMode::Refuse,
        false => AuthMode::Allow,
    };
    wanted.permit.client_auth().mode(default)
}

/// Whether a credential that was ever granted to the session names the host, on any port and scheme: another server of the
/// host may have the same accounts. Revoked or removed credentials still count, so that removing one does not let another one
/// in.
fn in_audience(wanted: CredentialRequest<'_>) -> bool {
    let session = wanted.session;
    session.grants.iter().any(|grant| {
        let shape = wanted.vault.shape(&session.tenant, &grant.credential);
        grant.names(wanted.destination.host(), shape.as_ref().map(CredentialShape::audience))
    })
}

/// The locations of the session's credentials for this host: a client's value there is authentication, whatever its name.
fn granted_locations(wanted: CredentialRequest<'_>) -> OwnLocations {
    let mut granted = OwnLocations::default();
    for grant in &wanted.session.grants {
        let shape = wanted.vault.shape(&wanted.session.tenant, &grant.credential);
        if let Some(shape) = shape.filter(|shape| shape.audience().names(wanted.destination.host())) {
            shape.kinds().for_each(|kind| granted.add_slot(kind.slot()));
        }
    }
    granted
}

/// Judges the head of a client: removes or refuses its own authentication.
///
/// # Errors
/// `foreign_credential`.
pub(crate) fn enforce(
    wanted: CredentialRequest<'_>,
    own: &OwnLocations,
    gets_credential: bool,
    fields: &mut Fields,
    target: &mut Zeroizing<String>,
    stripped: &mut Vec<Cow<'static, str>>,
) -> Result<(), Refusal> {
    let found = find(wanted, own, fields, target);
    if found.is_empty() {
        return Ok(());
    }
    match mode(wanted, gets_credential) {
        AuthMode::Allow => Ok(()),
        AuthMode::Refuse => Err(foreign(&found)),
        AuthMode::Strip if found.iter().any(|item| matches!(item, Item::Signed | Item::Path)) => Err(foreign(&found)),
        AuthMode::Strip => {
            strip(wanted, own, &found, fields, target, stripped);
            Ok(())
        }
    }
}

fn find(wanted: CredentialRequest<'_>, own: &OwnLocations, fields: &Fields, target: &str) -> Vec<Item> {
    let (auth, granted) = (wanted.permit.client_auth(), granted_locations(wanted));
    let mut found = Vec::new();
    for name in fields.names().filter(|name| !own.fields.contains(name)) {
        let text = name.as_str();
        if *name == header::COOKIE {
            if !auth.passes(text) && cookies::pairs(fields).any(|pair| !is_known_cookie(wanted, own, pair)) {
                found.push(Item::Cookies);
            }
        } else if *name == header::SEC_WEBSOCKET_PROTOCOL {
            if !auth.passes(text) && has_bearer(fields) {
                found.push(Item::Protocol);
            }
        } else if (matches!(field_role(text), FieldRole::Secret | FieldRole::Actor)
            || auth.also(text)
            || own.fields.iter().chain(&granted.fields).any(|taken| is_read_as(text, taken.as_str())))
            && !auth.passes(text)
        {
            found.push(Item::Field(name.clone()));
        }
    }
    let is_own = |name: &str| own.parameters.contains(name) || auth.passes(name);
    let is_listed = |name: &str| auth.also(name) || granted.parameters.contains(name);
    let in_target = query::credentials(wanted.destination, target, is_own, is_listed);
    found.extend(in_target.into_iter().map(|one| match one {
        query::Found::Parameter(range, name) => Item::Parameter(range, name),
        query::Found::Signed(_) => Item::Signed,
        query::Found::Path => Item::Path,
    }));
    found
}

/// A cookie that the host set in this session, or whose location a credential of Egret uses.
fn is_known_cookie(wanted: CredentialRequest<'_>, own: &OwnLocations, pair: &[u8]) -> bool {
    let (name, value) = cookies::parts(pair);
    let taken = std::str::from_utf8(name).is_ok_and(|name| own.cookies.contains(name));
    taken || wanted.session.host_cookies.knows(&cookies::key(wanted.destination), name, value)
}

fn strip(
    wanted: CredentialRequest<'_>,
    own: &OwnLocations,
    found: &[Item],
    fields: &mut Fields,
    target: &mut Zeroizing<String>,
    stripped: &mut Vec<Cow<'static, str>>,
) {
    let mut parts = Vec::new();
    for item in found {
        match item {
            Item::Field(name) => {
                fields.remove(name);
                stripped.push(name.as_str().to_owned().into());
            }
            Item::Cookies => {
                cookies::retain(fields, |pair| is_known_cookie(wanted, own, pair));
                stripped.push("cookie".into());
            }
            Item::Protocol => {
                strip_bearers(fields);
                stripped.push("sec-websocket-protocol".into());
            }
            Item::Parameter(range, name) => {
                parts.push(range.clone());
                let shown: String = name.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
                stripped.push(format!("query {shown}").into());
            }
            Item::Signed | Item::Path => {}
        }
    }
    if !parts.is_empty() {
        *target = Zeroizing::new(without(target, &parts));
    }
}

/// The refusal names locations, never values.
fn foreign(found: &[Item]) -> Refusal {
    let location = found.iter().find(|item| matches!(item, Item::Signed | Item::Path)).or(found.first());
    let location: Cow<'static, str> = match location {
        Some(Item::Field(name)) => format!("the header {name}").into(),
        Some(Item::Cookies) => "a cookie that the host did not set in this session".into(),
        Some(Item::Protocol) => "the WebSocket subprotocol".into(),
        Some(Item::Parameter(..)) => "a query parameter".into(),
        Some(Item::Signed) => "a signed query, which cannot be removed".into(),
        Some(Item::Path) | None => "the path, which cannot be changed".into(),
    };
    let detail = format!(
        "the request carries authentication of its own in {location}; send it without, or ask for a rule with `client_auth`"
    );
    Refusal::of(Reason::ForeignCredential, detail)
}

/// The prefixes of subprotocols that carry a credential.
const BEARERS: &[&str] = &[
    "base64url.bearer.authorization.",
    "openai-insecure-api-key.",
    "openai-organization.",
    "openai-project.",
    "header-",
    "v1.token.websocket.jupyter.org",
    "bearer.",
    "token.",
];

/// Subprotocols after which the next entry is a credential.
const BEFORE_BEARER: &[&str] = &["token", "bearer", "access_token", "authorization"];

/// The subprotocols that pass, and whether any does not.
fn protocols(fields: &Fields) -> (Vec<&[u8]>, bool) {
    let all =
        fields.get_all(header::SEC_WEBSOCKET_PROTOCOL).flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let (mut kept, mut any, mut next) = (Vec::new(), false, false);
    for token in all.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) {
        let lower = token.to_ascii_lowercase();
        let announces = BEFORE_BEARER.iter().any(|word| word.as_bytes() == lower);
        if next || announces || BEARERS.iter().any(|start| lower.starts_with(start.as_bytes())) {
            any = true;
        } else {
            kept.push(token);
        }
        next = announces;
    }
    (kept, any)
}

fn has_bearer(fields: &Fields) -> bool {
    protocols(fields).1
}

fn strip_bearers(fields: &mut Fields) {
    let kept = protocols(fields).0.join(b", ".as_slice());
    fields.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&kept)
    {
        fields.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// Sets the policy's fixed headers on the request, in place of every spelling of the client.
///
/// # Errors
/// `credential_conflict` if a rule sets a header that is the location of a credential.
pub(crate) fn set_headers(
    permit: &Permit,
    own: &OwnLocations,
    fields: &mut Fields,
    replaced: &mut Vec<Cow<'static, str>>,
) -> Result<(), Refusal> {
    for (name, value) in permit.set() {
        if own.fields.iter().any(|field| same_name(field.as_str(), name)) {
            let detail = format!(
                "`set` of a rule names `{name}`, in which a credential goes; remove it there, or the credential from `use`"
            );
            return Err(Refusal::of(Reason::CredentialConflict, detail));
        }
        if !fields.remove_named(|field| is_read_as(field.as_str(), name)).is_empty() {
            replaced.push(format!("header {name}").into());
        }
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) else {
            return Err(Refusal::of(Reason::Internal, "a header of the policy cannot be sent"));
        };
        fields.insert(name, value);
    }
    Ok(())
}

/// The filter of the trailers of this request.
pub(crate) fn trailer_filter(
    wanted: CredentialRequest<'_>,
    own: &OwnLocations,
    gets_credential: bool,
    fields: &Fields,
    active: &std::sync::Arc<crate::active::ActiveExchange>,
) -> TrailerFilter {
    let te = items(fields, &header::TE);
    let set = wanted.permit.set().map(|(name, _)| Box::from(name));
    TrailerFilter {
        mode: mode(wanted, gets_credential),
        announced: te.into_iter().any(|token| token.eq_ignore_ascii_case(b"trailers")),
        listed: items(fields, &header::TRAILER)
            .into_iter()
            .filter_map(|name| Some(Box::from(HeaderName::from_bytes(name).ok()?.as_str())))
            .collect(),
        taken: own.fields.iter().map(|name| Box::from(name.as_str())).chain(set).collect(),
        also: wanted.permit.client_auth().also_names().map(Box::from).collect(),
        active: active.clone(),
    }
}

/// The items of a comma list.
fn items<'f>(fields: &'f Fields, name: &HeaderName) -> Vec<&'f [u8]> {
    let values = fields.get_all(name);
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).collect()
}

/// Removes fields that a sandbox may never send: fields that rename the target, restrict the tenant or claim to come from a
/// trusted proxy.
///
/// # Errors
/// `ambiguous_framing` for a field that some servers read as a framing field.
pub(crate) fn remove_steering(fields: &mut Fields, stripped: &mut Vec<Cow<'static, str>>) -> Result<(), Refusal> {
    let mut found: Vec<HeaderName> = Vec::new();
    for name in fields.names() {
        match field_role(name.as_str()) {
            FieldRole::Plain | FieldRole::Secret | FieldRole::Actor | FieldRole::Method | FieldRole::Resource => {}
            FieldRole::Tenant | FieldRole::Identity | FieldRole::Target => found.push(name.clone()),
            FieldRole::Framing if matches!(fold_name(name.as_str()), Cow::Borrowed(_)) => {}
            FieldRole::Framing => {
                let detail = "a field has the name of one that frames the message, with another character for `-`";
                return Err(Refusal::of(Reason::AmbiguousFraming, detail));
            }
        }
    }
    remove(found, fields, stripped);
    Ok(())
}

/// Removes fields that override the method, if a rule in force for the host or a grant of the session judges methods.
pub(crate) fn remove_method_overrides(
    wanted: CredentialRequest<'_>,
    fields: &mut Fields,
    stripped: &mut Vec<Cow<'static, str>>,
) {
    let found: Vec<HeaderName> =
        fields.names().filter(|name| field_role(name.as_str()) == FieldRole::Method).cloned().collect();
    if found.is_empty() {
        return;
    }
    let used = wanted.permit.credentials();
    let mut grants = wanted.session.grants.iter();
    let by_grant = grants.any(|grant| !grant.bounds.methods.is_empty() && used.contains(&grant.credential));
    if by_grant || wanted.permit.judges_method_at(wanted.destination.host()) {
        remove(found, fields, stripped);
    }
}

/// Refuses a field that names a second resource, such as the source of a copy, if the rules might not allow that resource.
/// This is the case if they judge paths of the host, or if a credential of Egret's would open it on another host.
///
/// # Errors
/// `denied_path`.
pub(crate) fn check_resources(
    wanted: CredentialRequest<'_>,
    gets_credential: bool,
    fields: &Fields,
) -> Result<(), Refusal> {
    let host = wanted.destination.host();
    let auth = wanted.permit.client_auth();
    let is_resource =
        |name: &&HeaderName| field_role(name.as_str()) == FieldRole::Resource && !auth.passes(name.as_str());
    for name in fields.names().filter(is_resource) {
        let stays = || fields.get_all(name).all(|value| is_here(wanted.destination, name, value));
        if wanted.permit.judges_path_at(host) || (gets_credential && !stays()) {
            let detail = format!(
                "the header {name} names a second resource, which no rule for paths judges; ask for a rule that has it in the \
                 `pass` of its `client_auth`"
            );
            return Err(Refusal::of(Reason::DeniedPath, detail));
        }
    }
    Ok(())
}

/// Whether the field names a resource on the destination of the request. The path in the source of a copy begins with a bucket,
/// which may be another host; that of WebDAV's `Destination` is one of the same host.
fn is_here(destination: &Destination, name: &HeaderName, value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let path = text.strip_prefix("/").is_some_and(|rest| !rest.starts_with(['/', '\\']));
    if path {
        return name == "destination";
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let named = Authority::parse(authority, true);
    scheme.eq_ignore_ascii_case(destination.scheme().as_str()) && named.is_ok_and(|named| destination.is(&named))
}

fn remove(found: Vec<HeaderName>, fields: &mut Fields, stripped: &mut Vec<Cow<'static, str>>) {
    for name in found {
        fields.remove(&name);
        stripped.push(name.as_str().to_owned().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in all {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn t018_fields_that_rename_the_target_or_speak_for_a_proxy_are_removed_in_every_spelling() {
        let mut all = fields(&[
            ("x-original-url", "/a"),
            ("x_original_url", "/a"),
            ("x-envoy-original-path", "/a"),
            ("x-original-host", "b"),
            ("x_forwarded_host", "b"),
            ("x-forwarded-user", "u"),
            ("cf-connecting-ip", "1.1.1.1"),
            ("x-slack-allowed-workspaces", "T1"),
            ("anthropic-allowed-org-ids2", "x"),
            ("accept", "*/*"),
            ("x-http-method-override", "DELETE"),
        ]);
        let mut stripped = Vec::new();
        remove_steering(&mut all, &mut stripped).unwrap();
        assert_eq!(
            all.names().map(HeaderName::as_str).collect::<BTreeSet<_>>(),
            ["accept", "x-http-method-override"].into()
        );
        assert_eq!(stripped.len(), 9);
        for name in ["transfer_encoding", "content_length"] {
            let refusal = remove_steering(&mut fields(&[(name, "1")]), &mut stripped).unwrap_err();
            assert_eq!(refusal.reason(), Reason::AmbiguousFraming, "{name}");
        }
        assert!(remove_steering(&mut fields(&[("content-length", "1"), ("te", "trailers")]), &mut stripped).is_ok());
    }

    #[test]
    fn t067_a_field_that_some_servers_read_as_the_injected_one_is_refused() {
        let mut own = OwnLocations::default();
        own.add_slot(Some(Slot::Header("X-Api-Key")));
        assert!(own.check_collisions(&fields(&[("x-api-key", "a"), ("x-other", "b")]), &[]).is_ok());
        let refusal = own.check_collisions(&fields(&[("x_api_key", "a")]), &[]).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Malformed);
        let refusal = own.check_collisions(&Fields::new(), &[HeaderName::from_static("x_api-key")]).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Malformed);
    }

    #[test]
    fn bearers_in_the_subprotocol_are_removed_and_others_pass() {
        let mut all = fields(&[(
            "sec-websocket-protocol",
            "graphql-ws, base64url.bearer.authorization.k8s.io.abc, token, SECRET, chat, openai-insecure-api-key.sk-1",
        )]);
        assert!(has_bearer(&all));
        strip_bearers(&mut all);
        assert_eq!(all.get("sec-websocket-protocol").unwrap(), "graphql-ws, chat");
        assert!(!has_bearer(&all));
    }
}
