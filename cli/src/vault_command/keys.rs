//! The commands about the vault as a whole: its keys, its backup.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use api::{KeyQuery, List, TenantKeyView, VaultView};
use bytes::Bytes;
use vault::{KeyFile, KeySource, Passphrase, PassphraseAndKeyFile, Secret, passphrase_weakness};

use super::{BackupLock, Listing, Lock, Wiped, read_value, terminal};
use crate::Context;
use crate::client::{Client, IfMissing, busy, converse, path_with};
use crate::exit::{Answer, Failure, OrFail as _};
use crate::foundation::{passphrase_file, restore_vault};
use crate::output::{self, Format};

const BACKUP: &str = "/v1/vaults/default/backup";

pub(super) fn rotate(context: &Context, listing: &Listing) -> Answer {
    let path = path_with("/v1/vaults/default/rotate", &listing.whose())?;
    let done: List<TenantKeyView> =
        converse(async { Client::find(context, IfMissing::Fail).await?.post_empty(&path).await })?;
    if listing.format == Format::Json {
        return output::json(&done.items);
    }
    output::table(["tenant", "key"], done.items.into_iter().map(|one| [one.tenant, one.key.to_string()]));
    Ok(())
}

pub(super) fn rekey(context: &Context, lock: &Lock) -> Answer {
    let passphrase = match (&lock.passphrase_file, lock.ask) {
        (Some(path), _) => {
            let shown = path.display();
            let file = fs::File::open(path).with_context(|| format!("cannot read {shown}")).or_usage()?;
            Some(read_value(file, &shown.to_string())?)
        }
        (None, true) => {
            let first = terminal::ask("new passphrase")?;
            if *terminal::ask("the same again")? != *first {
                return Err(Failure::usage(anyhow!("the two are not the same; nothing was changed")));
            }
            Some(first)
        }
        (None, false) => None,
    };
    let key_file = match &lock.key_file {
        Some(path) => {
            let path =
                std::path::absolute(path).with_context(|| format!("cannot use {}", path.display())).or_usage()?;
            if !path.exists() {
                KeyFile(path.clone()).create().or_usage()?;
                output::say(&format!("made the key file {}", path.display()));
            }
            Some(path)
        }
        None => None,
    };
    let query = KeyQuery { passphrase: passphrase.is_some(), key_file, only: lock.only };
    let path = path_with("/v1/vaults/default/key", &query)?;
    let weakness = passphrase.as_ref().and_then(|text| passphrase_weakness(&Secret::new(text.to_vec())));
    let body = passphrase.map_or_else(Bytes::new, |text| Bytes::from_owner(Wiped(text)));
    let view: VaultView = converse(async { Client::find(context, IfMissing::Fail).await?.put(&path, body).await })?;
    if let Some(why) = weakness {
        output::say(&format!(
            "warning: the new passphrase {why}, and anyone with a copy of the vault can try passphrases without limit"
        ));
    }
    output::say(&format!(
        "the vault is locked with a {} now; the next start needs `vault.key` in egret.yaml to say so. Older backups keep \
         the lock they were made with",
        view.key
    ));
    Ok(())
}

pub(super) fn backup(context: &Context, file: Option<&Path>) -> Answer {
    let bytes = converse(async { Client::find(context, IfMissing::Fail).await?.bytes(BACKUP).await })?;
    let Some(path) = file else {
        let mut out = std::io::stdout().lock();
        return out.write_all(&bytes).and_then(|()| out.flush()).context("cannot write the backup").or_unreachable();
    };
    let shown = path.display();
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {shown}")).or_usage()?;
    output::say(&format!("wrote {} bytes to {shown}; without the vault's key nothing opens them", bytes.len()));
    Ok(())
}

pub(super) fn restore(context: &Context, file: &Path, lock: &BackupLock) -> Answer {
    // A read of a device or a pipe would never end.
    if !fs::metadata(file).with_context(|| format!("cannot read {}", file.display())).or_usage()?.is_file() {
        return Err(Failure::usage(anyhow!("{} is not a regular file, so it is not a backup", file.display())));
    }
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display())).or_usage()?;
    let source = source(lock)?;
    let config = context.config()?;
    let dir = context.data_dir(&config)?;
    let sidecar = converse(async { Client::to_sidecar(&dir).await.map(|found| found.is_some()) })?;
    if sidecar {
        if source.is_some() {
            return Err(Failure::usage(anyhow!("a backup under another lock is restored while no sidecar runs")));
        }
        let view: VaultView =
            converse(async { Client::find(context, IfMissing::Fail).await?.put(BACKUP, bytes.into()).await })?;
        output::say(&format!("restored {} credentials, generation {}", view.credentials, view.generation));
        return Ok(());
    }
    dir.prepare().or_unreachable()?;
    let Some(_lock) = dir.try_lock().or_unreachable()? else {
        return Err(Failure::unreachable(anyhow!("{}", busy(&dir))));
    };
    let status = restore_vault(&config, &dir, &bytes, source)?.status();
    output::say(&format!("restored {} credentials, generation {}", status.credentials, status.generation));
    Ok(())
}

fn source(lock: &BackupLock) -> Answer<Option<Box<dyn KeySource>>> {
    let passphrase = lock.passphrase_file.as_deref().map(passphrase_file).transpose().or_usage()?;
    let key_file = lock.key_file.clone().map(KeyFile);
    let passphrase = passphrase.map(|text: Secret| Passphrase::new(text));
    Ok(match (passphrase, key_file) {
        (Some(passphrase), Some(key_file)) => Some(Box::new(PassphraseAndKeyFile { passphrase, key_file })),
        (Some(passphrase), None) => Some(Box::new(passphrase)),
        (None, Some(key_file)) => Some(Box::new(key_file)),
        (None, None) => None,
    })
}
