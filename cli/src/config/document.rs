//! The file as written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) data_dir: Option<Spanned<String>>,
    pub(super) listen: ListenDocument,
    pub(super) sessions: SessionsDocument,
    pub(super) policies: Vec<Spanned<String>>,
    pub(super) vault: VaultDocument,
    pub(super) audit: AuditDocument,
    pub(super) upstream: UpstreamDocument,
    pub(super) limits: BTreeMap<String, Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListenDocument {
    pub(super) proxy: Option<Spanned<String>>,
    pub(super) socks: Option<Spanned<IgnoredAny>>,
    pub(super) transparent: Option<Spanned<IgnoredAny>>,
    pub(super) control: Option<Spanned<IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionsDocument {
    pub(super) default: Option<DefaultDocument>,
    pub(super) danger_default_credentials: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefaultDocument {
    pub(super) policies: Vec<String>,
    pub(super) credentials: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VaultDocument {
    pub(super) key: Option<Spanned<KeyDocument>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeyDocument {
    pub(super) file: Option<String>,
    pub(super) passphrase_file: Option<String>,
    pub(super) passphrase_env: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditDocument {
    pub(super) durability: Option<Spanned<String>>,
    pub(super) retention: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpstreamDocument {
    pub(super) ca_files: Vec<Spanned<String>>,
    pub(super) resolve: BTreeMap<String, Spanned<String>>,
    pub(super) proxy: Option<Spanned<IgnoredAny>>,
}
