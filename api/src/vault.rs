//! Calls about the vault as a whole.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The key of one tenant, in the response of `POST /v1/vaults/default/rotate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantKeyView {
    /// The tenant; `egret:internal` has Egret's own values.
    pub tenant: String,
    /// Its number, from 1.
    pub key: u32,
}

/// `GET /v1/vaults/default`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VaultView {
    /// Whether it is open; a sidecar whose vault is not open does not start.
    pub open: bool,
    /// Its lock: `key file`, `passphrase` or `passphrase and key file`.
    pub key: String,
    /// How many credentials it holds, of all tenants.
    pub credentials: usize,
    /// How many times it was written.
    pub generation: u64,
    /// How plaintext is protected in memory: `secret`, `locked` or `ordinary`.
    #[serde(default)]
    pub memory: String,
    /// How many times a value was opened since the vault was opened.
    #[serde(default)]
    pub opened: u64,
}

/// The query of `PUT /v1/vaults/default/key`: the new lock of the vault; the passphrase, if any, is the body.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyQuery {
    /// Whether the body is the new passphrase.
    pub passphrase: bool,
    /// The new key file.
    pub key_file: Option<PathBuf>,
    /// Whether the other part of a two-part lock is dropped.
    pub only: bool,
}
