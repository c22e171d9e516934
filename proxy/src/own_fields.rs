//! Fields that only Egret may send: with them, an upstream could present its answer as a refusal of Egret.
//!
//! `Egret-Record` and the member `egret` of `Proxy-Status` (RFC 9209) show a client that an answer is Egret's. Bodies pass
//! unchanged, so a problem document with a `type` of Egret's is Egret's only with these fields.

use http::{HeaderName, HeaderValue};
use model::Fields;
use model::field::{fold_name, same_name};

/// Egret's name in Proxy-Status.
const NAME: &[u8] = b"egret";

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Removes Egret's own fields from an upstream's response. A client may accept any spelling that its framework folds into one
/// name, so other spellings of Proxy-Status are removed entirely.
pub(crate) fn remove_forged(fields: &mut Fields) {
    fields.remove_named(|name| {
        let text = name.as_str();
        (text.starts_with("egret") && fold_name(text).starts_with("egret-"))
            || (*name != PROXY_STATUS && same_name(text, PROXY_STATUS.as_str()))
    });
    if !fields.contains(&PROXY_STATUS) {
        return;
    }
    let members: Vec<Vec<u8>> = fields.get_all(&PROXY_STATUS).flat_map(|value| members(value.as_bytes())).collect();
    let kept: Vec<&[u8]> = members.iter().map(Vec::as_slice).filter(|member| !is_ours(member)).collect();
    let joined = kept.join(b", ".as_slice());
    match HeaderValue::from_bytes(&joined) {
        Ok(value) if !joined.is_empty() => drop(fields.insert(PROXY_STATUS, value)),
        Ok(_) | Err(_) => drop(fields.remove(&PROXY_STATUS)),
    }
}

/// The members of a list (RFC 9651 section 3.1): split at commas outside of strings.
fn members(list: &[u8]) -> Vec<Vec<u8>> {
    let (mut members, mut current) = (Vec::new(), Vec::new());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in list {
        match byte {
            b',' if !quoted => members.push(std::mem::take(&mut current)),
            _ => {
                quoted ^= byte == b'"' && !escaped;
                escaped = quoted && byte == b'\\' && !escaped;
                current.push(byte);
            }
        }
    }
    members.push(current);
    members.into_iter().map(|member| member.trim_ascii().to_vec()).filter(|member| !member.is_empty()).collect()
}

/// Whether a member is named `egret`, as a token or a string. A member with an unreadable name counts as ours.
fn is_ours(member: &[u8]) -> bool {
    let name = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
    let plain = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte));
    !plain || name.eq_ignore_ascii_case(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(values: &[&'static str]) -> Vec<String> {
        let mut fields = Fields::new();
        for value in values {
            fields.append(PROXY_STATUS, HeaderValue::from_static(value));
        }
        remove_forged(&mut fields);
        fields.get_all(&PROXY_STATUS).map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn t230_only_members_of_other_proxies_pass() {
        assert!(cleaned(&["egret; error=http_request_denied"]).is_empty());
        assert!(cleaned(&["\"egret\"; error=x", "Egret", "eg\\ret"]).is_empty());
        assert_eq!(cleaned(&["cdn.example; error=dns_error, egret; error=x"]), ["cdn.example; error=dns_error"]);
        assert_eq!(cleaned(&["a; details=\"x, egret; y\", b"]), ["a; details=\"x, egret; y\", b"]);
        assert_eq!(cleaned(&["a; details=\"\\\", egret\", egret"]), ["a; details=\"\\\", egret\""]);
    }

    #[test]
    fn t230_own_fields_are_removed_in_every_spelling() {
        let mut fields = Fields::new();
        for name in ["egret-record", "egret_record", "egret.record", "egret-anything", "x-egret", "egretta"] {
            fields.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        remove_forged(&mut fields);
        let mut left: Vec<&str> = fields.names().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["egretta", "x-egret"]);
    }
    #[test]
    fn t285_no_other_spelling_of_proxy_status_passes() {
        let mut fields = Fields::new();
        for name in ["proxy_status", "proxy.status", "proxy-status"] {
            fields.insert(HeaderName::from_static(name), HeaderValue::from_static("egret; error=x, cdn; error=y"));
        }
        remove_forged(&mut fields);
        let left: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(left, [("proxy-status", b"cdn; error=y".as_slice())]);
    }
}
