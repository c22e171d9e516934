//! The values that one response must not show. They are updated while it streams. A value can be stored, attached to another
//! request and echoed by the host long after the head of this response has passed.

use std::sync::Arc;

use model::{Host, Reason};
use redaction::{NeedleCache, Needles};
use vault::{HostValues, LeaseError, Vault};

use crate::credentials::access::unavailable;
use crate::refusal::Refusal;
use crate::share;
use redaction::stream::{Patterns, Sets};

/// The values to mask for each host, from the vault. Built once for each host and change of the vault.
pub(crate) struct HostNeedles {
    vault: Arc<Vault>,
    cache: NeedleCache,
}

impl HostNeedles {
    /// The vault of these values.
    pub(crate) fn new(vault: Arc<Vault>) -> Self {
        Self { vault, cache: NeedleCache::default() }
    }

    /// The values to mask for a host, with the generation of the vault that they belong to.
    ///
    /// # Errors
    /// [`LeaseError::Corrupt`] if a value does not open.
    pub(crate) fn at(&self, host: &Host) -> Result<(u64, Option<Arc<Needles>>), LeaseError> {
        let generation = self.vault.generation();
        if let Some(known) = self.cache.get(generation, host, share::judging_time) {
            return Ok((generation, known));
        }
        let HostValues { generation, values, valid_until } = self.vault.values_at(host)?;
        let made = Needles::new(values, valid_until).map_err(|_| LeaseError::Corrupt)?.map(Arc::new);
        self.cache.put(generation, host, made.clone());
        Ok((generation, made))
    }
}

/// The values to mask for a host: every value whose audience names it, and values derived from one for this request.
pub(crate) struct Known {
    host: Host,
    /// The generation of the vault that `latest` is of.
    generation: u64,
    latest: Option<Arc<Needles>>,
    /// Values of the generation in which the response began, if that has values that `latest` lacks.
    first: Option<Arc<Needles>>,
    made: Option<Arc<Needles>>,
}

impl Known {
    /// The values known now.
    ///
    /// # Errors
    /// `credential_unavailable` if a value does not open.
    pub(crate) fn now(needles: &HostNeedles, host: &Host, patterns: &Patterns) -> Result<Self, Refusal> {
        let (generation, latest) = needles.at(host).map_err(unavailable)?;
        let is_new = |pattern: &&zeroize::Zeroizing<Vec<u8>>| latest.as_ref().is_none_or(|set| !set.is_form(pattern));
        let made: Patterns = patterns.iter().filter(is_new).cloned().collect();
        let made =
            if made.is_empty() { None } else { Needles::of_request(made).map_err(|_| no_random())?.map(Arc::new) };
        Ok(Self { host: host.clone(), generation, latest, first: None, made })
    }

    /// The host.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// All of it.
    pub(crate) fn sets(&self) -> Sets {
        Sets::new(self.latest.clone(), self.first.clone(), self.made.clone())
    }

    /// The values to mask from here on; `None` if they did not change. Costs an atomic load while the vault does not change.
    ///
    /// # Errors
    /// [`LeaseError::Corrupt`] if a value does not open.
    pub(crate) fn follow(&mut self, needles: &HostNeedles) -> Result<Option<Sets>, LeaseError> {
        if needles.vault.is_at(self.generation) {
            return Ok(None);
        }
        let (generation, latest) = needles.at(&self.host)?;
        self.generation = generation;
        let has_all = |of: &Option<Arc<Needles>>| match (&latest, of) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(latest), Some(of)) => Arc::ptr_eq(latest, of) || latest.covers(of),
        };
        // The values at the start of the response stay masked to its end, even if the vault removes them.
        if self.first.is_none() && !has_all(&self.latest) {
            self.first = self.latest.take();
        } else if has_all(&self.first) {
            self.first = None;
        }
        let is_same = match (&self.latest, &latest) {
            (Some(before), Some(now)) => before.covers(now) && now.covers(before),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.latest = latest;
        Ok((!is_same).then(|| self.sets()))
    }
}

fn no_random() -> Refusal {
    Refusal::of(Reason::Internal, "the system gave no random bytes")
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use vault::{Kind, NewCredential, Secret};

    use super::*;
    use crate::testing::credential;

    fn needles_of(folder: &std::path::Path) -> HostNeedles {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let key = vault::KeyFile(folder.join("key"));
        key.create().unwrap();
        HostNeedles::new(Arc::new(Vault::create(&folder.join("vault"), &key).unwrap()))
    }

    fn put(needles: &HostNeedles, name: &str, host: &str, value: &str, grace: u64) {
        let new = credential(name, Kind::bearer(), host);
        let new = NewCredential { grace: std::time::Duration::from_secs(grace), ..new };
        needles.vault.put(new, Secret::new(value.as_bytes().to_vec()), Timestamp::now()).unwrap();
    }

    fn finds(sets: &Sets, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for set in sets.iter() {
            set.find(text.as_bytes(), |hit| found.push(text.get(hit.start..hit.end).unwrap().to_owned()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn t270_what_is_known_follows_the_vault() {
        let folder = tempfile::tempdir().unwrap();
        let needles = needles_of(folder.path());
        let host = Host::parse("api.example.com").unwrap();
        let text = "value-one-111111 value-two-222222 value-three-333333 made-for-request";
        let mut known = Known::now(&needles, &host, &Vec::new()).unwrap();
        assert!(known.sets().is_empty());
        assert!(known.follow(&needles).unwrap().is_none(), "nothing changed");
        put(&needles, "other", "other.example.com", "value-of-another", 600);
        assert!(known.follow(&needles).unwrap().is_none(), "nothing changed for this host");
        put(&needles, "one", "api.example.com", "value-one-111111", 600);
        assert_eq!(finds(&known.follow(&needles).unwrap().unwrap(), text), ["value-one-111111"]);
        assert!(known.follow(&needles).unwrap().is_none());
        // The value from the start stays, even if its grace time ends at once; later values are removed with the vault's.
        let patterns = vec![b"made-for-request".to_vec().into()];
        let mut known = Known::now(&needles, &host, &patterns).unwrap();
        put(&needles, "one", "api.example.com", "value-two-222222", 0);
        let sets = known.follow(&needles).unwrap().unwrap();
        assert_eq!(finds(&sets, text), ["made-for-request", "value-one-111111", "value-two-222222"]);
        put(&needles, "one", "api.example.com", "value-three-333333", 0);
        let sets = known.follow(&needles).unwrap().unwrap();
        assert_eq!(finds(&sets, text), ["made-for-request", "value-one-111111", "value-three-333333"]);
        assert_eq!(finds(&known.sets(), text), finds(&sets, text));
    }
}
