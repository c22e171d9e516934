//! `egret man`: the manual page, generated from the same definitions as `--help`.

use anyhow::Context as _;
use clap_mangen::Man;

use crate::exit::{Answer, OrFail as _};
use crate::output;

/// Prints one page with every command, in roff.
///
/// # Errors
/// A page that cannot be written to memory.
pub(crate) fn print(mut command: clap::Command) -> Answer {
    command.build();
    output::print(&page(&command).context("cannot write the manual page").or_unreachable()?);
    Ok(())
}

/// The page of `egret`, then a section for each command, in the order of `--help`.
fn page(command: &clap::Command) -> std::io::Result<String> {
    let mut roff = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    section_of_each(command, &mut roff)?;
    roff.extend_from_slice(FOOT.as_bytes());
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

fn section_of_each(command: &clap::Command, roff: &mut Vec<u8>) -> std::io::Result<()> {
    for one in command.get_subcommands().filter(|one| one.get_name() != "help" && !one.is_hide_set()) {
        if one.has_subcommands() {
            section_of_each(one, roff)?;
            continue;
        }
        let name = one.get_bin_name().unwrap_or(one.get_name()).to_uppercase();
        roff.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
        let man = Man::new(one.clone());
        for line in [Man::render_synopsis_section, Man::render_description_section, Man::render_options_section] {
            let mut part = Vec::new();
            line(&man, &mut part)?;
            // As sections of the whole page, they would hide which command an option belongs to.
            roff.extend_from_slice(String::from_utf8_lossy(&part).replace(".SH ", ".SS ").as_bytes());
        }
    }
    Ok(())
}

/// The information that no option has; the same as in `docs/configuration.md`.
const FOOT: &str = r#".SH "EXIT STATUS"
.TP
\fB0\fR
Done.
.TP
\fB1\fR
The answer is no: denied, a check failed, an id or a name is not found.
.TP
\fB2\fR
Wrong usage, or bad input.
.TP
\fB3\fR
The sidecar or a store cannot be reached or used.
.PP
\fBegret run\fR ends with the code of its command.
.SH ENVIRONMENT
.TP
\fBEGRET_DATA_DIR\fR
The data folder; \fB\-\-data\-dir\fR comes before it.
.TP
\fBEGRET_LOG\fR, else \fBRUST_LOG\fR
What is logged on standard error.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_page_has_every_command() {
        let mut command = crate::Arguments::command();
        command.build();
        let page = page(&command).unwrap();
        for name in ["EGRET SERVE", "EGRET VAULT PUT", "EGRET SESSION END", "EGRET EXPLAIN", "EXIT STATUS"] {
            assert!(page.contains(&format!(".SH \"{name}\"")), "{name}");
        }
        assert!(page.contains("\\-\\-deny\\-all"), "{page}");
    }
}
