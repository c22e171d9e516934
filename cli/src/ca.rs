//! `egret ca`: the CA that clients must trust.

use api::CaDocument;

use crate::Context;
use crate::client::{Client, IfMissing, converse};
use crate::exit::Answer;
use crate::output::{self, Format};

/// Show the CA that clients must trust.
#[derive(clap::Args)]
pub(crate) struct Ca {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(clap::Subcommand)]
enum CaCommand {
    /// Show the CA's subject, fingerprint and files.
    Show {
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print the certificate (PEM).
    Export,
}

impl Ca {
    /// # Errors
    /// 3 if there is no CA yet, or the vault that contains it cannot be used.
    pub(crate) fn execute(&self, context: &Context) -> Answer {
        let ca: CaDocument = converse(async { Client::find(context, IfMissing::Fail).await?.get("/v1/ca").await })?;
        match &self.command {
            CaCommand::Export => output::print(&ca.pem),
            CaCommand::Show { format: Format::Json } => return output::json(&ca),
            CaCommand::Show { format: Format::Table } => output::facts(&[
                ("sha256", ca.files.fingerprint),
                ("certificate", ca.files.certificate),
                ("with the system's roots", ca.files.bundle),
                ("for Java", ca.files.truststore),
            ]),
        }
        Ok(())
    }
}
