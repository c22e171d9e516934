//! What masks the body of one response.

use http_body::SizeHint;
use model::TenantId;

use crate::body::known::{HostNeedles, Known};
use crate::body::rewriter::{Rewriter, Unmaskable};
use redaction::stream::Masker;

/// What masks a body, also for values that are stored while it streams.
pub(crate) struct Masked {
    pub(crate) known: Known,
    pub(crate) tenant: TenantId,
    /// `None` as long as the host is in no audience.
    pub(crate) rewriter: Option<Box<Rewriter>>,
    /// Whether what is left of a body that was not masked from its beginning can be searched.
    pub(crate) can_begin_late: bool,
}

impl Masked {
    /// What the client can expect, when the upstream still has `left` to send.
    pub(crate) fn hint(&self, left: Option<u64>) -> SizeHint {
        match (&self.rewriter, left) {
            (Some(rewriter), left) => rewriter.hint(left),
            (None, Some(left)) => SizeHint::with_exact(left),
            (None, None) => SizeHint::default(),
        }
    }

    /// What rewrites the body, where anything does.
    pub(crate) fn rewriter(&mut self) -> Option<&mut Rewriter> {
        self.rewriter.as_deref_mut()
    }

    /// As [`Masked::rewriter`], to look at it.
    pub(crate) fn rewrites(&self) -> Option<&Rewriter> {
        self.rewriter.as_deref()
    }

    /// From here on masks what is in the vault now. Costs an atomic load where that did not change.
    ///
    /// # Errors
    /// Where what follows cannot be searched for it.
    pub(crate) fn follow(&mut self, needles: &HostNeedles) -> Result<(), Unmaskable> {
        let Some(sets) = self.known.follow(needles).map_err(|_| Unmaskable::Unopened)? else { return Ok(()) };
        match &mut self.rewriter {
            Some(rewriter) => return rewriter.renew(sets),
            None if sets.is_empty() => {}
            None if self.can_begin_late => {
                self.rewriter = Some(Box::new(Rewriter::from_here(Masker::new(sets, self.tenant.clone()))));
            }
            None => return Err(Unmaskable::Late),
        }
        Ok(())
    }
}
