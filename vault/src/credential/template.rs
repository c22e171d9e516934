//! The fixed template of a header value: text with one gap for the secret, such as `Token token={}`.
//!
//! The credential declares the text, so that the sandbox cannot influence the text around the secret.

use zeroize::Zeroizing;

use super::credential_kind::{KindOption, Options};
use super::{CredentialError, MAX_TEMPLATE_BYTES, copy};

/// The mark of the secret in a template.
const GAP: &str = "{}";

/// The option of every kind with a header location.
pub(super) const OPTION: KindOption = KindOption {
    name: "template",
    flag: "template",
    required: false,
    help: "the whole header value with {} in place of the secret, such as \"Token token={}\"",
};

/// Judges the option: printable, one gap, no blank at either end.
pub(super) fn check(options: &Options) -> Result<(), CredentialError> {
    let template = options.get(OPTION.name);
    let plain = template.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let edges = template.starts_with(' ') || template.ends_with(' ');
    let gaps = template.matches(GAP).count();
    let fits = gaps == 1 && plain && !edges && template.len() <= MAX_TEMPLATE_BYTES;
    if template.is_empty() || fits { Ok(()) } else { Err(CredentialError::Template) }
}

/// The text before and after the gap; `None` if the credential declares no template.
fn parts(options: &Options) -> Option<(&str, &str)> {
    options.get(OPTION.name).split_once(GAP)
}

/// Whether exactly the text of the template is around a placeholder.
pub(super) fn frames(options: &Options, before: &[u8], after: &[u8]) -> bool {
    parts(options).is_some_and(|(front, back)| front.as_bytes() == before && back.as_bytes() == after)
}

/// The template with the value in its gap; `None` if the credential declares none.
pub(super) fn render(options: &Options, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    parts(options).map(|(front, back)| copy(&[front.as_bytes(), value, back.as_bytes()]))
}
