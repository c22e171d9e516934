//! `egret policy new`: a policy file made from a template.

use std::collections::BTreeMap;

use anyhow::anyhow;

use crate::exit::{Answer, Failure, OrFail as _};
use crate::output;

/// Print a policy file made from a template, such as one for the repositories of your organization.
#[derive(clap::Args)]
pub(super) struct New {
    /// The template; without one, all are listed.
    template: Option<String>,
    /// A value that it needs, such as org=acme.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    values: Vec<(String, String)>,
}

impl New {
    /// # Errors
    /// 2 if there is no such template, or its values are invalid.
    pub(super) fn execute(&self) -> Answer {
        let Some(name) = &self.template else {
            let rows = policies::templates().into_iter().map(|template| {
                let needs: Vec<_> = template.parameters.iter().map(|one| format!("--set {}=..", one.name)).collect();
                [template.name.to_owned(), needs.join(" "), template.description.to_owned()]
            });
            output::table(["template", "needs", "description"], rows);
            return Ok(());
        };
        let mut values = BTreeMap::new();
        for (name, value) in &self.values {
            if values.insert(name.clone(), value.clone()).is_some() {
                return Err(Failure::usage(anyhow!("--set {name} is given twice")));
            }
        }
        output::print(&policies::template(name, &values).or_usage()?);
        Ok(())
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as org=acme")?;
    Ok((name.to_owned(), value.to_owned()))
}
