//! The answer of one side to one class of requests, with the rules, indexes and ranks of the data path.

use std::sync::Arc;

use model::{PathReading, Scheme};

use crate::conflict::unequal_header;
use crate::decide::{ConnectQuery, Passage};
use crate::denied::is_special;
use crate::question::Question;
use crate::rule::Rule;
use crate::rules::{PolicyLayer, Rules};

/// The answer of one layer to one reading of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum LayerAnswer {
    #[default]
    Nothing,
    Allows(usize),
    Asks(usize),
}

/// The answers of all layers to one reading of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reading {
    pub(super) denies: Option<usize>,
    pub(super) granting: LayerAnswer,
    pub(super) ceilings: Vec<LayerAnswer>,
    /// Every rule that matches and restricts.
    pub(super) restricting: Vec<usize>,
}

/// What a request gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// By a rule that denies, or because none allows.
    Refused(Option<usize>),
    /// What it gets after an approval, and the rule that asks.
    Asked {
        by: usize,
        grant: Grant,
    },
    Passes(Grant),
}

/// What a request gets that passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Grant {
    /// `None` where it passes because a policy observes.
    pub(super) rule: Option<usize>,
    pub(super) ceilings: Vec<usize>,
    /// Every rule whose restrictions apply.
    pub(super) restricting: Vec<usize>,
    /// The bytes are not read.
    pub(super) unread: bool,
}

/// How requests to one host and port fare, before any of them is read.
#[derive(Clone, Debug)]
pub(super) enum Entrance {
    /// Each is judged.
    Read,
    /// All get the same.
    Settled(Outcome),
}

/// One of the two sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct SideRules<'a> {
    pub(super) rules: &'a Arc<Rules>,
}

