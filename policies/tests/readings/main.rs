//! Differential tests of paths: no target that a path rule allows, or that passes beside a path deny, is another path for
//! any server. Servers are models here, written without a look at the code under test, and real parsers where they
//! are installed. Runs 20,000 generated targets, or the number in `EGRET_TARGETS`.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not have ends the test")]

mod generate;
mod honest;
mod models;
mod parsers;
mod rules;

use std::collections::BTreeMap;

use generate::Targets;
use models::{FAMILIES, Pipeline, Reached};
use rules::{Answer, Case, cases};

/// How many targets are generated.
fn count(otherwise: usize) -> usize {
    std::env::var_os("EGRET_TARGETS").map_or(otherwise, |text| text.to_str().unwrap().parse().unwrap())
}

/// What was counted for one set of rules.
#[derive(Debug, Default)]
struct Tally {
    bad_target: usize,
    allowed: usize,
    allowed_with_several_readings: usize,
    refused: usize,
    ambiguous: usize,
    /// Refused, and some server would have reached a path that the rules keep closed.
    dangerous: usize,
}

/// Where a server goes that the rules do not let it go, for a target that begins where they do.
fn strays(case: &Case, reached: &Reached) -> bool {
    !case.permits(reached)
}

#[test]
fn t204_no_model_reads_an_allowed_target_as_another_path() {
    let cases = cases();
    let mut targets = Targets::seeded(0x5eed_2041);
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut by_family: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..count(20_000) {
        let target = targets.next();
        let pipelines: Vec<Pipeline> = FAMILIES
            .iter()
            .map(|(_, steps)| Pipeline(steps.to_vec()))
            .chain((0..6).map(|_| targets.pipeline()))
            .collect();
        let reached: Vec<Option<Reached>> = pipelines.iter().map(|pipeline| pipeline.read(&target)).collect();
        for case in &cases {
            let tally = tallies.entry(case.name).or_default();
            match case.judge(&target) {
                Answer::BadTarget => tally.bad_target += 1,
                Answer::Allowed { readings } => {
                    tally.allowed += 1;
                    tally.allowed_with_several_readings += usize::from(readings > 1);
                    for (pipeline, reached) in pipelines.iter().zip(&reached) {
                        let Some(reached) = reached else { continue };
                        assert!(!strays(case, reached), "{}: {target} is {reached} for {pipeline:?}", case.name);
                    }
                }
                Answer::Refused { ambiguous } => {
                    tally.refused += 1;
                    tally.ambiguous += usize::from(ambiguous);
                    let mut dangerous = false;
                    if case.seems_fine(&target) {
                        for (at, reached) in reached.iter().enumerate() {
                            if reached.as_ref().is_some_and(|reached| strays(case, reached)) {
                                dangerous = true;
                                *by_family
                                    .entry(FAMILIES.get(at).map_or("random pipelines", |(name, _)| name))
                                    .or_default() += 1;
                            }
                        }
                    }
                    tally.dangerous += usize::from(dangerous);
                }
            }
        }
    }
    for (name, tally) in &tallies {
        println!("{name}: {tally:?}");
        assert!(tally.allowed > 0 && tally.ambiguous > 0, "{name} shows nothing: {tally:?}");
        assert!(tally.dangerous > 0, "{name}: no generated target is dangerous: {tally:?}");
        assert!(tally.allowed_with_several_readings > 0, "{name}: no target with several readings is allowed");
    }
    println!("refused, and a model reaches what the rules keep closed: {by_family:?}");
    for (name, _) in FAMILIES.iter().filter(|(name, _)| !name.starts_with("as sent")) {
        assert!(by_family.get(name).is_some_and(|count| *count > 0), "no generated target is dangerous for: {name}");
    }
}
