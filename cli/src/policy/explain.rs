//! `egret policy explain`: the long story of a code.

use anyhow::anyhow;

use crate::Context;
use crate::exit::{Answer, Failure};
use crate::output;

/// Say what the code of a problem means.
#[derive(clap::Args)]
pub(super) struct Explain {
    /// The code of a problem, such as EG0012.
    #[arg(value_name = "CODE")]
    code: String,
}

impl Explain {
    /// # Errors
    /// 2 where there is no such code.
    pub(super) fn execute(&self, _context: &Context) -> Answer {
        let story = policies::explain_code(&self.code)
            .ok_or_else(|| Failure::usage(anyhow!("there is no code {}", output::visible(&self.code))))?;
        output::print(&story.markdown());
        Ok(())
    }
}