impl<'a> SideRules<'a> {
    pub(super) fn rule(self, at: usize) -> &'a Rule {
        self.rules.rule(at)
    }

    /// The rule that a grant is from, then those by which each ceiling allows.
    pub(super) fn behind(self, grant: &Grant) -> impl Iterator<Item = &'a Rule> {
        grant.rule.into_iter().chain(grant.ceilings.iter().copied()).map(move |at| self.rule(at))
    }

    /// Every rule whose restrictions apply to a grant.
    pub(super) fn restricting(self, grant: &Grant) -> impl Iterator<Item = &'a Rule> + Clone {
        grant.restricting.clone().into_iter().map(move |at| self.rule(at))
    }

    pub(super) fn entrance(self, scheme: Scheme, connect: &ConnectQuery<'_>) -> Entrance {
        match self.rules.decide_over(scheme, connect) {
            Ok(Passage::Intercept) => Entrance::Read,
            Ok(Passage::Tunnel(permit)) => {
                let (rule, ceilings) = permit.places();
                let restricting = sorted(permit.restricting_rules().iter().collect());
                let grant = Grant { rule, ceilings: ceilings.to_vec(), restricting, unread: true };
                Entrance::Settled(Outcome::Passes(grant))
            }
            Err(denied) => {
                let place = |rule: &Arc<Rule>| {
                    Some(&rule.id) == denied.rule.as_ref() && Some(&rule.policy) == denied.policy.as_ref()
                };
                let by = self.rules.all().iter().position(place);
                Entrance::Settled(match by.filter(|_| denied.is_ask()) {
                    Some(by) => {
                        let restricting = if self.rule(by).restricts() { vec![by] } else { Vec::new() };
                        let grant = Grant { rule: Some(by), ceilings: Vec::new(), restricting, unread: true };
                        Outcome::Asked { by, grant }
                    }
                    None => Outcome::Refused(by),
                })
            }
        }
    }

    /// The answers of the rules to one reading; only the query of the question's own path is used.
    pub(super) fn read(self, question: &Question<'_>, path: PathReading<'_>) -> Reading {
        let layer = |layer: &PolicyLayer| match self.rules.best(&layer.asks, question, path) {
            Some(rule) => LayerAnswer::Asks(rule),
            None => self.rules.best(&layer.allows, question, path).map_or(LayerAnswer::Nothing, LayerAnswer::Allows),
        };
        let mut restricting = Vec::new();
        for layer in std::iter::once(&self.rules.granting).chain(&self.rules.ceilings) {
            self.rules.restrictions(layer, question, path, |rule| restricting.push(rule));
        }
        Reading {
            restricting: sorted(restricting),
            denies: self.rules.best(&self.rules.denies, question, path),
            granting: layer(&self.rules.granting),
            ceilings: self.rules.ceilings.iter().map(layer).collect(),
        }
    }

    /// Whether what no rule allows passes.
    pub(super) fn observes(self, question: &Question<'_>) -> bool {
        self.rules.observes(question.now) && !is_special(question.destination.host())
    }

    /// What a request gets whose path has these readings.
    pub(super) fn outcome(self, question: &Question<'_>, readings: &[&Reading]) -> Outcome {
        if let Some(rule) = readings.iter().find_map(|reading| reading.denies) {
            return Outcome::Refused(Some(rule));
        }
        self.granted(question, &common(readings))
    }

    /// What a request gets whose path is ambiguous, read as sent where no rule has a path.
    pub(super) fn unclear(self, question: &Question<'_>, sent: &Reading) -> Outcome {
        let silent = |unclear: bool, answer: LayerAnswer| if unclear { LayerAnswer::Nothing } else { answer };
        if sent.denies.is_some() || self.rules.is_unclear(&[], question) {
            return Outcome::Refused(sent.denies);
        }
        let layers = sent.ceilings.iter().zip(&self.rules.ceilings);
        let reading = Reading {
            restricting: sent.restricting.clone(),
            denies: None,
            granting: silent(self.rules.is_unclear(&[&self.rules.granting], question), sent.granting),
            ceilings: layers
                .map(|(answer, layer)| silent(self.rules.is_unclear(&[layer], question), *answer))
                .collect(),
        };
        self.granted(question, &reading)
    }

    /// Whether two of these rules set one header to different values, as only rules of different readings can.
    fn sets_disagree(self, restricting: &[usize]) -> bool {
        let setting: Vec<&Rule> =
            restricting.iter().map(|at| self.rule(*at)).filter(|rule| !rule.set.is_empty()).collect();
        let mut pairs =
            setting.iter().enumerate().flat_map(|(at, one)| setting.iter().skip(at + 1).map(move |b| (one, b)));
        pairs.any(|(one, other)| unequal_header(one, other).is_some())
    }

    fn granted(self, question: &Question<'_>, reading: &Reading) -> Outcome {
        let (rule, asks) = match reading.granting {
            LayerAnswer::Allows(rule) => (Some(rule), None),
            LayerAnswer::Nothing | LayerAnswer::Asks(_) if self.observes(question) => (None, None),
            LayerAnswer::Asks(rule) => (Some(rule), Some(rule)),
            LayerAnswer::Nothing => return Outcome::Refused(None),
        };
        let restricting = sorted(reading.restricting.clone());
        if self.sets_disagree(&restricting) {
            return Outcome::Refused(None);
        }
        let (mut asks, mut grant) = (asks, Grant { rule, ceilings: Vec::new(), restricting, unread: false });
        for answer in &reading.ceilings {
            match *answer {
                LayerAnswer::Allows(rule) => grant.ceilings.push(rule),
                LayerAnswer::Asks(by) => {
                    asks = asks.or(Some(by));
                    grant.ceilings.push(by);
                }
                LayerAnswer::Nothing => return Outcome::Refused(None),
            }
        }
        match asks {
            Some(by) => Outcome::Asked { by, grant },
            None => Outcome::Passes(grant),
        }
    }
}

fn sorted(mut rules: Vec<usize>) -> Vec<usize> {
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Of several readings: only what is the same in all of them counts.
fn common(readings: &[&Reading]) -> Reading {
    let same = |mut answer: Box<dyn Iterator<Item = LayerAnswer> + '_>| {
        let first = answer.next().unwrap_or(LayerAnswer::Nothing);
        if answer.all(|other| other == first) { first } else { LayerAnswer::Nothing }
    };
    let ceilings = readings.first().map_or(0, |reading| reading.ceilings.len());
    Reading {
        denies: None,
        granting: same(Box::new(readings.iter().map(|reading| reading.granting))),
        ceilings: (0..ceilings).map(|at| same(Box::new(readings.iter().map(move |r| r.ceilings[at])))).collect(),
        // A restriction applies where its rule matches in any reading.
        restricting: readings.iter().flat_map(|reading| &reading.restricting).copied().collect(),
    }
}

impl Outcome {
    /// What it gets, now or after an approval.
    pub(super) fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Refused(_) => None,
            Self::Asked { grant, .. } | Self::Passes(grant) => Some(grant),
        }
    }

    /// The rule that decides.
    pub(super) fn decides(&self) -> Option<usize> {
        match self {
            Self::Refused(rule) => *rule,
            Self::Asked { by, .. } => Some(*by),
            Self::Passes(grant) => grant.rule,
        }
    }
}
