//! The meaning of a header field for the acting identity and the destination: one table of names, used by the policy
//! compiler and by the data path.
//!
//! Names are compared after folding: case is ignored, and every character that is neither a letter nor a digit equals `-`. Many
//! servers (CGI, WSGI, Rack, Apache) read all those spellings as one variable, so a table of one of them would be evaded by the
//! others. What gRPC gateways add to a name (`Grpc-Metadata-`, `Grpcgateway-`, `-bin`) is ignored.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

mod table;

/// What a field does beside carrying data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldRole {
    /// Nothing that Egret treats specially.
    Plain,
    /// Carries a credential, or a signature or second factor that belongs to one.
    Secret,
    /// Is not secret, but selects the account, project or user that a credential acts for.
    Actor,
    /// Restricts which tenants a service accepts; only a policy may set it.
    Tenant,
    /// Identifies the client to the server, as a trusted proxy would; never forwarded from a sandbox.
    Identity,
    /// Renames the host or path of the request for some servers; never forwarded from a sandbox.
    Target,
    /// Renames the method of the request for some servers.
    Method,
    /// Names a second resource that the server reads or writes for the request, such as the source of a copy.
    Resource,
    /// Decides where a message ends or concerns one connection only.
    Framing,
}

static ROLES: LazyLock<HashMap<&'static str, FieldRole>> = LazyLock::new(|| table::NAMES.iter().copied().collect());

/// The bytes of tokens.
const TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        token[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let (others, mut at) = (b"!#$%&'*+-.^_`|~", 0);
    while at < others.len() {
        token[others[at] as usize] = true;
        at += 1;
    }
    token
};

/// Whether a byte is a `tchar` (RFC 9110 section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// The role of a field by its name, in any spelling.
pub fn field_role(name: &str) -> FieldRole {
    // Nearly every field of a request is one of these, and each is asked about in several steps.
    if is_common(name) {
        return FieldRole::Plain;
    }
    RECENT.with_borrow_mut(|recent| recent.role(name))
}

thread_local! {
    static RECENT: RefCell<Recent> = const { RefCell::new(Recent([None; RECENT_NAMES])) };
}

/// How many names each thread remembers, and the longest of them, in bytes.
const RECENT_NAMES: usize = 64;
const RECENT_BYTES: usize = 30;

/// The roles of names that were judged recently, each at the one index that its hash allows: several steps judge each field of a
/// request, and the requests of a client have the same fields.
struct Recent([Option<RecentName>; RECENT_NAMES]);

#[derive(Clone, Copy)]
struct RecentName {
    length: u8,
    bytes: [u8; RECENT_BYTES],
    role: FieldRole,
}

impl Recent {
    fn role(&mut self, name: &str) -> FieldRole {
        let mut bytes = [0; RECENT_BYTES];
        let (Some(start), Ok(length)) = (bytes.get_mut(..name.len()), u8::try_from(name.len())) else {
            return judge(name);
        };
        start.copy_from_slice(name.as_bytes());
        // FNV-1a; a name that another one displaces is judged again.
        let hash = name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let Some(entry) = self.0.get_mut((hash ^ hash >> 16) as usize % RECENT_NAMES) else { return judge(name) };
        match entry {
            Some(known) if known.length == length && known.bytes == bytes => known.role,
            _ => entry.insert(RecentName { length, bytes, role: judge(name) }).role,
        }
    }
}

fn judge(name: &str) -> FieldRole {
    let folded = fold_name(name);
    let bare = bare_name(&folded);
    // Metadata frames no message, whatever it is called.
    let as_metadata = || if bare == folded { None } else { role_of(bare).filter(|role| *role != FieldRole::Framing) };
    role_of(&folded).or_else(as_metadata).unwrap_or(FieldRole::Plain)
}

