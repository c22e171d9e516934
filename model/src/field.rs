//! What a header field of a request means for who acts and where the request goes: one table of names, used by the policy
//! compiler and by the data path.
//!
//! Names are compared after folding: case is ignored, and `_` equals `-`. Many servers (CGI, WSGI, Rack) read both spellings as one
//! variable, so a table that knew only one of them would be evaded by the other. The suffix `-bin` of gRPC metadata is ignored
//! for credentials.

use std::borrow::Cow;
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
    /// Tells the server who the client is, as a trusted proxy would; never forwarded from a sandbox.
    Identity,
    /// Renames the host or path of the request for some servers; never forwarded from a sandbox.
    Target,
    /// Renames the method of the request for some servers.
    Method,
    /// Decides where a message ends or concerns one connection only.
    Framing,
}

static ROLES: LazyLock<HashMap<&'static str, FieldRole>> = LazyLock::new(|| table::NAMES.iter().copied().collect());

/// The role of a field by its name, in any spelling.
pub fn field_role(name: &str) -> FieldRole {
    let folded = fold_name(name);
    // HTTP/2 carries gRPC metadata with binary values under a name that ends in `-bin`.
    role_of(&folded).or_else(|| role_of(folded.strip_suffix("-bin")?)).unwrap_or(FieldRole::Plain)
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
    looks_secret(folded).then_some(FieldRole::Secret)
}

/// A field name in the form in which names are compared: lower case, with `-` for `_`.
pub fn fold_name(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte == b'_' || byte.is_ascii_uppercase()) {
        Cow::Owned(name.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether two names are one name for some servers.
pub fn same_name(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| fold(a) == fold(b))
}

/// Names such as `x-host-override` and `x-http-path-override`.
fn is_override(folded: &str) -> bool {
    folded.strip_suffix("-override").is_some_and(|front| {
        front.rsplit('-').next().is_some_and(|word| matches!(word, "host" | "path" | "uri" | "url" | "target"))
    })
}

/// Names that no table lists and that say themselves that they carry a credential.
fn looks_secret(folded: &str) -> bool {
    if table::NOT_SECRET.contains(&folded) || folded.contains("csrf") || folded.contains("xsrf") {
        return false;
    }
    if ["-apikey", "-token", "-secret"].iter().any(|end| folded.ends_with(end)) {
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
    fn one_name_for_some_servers() {
        assert!(same_name("x_api_key", "X-Api-Key"));
        assert!(!same_name("x-api-key", "x-api-keys"));
        assert!(!same_name("x-api-kez", "x-api-key"));
    }
}
