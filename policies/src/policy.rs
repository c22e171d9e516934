//! One policy, compiled.

use std::sync::Arc;

use model::{PolicyName, Timestamp};

use crate::check::Check;
use crate::problem::Place;
use crate::rule::Rule;
use crate::selector::Selector;

/// One compiled policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: PolicyName,
    pub(crate) file: Arc<str>,
    /// The place of its name.
    pub(crate) place: Place,
    pub(crate) description: Option<String>,
    pub(crate) observe: bool,
    pub(crate) ceiling: bool,
    pub(crate) until: Option<Timestamp>,
    pub(crate) applies_to: Option<Selector>,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) checks: Vec<Check>,
}