/// Names of fields that carry data alone (RFC 9110), in the spelling of HTTP/2.
fn is_common(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept-encoding"
            | "accept-language"
            | "cache-control"
            | "content-type"
            | "date"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "range"
            | "user-agent"
    )
}

/// A folded name without what gRPC adds: gateways send a field `Grpc-Metadata-Name` on as the metadata `name`, and the field
/// `Name` as `grpcgateway-name`; HTTP/2 carries binary values under a name that ends in `-bin`.
fn bare_name(folded: &str) -> &str {
    let mut bare = folded;
    while let Some(rest) = bare.strip_prefix("grpc-metadata-").or_else(|| bare.strip_prefix("grpcgateway-")) {
        bare = rest;
    }
    bare.strip_suffix("-bin").unwrap_or(bare)
}

/// The folded name, and the name without what gRPC adds to it: those by which a list of names is asked.
pub fn listed_names(name: &str) -> [String; 2] {
    let folded = fold_name(name).into_owned();
    let bare = bare_name(&folded).to_owned();
    [folded, bare]
}

/// Whether some server reads the field `sent` as the field `name`: the same name, or metadata of that name.
pub fn is_read_as(sent: &str, name: &str) -> bool {
    same_name(sent, name) || same_name(bare_name(&fold_name(sent)), name)
}

fn role_of(folded: &str) -> Option<FieldRole> {
    if let Some(role) = ROLES.get(folded) {
        return Some(*role);
    }
    let prefixed = table::PREFIXES.iter().find(|(prefix, _)| folded.starts_with(prefix));
    if let Some((_, role)) = prefixed {
        return Some(*role);
    }
    if is_override(folded) {
        return Some(FieldRole::Target);
    }
    if ["-copy-source", "-rename-source", "-copy-from"].iter().any(|end| folded.ends_with(end)) {
        return Some(FieldRole::Resource);
    }
    looks_secret(folded).then_some(FieldRole::Secret)
}

/// Whether a field must not be sent as a trailer, in any spelling (RFC 9110 section 6.5.1): it frames or routes the message,
/// authenticates, modifies a request, controls a response, or describes the format of the content.
pub fn is_forbidden_in_trailers(name: &str) -> bool {
    let folded = fold_name(name);
    role_of(&folded) == Some(FieldRole::Framing)
        || table::NEVER_TRAILERS.contains(&&*folded)
        || folded.starts_with("proxy-")
        || folded.starts_with("if-")
        || folded.starts_with("accept-")
}

/// A field name in the form in which names are compared: lower case, with `-` for every character that is not a letter or digit.
pub fn fold_name(name: &str) -> Cow<'_, str> {
    let is_folded = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || !c.is_ascii();
    if name.chars().all(is_folded) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.chars().map(|c| if is_folded(c) { c } else { folded(c) }).collect())
    }
}

fn folded(c: char) -> char {
    if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }
}

/// Whether two names are one name for some servers.
pub fn same_name(one: &str, other: &str) -> bool {
    let fold = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | 0x80.. => byte,
        b'A'..=b'Z' => byte.to_ascii_lowercase(),
        _ => b'-',
    };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| fold(a) == fold(b))
}

/// Names such as `x-host-override` and `x-http-path-override`.
fn is_override(folded: &str) -> bool {
    folded.strip_suffix("-override").is_some_and(|front| {
        front.rsplit('-').next().is_some_and(|word| matches!(word, "host" | "path" | "uri" | "url" | "target"))
    })
}

/// Names that no table lists and whose words show that they carry a credential.
fn looks_secret(folded: &str) -> bool {
    has_secret_words(folded)
        && !table::NOT_SECRET.contains(&folded)
        && !folded.contains("csrf")
        && !folded.contains("xsrf")
}

