//! Calls about the vault as a whole: its keys, its backup. The output is sealed.

use std::sync::Arc;

use api::{KeyQuery, List, TenantKeyView, TenantQuery, VaultView};
use audit::{Kind, Record};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use http::{HeaderValue, header};
use model::TenantId;
use vault::{KeyFile, KeySource, Passphrase, PassphraseAndKeyFile, Secret, Vault, VaultError};

use crate::change::key_rotated;
use crate::credential::{refused, vault_view};
use crate::problem::{Problem, Query, chain};
use crate::{Control, blocking};

type Shared = State<Arc<Control>>;

/// `POST /v1/vaults/default/rotate`: every tenant's key, unless one is named.
pub(crate) async fn rotate(
    State(control): Shared,
    Query(rotation): Query<TenantQuery>,
) -> Result<axum::Json<List<TenantKeyView>>, Problem> {
    control.recording()?;
    blocking(move || {
        let tenants = match rotation.tenant {
            Some(name) => vec![TenantId::new(name.as_str())],
            None => control.vault.keys().into_iter().map(|(tenant, _)| tenant).collect(),
        };
        let mut items = Vec::new();
        for tenant in tenants {
            let key = control.change(|vault| vault.rotate(&tenant)).map_err(refused)?;
            let detail = Some(format!("the key of the tenant is number {key} now").into());
            record(&control, Record { detail, ..key_rotated(&control.vault, &tenant) });
            items.push(TenantKeyView { tenant: tenant.to_string(), key });
        }
        Ok(axum::Json(List { items }))
    })
    .await?
}

/// `PUT /v1/vaults/default/key`: the body is the new passphrase, or empty.
pub(crate) async fn rekey(
    State(control): Shared,
    Query(lock): Query<KeyQuery>,
    passphrase: Result<Bytes, BytesRejection>,
) -> Result<axum::Json<VaultView>, Problem> {
    let passphrase = Secret::new(Vec::from(passphrase?));
    let is_one_part = lock.passphrase != lock.key_file.is_some();
    if is_one_part && !lock.only && is_locked_with_both(&control.vault) {
        return Err(Problem::invalid(
            "the vault is locked with a passphrase and a key file: name both for the new lock (--passphrase-file or --ask, \
             and --key-file), or drop the one that is not named with --only (`only`)",
        ));
    }
    let source = source(lock, passphrase)?;
    control.recording()?;
    blocking(move || {
        control.change(|vault| vault.rekey(source.as_ref())).map_err(|error| {
            if matches!(error, VaultError::Key(_)) { Problem::invalid(chain(&error)) } else { refused(error) }
        })?;
        let view = vault_view(&control.vault);
        let detail = Some(format!("locked with {} now", view.key).into());
        record(&control, Record { detail, ..Record::new(Kind::VaultRekeyed) });
        Ok(axum::Json(view))
    })
    .await?
}

fn is_locked_with_both(vault: &Vault) -> bool {
    let lock = vault.status().lock;
    lock.passphrase.is_some() && lock.key_file
}

fn source(lock: KeyQuery, passphrase: Secret) -> Result<Box<dyn KeySource>, Problem> {
    let key_file = lock.key_file.map(KeyFile);
    match (lock.passphrase, key_file) {
        (true, _) if passphrase.is_empty() => Err(Problem::invalid("the new passphrase is empty")),
        (true, None) => Ok(Box::new(Passphrase::new(passphrase))),
        (true, Some(key_file)) => {
            Ok(Box::new(PassphraseAndKeyFile { passphrase: Passphrase::new(passphrase), key_file }))
        }
        (false, Some(key_file)) if passphrase.is_empty() => Ok(Box::new(key_file)),
        (false, Some(_)) => Err(Problem::invalid("a passphrase came with a lock that has none")),
        (false, None) => Err(Problem::invalid("the vault needs a passphrase, a key file, or both")),
    }
}

/// `GET /v1/vaults/default/backup`: one whole generation, sealed as at rest.
pub(crate) async fn backup(
    State(control): Shared,
) -> Result<([(header::HeaderName, HeaderValue); 1], Vec<u8>), Problem> {
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind)], blocking(move || control.vault.backup()).await?))
}

/// `PUT /v1/vaults/default/backup`: replaces the content of the vault with the backup.
pub(crate) async fn restore(
    State(control): Shared,
    backup: Result<Bytes, BytesRejection>,
) -> Result<axum::Json<VaultView>, Problem> {
    let backup = backup?;
    control.recording()?;
    blocking(move || {
        control.change(|vault| vault.restore(&backup)).map_err(|error| {
            let of_backup = matches!(error, VaultError::Corrupt | VaultError::Unseal | VaultError::Parameters);
            if of_backup { Problem::invalid(format!("the backup cannot be used: {error}")) } else { refused(error) }
        })?;
        record(&control, Record::new(Kind::VaultRestored));
        Ok(axum::Json(vault_view(&control.vault)))
    })
    .await?
}

fn record(control: &Control, record: Record) {
    control.journal.append(Record { generation: Some(control.vault.generation()), ..record });
    control.journal.flush();
}
