//! Variables of our own environment that a command must not inherit, because they contain a value of the vault.
//!
//! The command uses placeholders. A value in another variable, such as `DATABASE_URL` or a `.netrc` in base64, would make them
//! pointless.

use std::collections::BTreeMap;
use std::ffi::OsString;

use api::{ScanDocument, ScanRequest};

use crate::client::Client;
use crate::exit::Answer;
use crate::output::{say, visible};

/// Bytes of names and values in one call.
const BATCH_BYTES: usize = 128 << 10;

/// The variables that contain a value of the vault, except those that the session sets anyway; warns of each by its
/// name.
///
/// # Errors
/// If the sidecar does not answer: then it is unknown, and the command does not start.
pub(crate) async fn holding_a_value(client: &mut Client, set: &BTreeMap<String, String>) -> Answer<Vec<OsString>> {
    let own = std::env::vars_os().filter(|(name, _)| !name.to_str().is_some_and(|name| set.contains_key(name)));
    let own: Vec<(OsString, OsString)> = own.collect();
    let mut found = Vec::new();
    for batch in batches(&own) {
        let request = ScanRequest { tenant: None, texts: batch };
        let answer: ScanDocument = client.post("/v1/vaults/default/scan", &request).await?;
        found.extend(
            answer.found.iter().filter_map(|place| own.get(place.parse::<usize>().ok()?)).map(|(name, _)| name),
        );
    }
    for name in &found {
        let name = visible(&name.to_string_lossy());
        say(&format!("egret: warning: the variable {name} holds a value of the vault; the command does not get it"));
    }
    Ok(found.into_iter().cloned().collect())
}

/// The values by their position in the list, because a name need not be text.
fn batches(own: &[(OsString, OsString)]) -> Vec<BTreeMap<String, String>> {
    let mut batches = vec![BTreeMap::new()];
    let mut bytes = 0;
    for (place, (_, value)) in own.iter().enumerate() {
        bytes += value.len() + 32;
        if bytes > BATCH_BYTES {
            batches.push(BTreeMap::new());
            bytes = value.len() + 32;
        }
        if let Some(batch) = batches.last_mut() {
            batch.insert(place.to_string(), value.to_string_lossy().into_owned());
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t257_every_variable_is_asked_about_once() {
        let own: Vec<_> = (0..300).map(|n| (format!("V{n}").into(), "x".repeat(n * 7).into())).collect();
        let batches = batches(&own);
        assert!(batches.len() > 1);
        let all: BTreeMap<_, _> = batches.into_iter().flatten().collect();
        assert_eq!(all.len(), own.len());
        assert!(all.iter().all(|(place, value)| value.len() == place.parse::<usize>().unwrap() * 7));
    }
}