fn has_secret_words(folded: &str) -> bool {
    if ["-apikey", "-token", "-secret"].iter().any(|end| folded.ends_with(end)) {
        return true;
    }
    // `X-Serverless-Authorization`, `X-Ms-Authorization-Auxiliary`: the word has no other meaning in a name.
    if folded.split('-').any(|word| word == "authorization") {
        return true;
    }
    ["key", "token", "secret", "password"].iter().any(|end| {
        let Some(front) = folded.strip_suffix(end) else { return false };
        let front = front.strip_suffix('-').unwrap_or(front);
        let word = front.rsplit('-').next().unwrap_or_default();
        table::SECRET_WORDS.contains(&word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_every_spelling() {
        for (name, role) in table::NAMES {
            assert_eq!(field_role(name), *role, "{name}");
            assert_eq!(field_role(&name.to_uppercase()), *role, "{name}");
            assert_eq!(field_role(&name.replace('-', "_")), *role, "{name}");
        }
        assert_eq!(field_role("authorization-bin"), FieldRole::Secret);
        assert_eq!(field_role("x-custom-token-bin"), FieldRole::Secret);
    }

    #[test]
    fn tokens_have_no_separators() {
        let others: Vec<u8> = (0..=255u8).filter(|byte| is_token(*byte) && !byte.is_ascii_alphanumeric()).collect();
        assert_eq!(others, b"!#$%&'*+-.^_`|~");
        assert_eq!((0..=255u8).filter(|byte| is_token(*byte)).count(), 15 + 62);
    }

    #[test]
    fn a_remembered_role_is_that_of_its_name() {
        // More names than are remembered, twice, so that each is found, displaced and judged again.
        let long = "a".repeat(RECENT_BYTES + 1) + "-api-key";
        let edge = "a".repeat(RECENT_BYTES - 8) + "-api-key";
        let names: Vec<&str> = table::NAMES.iter().map(|(name, _)| *name).chain([&*long, &*edge, ""]).collect();
        for _ in 0..2 {
            for name in &names {
                assert_eq!(field_role(name), judge(name), "{name}");
                assert_eq!(field_role(name), judge(name), "{name}");
            }
        }
    }

    #[test]
    fn t281_no_character_and_no_prefix_of_a_gateway_hides_a_name() {
        for name in [
            "X.Api.Key",
            "x!api~key",
            "x|api_key",
            "Grpc-Metadata-Authorization",
            "grpc.metadata.x.api.key",
            "Grpc-Metadata-Grpcgateway-Authorization",
            "grpcgateway-cookie",
            "Grpc-Metadata-X-Api-Key-Bin",
            "X-Serverless-Authorization",
            "X-Ms-Authorization-Auxiliary",
            "X-User-Authorization",
        ] {
            assert_eq!(field_role(name), FieldRole::Secret, "{name}");
        }
        for name in ["X-WEBAUTH-USER", "Remote-Email", "Remote.Groups", "Remote_Name", "X-authentik-username"] {
            assert_eq!(field_role(name), FieldRole::Identity, "{name}");
        }
        assert_eq!(field_role("X-Apigateway-Api-Userinfo"), FieldRole::Identity);
        assert_eq!(field_role("content.length"), FieldRole::Framing);
        for name in ["grpc-metadata-host", "grpc-metadata-x-trace", "grpc-timeout", "te-bin", "authorizations"] {
            assert_eq!(field_role(name), FieldRole::Plain, "{name}");
        }
        assert!(is_read_as("Grpc-Metadata-X.Acme", "x-acme") && is_read_as("x_acme-bin", "x-acme"));
        assert!(!is_read_as("x-acme", "x-acme-bin") && !is_read_as("x-acmes", "x-acme"));
    }

    #[test]
    fn t284_fields_that_name_a_second_resource_are_known_by_family() {
        for name in [
            "Destination",
            "X-Amz-Copy-Source",
            "x_amz_rename_source",
            "x-ms-copy-source",
            "x-ms-rename-source",
            "x-goog-copy-source",
            "x-oss-copy-source",
            "X-Copy-From",
        ] {
            assert_eq!(field_role(name), FieldRole::Resource, "{name}");
        }
        for name in ["x-amz-copy-source-range", "x-amz-copy-source-if-match", "source", "x-destination-note"] {
            assert_eq!(field_role(name), FieldRole::Plain, "{name}");
        }
    }

    #[test]
    fn common_names_are_plain_by_the_table_too() {
        let common = ["accept", "accept-encoding", "accept-language", "cache-control", "content-type", "date"];
        let conditional = ["if-match", "if-modified-since", "if-none-match", "range", "user-agent"];
        for name in common.into_iter().chain(conditional) {
            assert!(is_common(name) && role_of(name).is_none_or(|role| role == FieldRole::Plain), "{name}");
        }
        assert!(!is_common("authorization") && !is_common("host"));
    }

    #[test]
    fn the_table_has_each_name_once_and_folded() {
        let mut names: Vec<&str> = table::NAMES.iter().map(|(name, _)| *name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.iter().all(|name| fold_name(name) == *name));
    }

    #[test]
    fn names_that_no_table_lists_are_known_by_their_look() {
        for name in [
            "x-acme-api-key",
            "acme-apikey",
            "x-acme-token",
            "X_Acme_Secret",
            "my-access-key",
            "x-bearertoken",
            "user-password",
        ] {
            assert_eq!(field_role(name), FieldRole::Secret, "{name}");
        }
        for name in [
            "idempotency-key",
            "x-request-token",
            "sec-websocket-key",
            "surrogate-key",
            "x-cache-key",
            "x-amz-server-side-encryption-customer-key",
            "x-csrf-token",
            "x-csrftoken",
            "mcp-session-id",
            "lock-token",
            "x-amz-client-token",
            "content-type",
            "accept",
            "x-monkey",
            "tokenize",
        ] {
            assert_eq!(field_role(name), FieldRole::Plain, "{name}");
        }
    }

    #[test]
    fn fields_that_rename_the_target_are_known_by_family() {
        for name in [
            "x_original_url",
            "x-original-host",
            "x-envoy-original-path",
            "X_Forwarded_Anything",
            "x-rewrite-uri",
            "x-http-host-override",
            "x-host-override",
            "x-path-override",
        ] {
            assert_eq!(field_role(name), FieldRole::Target, "{name}");
        }
        for name in ["x-http-method-override", "x_method_override", "X-HTTP-Method"] {
            assert_eq!(field_role(name), FieldRole::Method, "{name}");
        }
        assert_eq!(field_role("transfer_encoding"), FieldRole::Framing);
        assert_eq!(field_role("content_length"), FieldRole::Framing);
    }

    #[test]
    fn t051_fields_that_are_needed_before_the_content_are_forbidden_in_trailers() {
        for name in [
            "Content-Length",
            "transfer_encoding",
            "Host",
            "Trailer",
            "TE",
            "Expect",
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "WWW-Authenticate",
            "Proxy-Authenticate",
            "Cache-Control",
            "Range",
            "If-Match",
            "Accept-Encoding",
            "Content-Type",
            "Content_Encoding",
            "Content-Range",
            "Location",
            "Retry-After",
            "Vary",
            "Date",
        ] {
            assert!(is_forbidden_in_trailers(name), "{name}");
        }
        for name in [
            "x-sum",
            "content-digest",
            "etag",
            "server-timing",
            "grpc-status",
            "grpc-message",
            "x-amz-checksum-crc32",
            "authentication-info",
            "accepted",
        ] {
            assert!(!is_forbidden_in_trailers(name), "{name}");
        }
        assert!(table::NEVER_TRAILERS.iter().all(|name| fold_name(name) == *name));
    }

    #[test]
    fn one_name_for_some_servers() {
        assert!(same_name("x_api_key", "X-Api-Key"));
        assert!(!same_name("x-api-key", "x-api-keys"));
        assert!(!same_name("x-api-kez", "x-api-key"));
    }
}
