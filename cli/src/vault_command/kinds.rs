//! The options of `vault put` that belong to one kind of credential, from the definitions of the kinds.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use vault::{Kind, KindOption};

/// The given options, by the names of the control API.
#[derive(Clone, Debug, Default)]
pub(super) struct KindOptions(pub(super) BTreeMap<String, String>);

/// Every option once, with the first kind that has it.
fn all() -> impl Iterator<Item = (&'static str, &'static KindOption)> {
    let mut seen = BTreeSet::new();
    let options = Kind::names().flat_map(|kind| Kind::options_of(kind).iter().map(move |option| (kind, option)));
    options.filter(move |(_, option)| seen.insert(option.flag))
}

/// The kinds that have an option of this name, as the help lists them.
fn kinds_with(flag: &str) -> String {
    let has = |kind: &&str| Kind::options_of(kind).iter().any(|option| option.flag == flag);
    Kind::names().filter(has).collect::<Vec<_>>().join(" and ")
}

impl Args for KindOptions {
    fn augment_args(command: Command) -> Command {
        all().fold(command, |command, (kind, option)| {
            let help = format!("For --kind {}: {}", kinds_with(option.flag), option.help);
            let arg = Arg::new(option.flag).long(option.flag).value_name("TEXT").help(help);
            command.arg(if option.required { arg.required_if_eq("kind", kind) } else { arg })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KindOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |(_, option): (_, &KindOption)| {
            let value = matches.get_one::<String>(option.flag)?;
            Some((option.flag.replace('-', "_"), value.clone()))
        };
        Ok(Self(all().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
