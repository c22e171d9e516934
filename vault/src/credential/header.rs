//! A header field of the credential's own name (RFC 9110 section 5).

use zeroize::Zeroizing;

use super::credential_kind::{CredentialKind, KindOption, Options, Slot};
use super::{CredentialError, MAX_NAME_BYTES, MAX_PREFIX_BYTES, ValueError, copy, template};

/// Fields that control the routing, the parsing or the framing of a message, or that belong to one connection: a credential may never use
/// them.
const RESERVED: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "if-range",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

pub(super) struct Header;

impl CredentialKind for Header {
    fn name(&self) -> &'static str {
        "header"
    }

    fn options(&self) -> &'static [KindOption] {
        &[
            KindOption { name: "name", flag: "header", required: true, help: "the header's name, such as X-Api-Key" },
            KindOption {
                name: "prefix",
                flag: "header-prefix",
                required: false,
                help: "the text before the value in that header, such as \"Token \"",
            },
            template::OPTION,
        ]
    }

    fn check_options(&self, options: &Options) -> Result<(), CredentialError> {
        let (name, prefix) = (options.get("name"), options.get("prefix"));
        let lower = name.to_ascii_lowercase();
        let legal = !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_token);
        if !legal || lower.starts_with("proxy-") || RESERVED.contains(&lower.as_str()) {
            return Err(CredentialError::Header);
        }
        let plain = prefix.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if prefix.len() > MAX_PREFIX_BYTES || !plain || prefix.starts_with(' ') {
            return Err(CredentialError::HeaderPrefix);
        }
        if !prefix.is_empty() && !options.get("template").is_empty() {
            return Err(CredentialError::TemplateAndPrefix);
        }
        template::check(options)
    }

    fn slot<'o>(&self, options: &'o Options) -> Option<Slot<'o>> {
        Some(Slot::Header(options.get("name")))
    }

    /// A field value: no white space at the ends, because parsers remove it.
    fn check_value(&self, value: &[u8]) -> Result<(), ValueError> {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
        if edge(value.first()) || edge(value.last()) { Err(ValueError::Space) } else { Ok(()) }
    }

    fn frames(&self, options: &Options, before: &[u8], after: &[u8]) -> bool {
        let prefix = before.is_empty() || options.get("prefix").as_bytes() == before;
        (after.is_empty() && prefix) || template::frames(options, before, after)
    }

    fn render(&self, options: &Options, value: &[u8]) -> Zeroizing<Vec<u8>> {
        if let Some(filled) = template::render(options, value) {
            return filled;
        }
        copy(&[options.get("prefix").as_bytes(), value])
    }
}

/// A character of a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
